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


class _Level:
    """The named fields at one depth of a payload: roles by field, deeper levels by field."""

    __slots__ = ("below", "kinds", "roles")

    def __init__(self) -> None:
        self.roles: dict[str, int] = {}
        self.kinds: dict[str, str] = {}
        self.below: dict[str, _Level] = {}

    def add(self, path: str, role: int, kind: str = "id") -> None:
        head, _, rest = path.partition(".")
        if rest:
            self.below.setdefault(head, _Level()).add(rest, role, kind)
        else:
            self.roles[head] = self.roles.get(head, 0) | role
            self.kinds.setdefault(head, kind)

    def shape(self, name: str) -> Any:
        """The TypedDict that makes msgspec decode these fields and skip all others."""
        fields: dict[str, Any] = dict.fromkeys(self.roles, Any)
        for head, level in self.below.items():
            # A union, so that `data: "text"` is legal JSON for us too.
            if head in self.roles:
                fields[head] = Any
            else:
                inner = level.shape(f"{name}_{head}")
                fields[head] = Union[inner, str, int, float, bool, None, list[Any]]  # noqa: UP007
        return TypedDict(name, fields, total=False)  # type: ignore[operator]


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
        root = _Level()
        if owner:
            for path in owner:
                last = path.rpartition(".")[2]
                soft = last in naming.USER_ID_FIELDS
                root.add(path, _USER if soft else _OWNER, naming.RECIPIENTS.get(last, "id"))
        else:
            for prefix in ("", *(f"{name}." for name in naming.NESTED)):
                for name, kind in naming.OWNER_FIELDS.items():
                    root.add(prefix + name, _OWNER, kind)
                for name, kind in naming.USER_ID_FIELDS.items():
                    root.add(prefix + name, _USER, kind)
        for path in actor or (
            prefix + name
            for prefix in ("", *(f"{name}." for name in naming.NESTED))
            for name in naming.ACTOR_FIELDS
        ):
            root.add(path, _ACTOR)
        for name in naming.CLAIM_FIELDS:
            root.add(name, _CLAIM)
        self._events = event or naming.EVENT_FIELDS
        for path in self._events:
            root.add(path, _EVENT)
        self._root = root
        self._limit = limit
        self._decoder = msgspec.json.Decoder(root.shape("Message"))

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
        found = _Found()
        self._walk(fields, self._root, "", found)
        event = ""
        if found.events:
            for name in self._events:
                if name in found.events:
                    event = found.events[name]
                    break
        owner = found.owner
        soft = False
        if owner is None and not found.actor:
            owner, soft = found.user, found.user is not None
        claimed = found.claim if claims else None
        return Reading(owner, soft, event, "", claimed)

    def _walk(self, fields: dict[Any, Any], level: _Level, prefix: str, found: _Found) -> None:
        roles, below = level.roles, level.below
        for name, value in fields.items():
            if value is None:
                continue
            role = roles.get(name) if type(name) is str else None
            if role is not None:
                if role & (_OWNER | _USER):
                    self._owner(role, prefix + name, value, level.kinds[name], found)
                if role & _ACTOR:
                    found.actor = True
                if role & _EVENT and type(value) is str and len(value) <= _MAX_EVENT:
                    found.events[prefix + name] = value
                if role & _CLAIM and found.claim is None:
                    found.claim = principal(value)
            elif below and type(name) is str and name in below:
                inner = value if type(value) is dict else self._object(value, below[name])
                if inner is not None:
                    self._walk(inner, below[name], f"{prefix}{name}.", found)

    def _owner(self, role: int, path: str, value: object, kind: str, found: _Found) -> None:
        if (found.owner if role & _OWNER else found.user) is not None:
            return
        who = principal(value, kind)
        if who is None:
            return
        evidence = Evidence("payload", who, CONTENT, path, STRONG)
        if role & _OWNER:
            found.owner = evidence
        else:
            found.user = evidence

    def _object(self, message: object, level: _Level) -> dict[Any, Any] | None:
        """The named fields of a model instance, read without running its code."""
        if message is None or isinstance(message, (str, int, float, bytes, list, tuple, set)):
            return None
        fields: dict[Any, Any] = {}
        for name in (*level.roles, *level.below):
            value = peek(message, name)
            if value is not None:
                fields[name] = value
        return fields or None


class _Found:
    """Collects the roles met in one message."""

    __slots__ = ("actor", "claim", "events", "owner", "user")

    def __init__(self) -> None:
        self.owner: Evidence | None = None
        self.user: Evidence | None = None
        self.actor = False
        self.claim: Principal | None = None
        self.events: dict[str, str] = {}
