# SPDX-License-Identifier: Apache-2.0
"""What messages look like when all is well: which fields named the connection's own user.

Why it exists: most false alarms come from a field that means something else than its name says,
or from an event that everybody may see. Both can be counted in clean traffic, and `ws-audit
learn` makes a proposal of the counts. It looks at every message, so it runs only when asked for.

It must never tell a value: of a field its path remains if that stands in code, and of an
event its name under the same condition; users are counted. It runs no application code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ws_audit import naming
from ws_audit.model import BROADCAST, NONE, OTHER, UNATTRIBUTED, VIOLATION
from ws_audit.principals.identity import SAME, agree, peek

from .clues import below, message_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ws_audit.messages.intents import Frame
    from ws_audit.model import Evidence, Principal, Verdict

_EVENTS: Final = 300
_PATHS: Final = 40  # of each event
_USERS: Final = 100_000
_ENOUGH: Final = 1_000  # users of an event or a path: more are not counted
_RECENT: Final = 4_096  # intents, and messages, whose first recipient is remembered
_DEPTH: Final = 3
_MAX_NAME: Final = 64


class _Field:
    """One path of one event. `named`: it named another user who was connected as well."""

    __slots__ = ("agreed", "named", "seen", "system", "users")

    def __init__(self) -> None:
        self.seen = self.agreed = self.named = 0
        self.users: set[int] = set()  # those it agreed for
        self.system: dict[str, int] = {}  # words of ours that name no person


class _Event:
    """All messages of one name whose connection's user is known."""

    __slots__ = ("broadcast", "fields", "frames", "many", "room", "users", "verdicts")

    def __init__(self) -> None:
        # Frames in all, sent by a broadcast method, to a room, and the same to several people.
        self.frames = self.broadcast = self.room = self.many = 0
        self.users: set[int] = set()
        self.verdicts: dict[str, int] = {}
        self.fields: dict[str, _Field] = {}


class Learner:
    """Counts; `document` tells."""

    def __init__(self, stands: Callable[[str], bool], event_fields: tuple[str, ...]) -> None:
        self._stands = stands
        self._event_fields = event_fields or naming.EVENT_FIELDS
        self.forget()

    def forget(self) -> None:
        """After a fork: what was seen was the parent's."""
        self._events: dict[str, _Event] = {}
        self._labels: set[str] = set()  # event names that may be told in any case
        self._users: set[str] = set()
        self._first: dict[int, str] = {}  # intent, or message -> who got it first
        self._unknown = 0

    def look(
        self,
        connection: Evidence | None,
        content: object,
        frame: Frame | None,
        event: str,
        verdict: Verdict,
    ) -> None:
        """One message is about to leave."""
        if connection is None:
            self._unknown += 1
            return
        message = message_of(content)
        if event in (NONE, OTHER):
            event = self._named(message)
        else:
            self._labels.add(event)
        found = self._events.get(event)
        if found is None:
            if len(self._events) >= _EVENTS:
                return
            found = self._events[event] = _Event()
        who = connection.principal
        if len(self._users) < _USERS:
            self._users.add(who.user)
        _count(found.users, who.user)
        found.frames += 1
        found.broadcast += frame is not None and frame.intent.kind == BROADCAST
        found.room += frame is not None and frame.room
        found.many += self._several(content, frame, who)
        said = verdict.verdict
        if said == UNATTRIBUTED:
            said = f"{said} {verdict.reason}"
        elif said == VIOLATION:
            said = f"{said} {verdict.severity}"
        found.verdicts[said] = found.verdicts.get(said, 0) + 1
        fields = [(path.removeprefix("."), named) for path, named in below(message, _DEPTH)]
        # Beside an actor, or in a room, a plain user id is the actor's: it is not judged either.
        soft = (frame is not None and frame.room) or any(map(_is_actor, fields))
        for path, named in fields:
            if not (soft and path.rpartition(".")[2] in naming.USER_ID_FIELDS):
                self._field(found, path, connection, named)

    def _field(self, event: _Event, path: str, connection: Evidence, named: Principal) -> None:
        field = event.fields.get(path)
        if field is None:
            if len(event.fields) >= _PATHS:
                return
            field = event.fields[path] = _Field()
        if named.user in naming.NO_ACTORS:
            field.system[named.user] = field.system.get(named.user, 0) + 1
            return
        field.seen += 1
        if agree(connection, named) == SAME:
            field.agreed += 1
            _count(field.users, connection.principal.user)
        elif named.user in self._users:
            field.named += 1

    def _named(self, message: object) -> str:
        """An event no label says: told only if it stands in code."""
        for path in self._event_fields:
            value = message
            for step in path.split("."):
                value = peek(value, step)
            if type(value) is str and 0 < len(value) <= _MAX_NAME:
                return value
        return NONE

    def _several(self, content: object, frame: Frame | None, who: Principal) -> bool:
        """Whether the same message, or another of the same call, went to somebody else."""
        if frame is not None:
            key = frame.intent.intent_id
        elif type(content) in (str, bytes):
            key = hash(content) | 1 << 70  # no intent has such a number
        else:
            return False
        first = self._first.get(key)
        if first is None:
            if len(self._first) >= _RECENT:
                self._first.pop(next(iter(self._first)), None)
            self._first[key] = who.user
            return False
        return first != who.user

    def document(self) -> dict[str, Any]:
        """The counts; names that do not stand in code are counted as hidden."""
        events = []
        hidden = 0
        for name, event in list(self._events.items()):
            if name != NONE and name not in self._labels and not self._stands(name):
                hidden += event.frames
                continue
            told = {path: one for path, one in list(event.fields.items()) if self._stands(path)}
            events.append(
                {
                    "event": name,
                    "frames": event.frames,
                    "users": len(event.users),
                    "broadcast": event.broadcast,
                    "room": event.room,
                    "many": event.many,
                    "verdicts": dict(event.verdicts),
                    "hidden_fields": len(event.fields) - len(told),
                    "fields": [
                        {
                            "path": path,
                            "seen": one.seen,
                            "agreed": one.agreed,
                            "named": one.named,
                            "users": len(one.users),
                            "system": dict(one.system),
                        }
                        for path, one in told.items()
                    ],
                }
            )
        return {
            "users": len(self._users),
            "no_principal": self._unknown,
            "hidden": hidden,
            "events": events,
        }


def _is_actor(field: tuple[str, Principal]) -> bool:
    path, named = field
    return path.rpartition(".")[2] in naming.ACTOR_FIELDS and named.user not in naming.NO_ACTORS


def _count(users: set[int], user: str) -> None:
    if len(users) < _ENOUGH:
        users.add(hash(user))
