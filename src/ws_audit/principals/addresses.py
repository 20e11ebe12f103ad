# SPDX-License-Identifier: Apache-2.0
"""Names of rooms and channels by which one person is addressed: `user:17`, `inbox:ada@example.org`.

Why it exists: half of all hubs know no recipients, only topics; and a topic of one person's own
names its recipient as clearly as an argument does. The design takes no channel for a recipient;
this goes beyond it where what follows is an e-mail address, a uuid or somebody connected.

It must never take the name of a topic for a person: a word that says "somebody's own" is not
enough, what follows must be somebody.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ws_audit import naming, phrases

from .identity import principal

if TYPE_CHECKING:
    from ws_audit.model import Principal

# Whether a text is an identifier that somebody connected goes by.
Known = Callable[[str], bool]

_ADDRESS: Final = re.compile(r"([A-Za-z]{2,32})[:_\-./]([^:/\s]{1,256})(?:[:/]([a-z]{2,32}))?")
_ROOM: Final = re.compile(naming.USER_ROOM)
_TO: Final = frozenset({"to", "inbox"})  # parameters that may hold a bare identifier
_ENTRIES: Final = 65_536
_users: dict[str, Principal | None] = {}
_people: dict[str, tuple[Principal, bool, bool] | None] = {}


def user_of(room: object) -> Principal | None:
    """Whose room of a framework's this is, by its name: `user:17`, `user_17`.

    Frameworks have nothing else than rooms to address people by, so a number or a word is enough.
    """
    if type(room) is not str:
        return None
    try:
        return _users[room]
    except KeyError:
        if len(_users) >= _ENTRIES:
            _users.clear()
        match = _ROOM.fullmatch(room)
        named = match is not None and match[1].lower() not in naming.NO_USER_ROOM
        found = _users[room] = principal(match[1]) if match is not None and named else None
        return found


def addressee(channel: object, parameter: str, known: Known) -> Principal | None:
    """Whom a manager's channel addresses; None of what may be a topic.

    A number never does: it may count anything.
    """
    if type(channel) is not str:
        return None
    try:
        found = _people[channel]
    except KeyError:
        if len(_people) >= _ENTRIES:
            _people.clear()
        found = _people[channel] = _read(channel)
    if found is None:
        return None
    who, sure, bare = found
    if bare and parameter not in _TO:
        return None
    return who if sure or known(who.user) else None


def _read(channel: str) -> tuple[Principal, bool, bool] | None:
    """(whom it may name, whether that is sure by itself, whether nothing but that stands there)."""
    match = _ADDRESS.fullmatch(channel)
    if match is not None and match[1].lower() in phrases.PERSONAL:
        if match[3] is None or match[3] in phrases.PERSONAL:
            who = principal(match[2])
            if who is not None and who.shape != "int":
                own = phrases.PERSONAL[match[1].lower()]
                return who, who.shape == "email" or (own and who.shape == "uuid"), False
        return None
    who = principal(channel)
    if who is None or who.shape == "int":
        return None
    return who, who.shape == "email", True
