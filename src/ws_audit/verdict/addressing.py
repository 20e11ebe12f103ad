# SPDX-License-Identifier: Apache-2.0
"""How far a dissent is to be believed: how its message was addressed, and what stands beside it.

Why it exists: most messages that name somebody else are no leak. A member of a room speaks, a
document belongs to one of those who share it, a moderator is told whose message was removed,
somebody follows somebody. Where the application shows such a reading itself, the dissent wakes
nobody.

The published design makes any strong dissent at least `probable`; this goes beyond it, and so does
the judge's naming a violation by what is not weak, if there is such.

It must never silence one: a strong statement becomes a weak one, so that the delivery stays a
violation, `suspected`. And it is asked only where something dissents: what is right pays nothing.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from ws_audit import naming
from ws_audit.messages import behalf
from ws_audit.messages.payloads import Places
from ws_audit.model import STRONG, WEAK, Evidence, Principal
from ws_audit.principals.identity import DIFFERENT, SAME, agree, compare, describe, peek

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ws_audit.messages.intents import Frame
    from ws_audit.principals.identity import Cell

# Fields that say whom a message is for, not whose the thing is that it tells of.
_TO: Final = re.compile(r"(to|recipient|target)([_A-Z]|$)")
# Fields that name a place where several people are, unless that is one person's, or no name.
_PLACES: Final = "room channel group meeting lobby document doc board whiteboard canvas"
_PLACE_FIELDS: Final = frozenset(
    noun + end for noun in _PLACES.split() for end in ("", "_id", "Id", "_name", "_slug")
)
_NO_PLACE: Final = re.compile(
    r"\n|.{65}|(^|[^a-z])(users?|personal|private|inbox|direct|dms?|me|self)([^a-z]|$)"
    r"|^(e?mail|sms|push|web|app)$",
    re.IGNORECASE,
)
# Fields that name somebody in another role than the owner's.
_DONE: Final = (
    "created updated changed edited removed deleted assigned invited requested approved rejected"
    " reported shared moderated resolved closed banned muted kicked"
)
_ROLES: Final = "assignee creator moderator inviter reviewer reporter approver organizer follower"
_ROLE_FIELDS: Final = frozenset(
    verb + end for verb in _DONE.split() for end in ("_by", "_by_id", "By", "ById")
) | frozenset(role + end for role in _ROLES.split() for end in ("", "_id", "Id"))


class Addressing:
    """Weighs the evidence against a delivery; `declared`: people have said what names an owner."""

    def __init__(self, *, declared: bool = False, limit: int = 1_048_576) -> None:
        self._beside = None if declared else Beside(limit)

    def weighed(
        self, evidence: tuple[Evidence, ...], cell: Cell, content: object, frame: Frame | None
    ) -> tuple[Evidence, ...]:
        """The evidence, with what an innocent reading explains made weak."""
        connection = evidence[0]
        arguments = [
            agree(connection, one.principal)
            for one in evidence
            if one.name == "argument" and one.attests
        ]
        if DIFFERENT in arguments:
            return evidence  # whoever sent it meant somebody else
        explicit = SAME in arguments
        several = (
            self._beside is not None
            and frame is not None
            and _several(frame, connection.principal)
            and explicit
        )
        named = _named(cell, frame)
        found = list(evidence)
        for index, one in enumerate(evidence):
            if one.strength != STRONG or agree(connection, one.principal) != DIFFERENT:
                continue
            if one.name == "instance":
                # Whose object sends says little of a message that is given to a room, or to
                # somebody by name: so Ann's session sends Bob what she writes.
                doubtful = explicit or (frame is not None and frame.room)
            elif one.name == "payload":
                doubtful = (
                    several
                    or any(compare(who, one.principal) == SAME for who in named)
                    or (self._beside is not None and self._beside.explains(one, content))
                )
            else:
                continue
            if doubtful:
                found[index] = one._replace(strength=WEAK)
        return tuple(found)


def _several(frame: Frame, who: Principal) -> bool:
    """Whether the call sends to several people, one after the other: what it is, or has done.

    Counts what goes against the evidence, so it is to be asked once of each such delivery.
    """
    intent = frame.intent
    others = intent.deliveries - 1 > intent.dissents or intent.dissenter not in (None, who)
    intent.dissents += 1
    intent.dissenter = who
    step: Frame | None = frame
    while step is not None and not others:
        others = step.place
        step = step.above
    return others


def _named(cell: Cell, frame: Frame | None) -> tuple[Principal, ...]:
    """Whom this connection's client has named in the message that is being answered."""
    if not cell.named:
        return ()
    serving = behalf.current() if frame is None else frame.intent.behalf
    return cell.named if serving is not None and serving.cell is cell else ()


class Beside:
    """Reads what a message names beside its owner: a place, or people in other roles."""

    _PREFIXES: Final = ("", *(f"{name}." for name in naming.NESTED))

    def __init__(self, limit: int) -> None:
        names = _PLACE_FIELDS | _ROLE_FIELDS
        self._places = Places((pre + name for pre in self._PREFIXES for name in names), limit)

    def explains(self, owner: Evidence, content: object) -> bool:
        """Whether whoever the message names may well not be whom it is for."""
        if _TO.match(owner.source.rpartition(".")[2]):
            return False
        message = self._places.look(content)
        if message is None:
            return False
        levels = (message, *(peek(message, name) for name in naming.NESTED))
        return any(
            level is not None and (_place(level) or _others(level, owner.principal))
            for level in levels
        )


def _place(level: object) -> bool:
    """Whether it names a place where several people are, and not one's own."""
    return any(
        type(value) is int or (type(value) is str and value and not _NO_PLACE.search(value))
        for value in _values(level, _PLACE_FIELDS)
    )


def _others(level: object, owner: Principal) -> bool:
    """Whether it names somebody else in another role: who assigned, removed, invited, ..."""
    return any(
        compare(who, owner) != SAME
        for value in _values(level, _ROLE_FIELDS)
        for who in describe(value)[:1]
    )


def _values(level: object, names: frozenset[str]) -> Iterator[object]:
    """What stands under these names: of a dict those that are there, as there are many names."""
    if type(level) is not dict:
        yield from (peek(level, name) for name in names)
        return
    for name, value in level.items():
        # Only exact strings: hashing or comparing another key might run its code.
        if type(name) is str and name in names:
            yield value
