# SPDX-License-Identifier: Apache-2.0
"""What a message says of itself: whose it is and which event it carries.

Why it exists: payloads come as dicts, JSON text and bytes, pydantic models, dataclasses and
msgspec structs. All become the same reading of a few named fields, by role: an owner field
names the recipient, an actor field somebody who legitimately is another person.

It must never run application code, never keep or copy payload text, and never decode more
of a message than the named fields.
"""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple, TypedDict, Union

import msgspec

from . import naming
from .identity import peek, principal
from .model import CONTENT, LIMIT, OPAQUE, STRONG, UNREADABLE, Evidence, Principal

_OWNER, _USER, _ACTOR, _EVENT, _CLAIM = 1, 2, 4, 8, 16
_MAX_EVENT: Final = 64
_KNOWN: Final = 65_536
_new: Final = tuple.__new__  # a named tuple without the detour over its Python constructor


class Reading(NamedTuple):
    """What was read of one message.

    `owner` is payload evidence or None. `soft` means it comes from a plain user_id field,
    which beside a room argument names the actor. `note` says why content gave nothing
    (opaque_payload, unreadable_payload, limit), "" if it was readable. `claims` is who the
    message says it is from or about, for inbound messages only.
    """

    owner: Evidence | None
    soft: bool
    event: str
    note: str
    claims: Principal | None = None


_NOTHING: Final = Reading(None, False, "", "")
_OPAQUE: Final = Reading(None, False, "", OPAQUE)
_UNREADABLE: Final = Reading(None, False, "", UNREADABLE)
_LIMIT: Final = Reading(None, False, "", LIMIT)


class _Field:
    """What one named field means: its roles, what kind of identifier it holds, what is below."""

    __slots__ = ("below", "kind", "path", "role")

    def __init__(self, path: str) -> None:
        self.path = path
        self.role = 0
        self.kind = "id"
        self.below: _Level | None = None


_Level = dict[str, _Field]


def _declare(level: _Level, path: str, role: int, kind: str = "id", prefix: str = "") -> None:
    head, _, rest = path.partition(".")
    field = level.setdefault(head, _Field(prefix + head))
    if rest:
        if field.below is None:
            field.below = {}
        _declare(field.below, rest, role, kind, f"{prefix}{head}.")
    else:
        if not field.role:
            field.kind = kind
        field.role |= role


def _shape(level: _Level, name: str) -> Any:
    """The TypedDict that makes msgspec decode these fields and skip all others."""
    fields: dict[str, Any] = {}
    for head, field in level.items():
        if field.below is None or field.role:
            fields[head] = Any
        else:
            # A union, so that `data: "text"` is legal for us where it is legal JSON.
            inner = _shape(field.below, f"{name}_{head}")
            fields[head] = Union[inner, str, int, float, bool, None, list[Any]]  # noqa: UP007
    return TypedDict(name, fields, total=False)  # type: ignore[operator]


def _payload(field: _Field, who: Principal) -> Evidence:
    return Evidence("payload", who, CONTENT, field.path, STRONG)


class Reader:
    """Reads messages by a compiled set of field paths.

    `owner`, `actor` and `event` are dotted paths from the settings (empty: the defaults);
    `limit` is the size in bytes (characters for text) above which nothing is decoded.
    """

    def __init__(
        self,
        owner: tuple[str, ...] = (),
        actor: tuple[str, ...] = (),
        event: tuple[str, ...] = (),
        limit: int = 1_048_576,
    ) -> None:
        root: _Level = {}
        prefixes = ("", *(f"{name}." for name in naming.NESTED))
        if owner:
            for path in owner:
                last = path.rpartition(".")[2]
                soft = last in naming.USER_ID_FIELDS
                kind = naming.RECIPIENTS.get(last, "id")
                _declare(root, path, _USER if soft else _OWNER, kind)
        else:
            for prefix in prefixes:
                for name, kind in naming.OWNER_FIELDS.items():
                    _declare(root, prefix + name, _OWNER, kind)
                for name, kind in naming.USER_ID_FIELDS.items():
                    _declare(root, prefix + name, _USER, kind)
        for path in actor or [prefix + name for prefix in prefixes for name in naming.ACTOR_FIELDS]:
            _declare(root, path, _ACTOR)
        for name in naming.CLAIM_FIELDS:
            _declare(root, name, _CLAIM)
        self._events = event or naming.EVENT_FIELDS
        for path in self._events:
            _declare(root, path, _EVENT)
        self._root = root
        self._limit = limit
        self._decoder = msgspec.json.Decoder(_shape(root, "Message"))
        # (path, value) -> payload evidence: the same few people appear again and again.
        self._known: dict[tuple[str, str | int], Evidence | None] = {}

    def read(self, message: object, *, claims: bool = False) -> Reading:
        """Read a message as the application holds it or as it goes over the wire."""
        if type(message) is dict:
            return self._fields(message, claims)
        if isinstance(message, str):
            return self._text(str.__str__(message), claims)
        if isinstance(message, (bytes, bytearray, memoryview)):
            return self._text(bytes(message) if len(message) <= self._limit else message, claims)
        fields = self._object(message, self._root)
        return _NOTHING if fields is None else self._fields(fields, claims)

    def _text(self, text: str | bytes | bytearray | memoryview, claims: bool) -> Reading:
        if len(text) > self._limit:
            return _LIMIT
        try:
            fields = self._decoder.decode(text)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return self._odd_text(text, claims)
        return self._fields(fields, claims)

    def _odd_text(self, text: Any, claims: bool) -> Reading:
        """Not a JSON object, or JSON that only the standard library takes (such as NaN)."""
        head = text[:64].lstrip()
        if head[:1] not in ("{", b"{"):
            return _OPAQUE
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError):
            return _UNREADABLE
        return self._fields(fields, claims) if type(fields) is dict else _OPAQUE

    def _fields(self, fields: dict[Any, Any], claims: bool) -> Reading:
        owner: Evidence | None = None
        user: Evidence | None = None
        claim: Principal | None = None
        actor = False
        events: dict[str, str] | None = None
        event = ""
        todo: list[tuple[dict[Any, Any], _Level]] | None = None
        level = self._root
        while True:
            for name, value in fields.items():
                # Only exact strings: hashing or comparing another key might run its code.
                field = level.get(name) if type(name) is str else None
                if field is None or value is None:
                    continue
                role = field.role
                if role & _EVENT and type(value) is str and len(value) <= _MAX_EVENT:
                    if events is None:
                        event, events = value, {field.path: value}
                    else:
                        events[field.path] = value
                if role & _USER and user is None:
                    user = self._evidence(field, value)
                if role & _OWNER and owner is None:
                    owner = self._evidence(field, value)
                if role & _ACTOR:
                    actor = True
                if claims and role & _CLAIM and claim is None:
                    claim = principal(value)
                if field.below is not None:
                    inner = value if type(value) is dict else self._object(value, field.below)
                    if inner is not None:
                        if todo is None:
                            todo = []
                        todo.append((inner, field.below))
            if not todo:
                break
            fields, level = todo.pop(0)
        if events is not None and len(events) > 1:
            event = next(events[name] for name in self._events if name in events)
        if owner is None and not actor:
            return _new(Reading, (user, user is not None, event, "", claim))
        return _new(Reading, (owner, False, event, "", claim))

    def _evidence(self, field: _Field, value: object) -> Evidence | None:
        if type(value) is not str and type(value) is not int:
            who = principal(value, field.kind)
            return None if who is None else _payload(field, who)
        key = (field.path, value)
        try:
            return self._known[key]
        except KeyError:
            who = principal(value, field.kind)
            found = None if who is None else _payload(field, who)
            if len(self._known) >= _KNOWN:
                self._known.clear()
            self._known[key] = found
            return found

    def _object(self, message: object, level: _Level) -> dict[Any, Any] | None:
        """The named fields of a model instance, read without running its code."""
        if message is None or isinstance(message, (str, int, float, bytes, list, tuple, set)):
            return None
        fields: dict[Any, Any] = {}
        for name in level:
            value = peek(message, name)
            if value is not None:
                fields[name] = value
        return fields or None
