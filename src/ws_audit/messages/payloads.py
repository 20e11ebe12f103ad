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
import sys
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypedDict, Union

import msgspec

from ws_audit import naming
from ws_audit.model import CONTENT, LIMIT, OPAQUE, STRONG, UNREADABLE, Evidence, Principal, Resource
from ws_audit.principals.identity import describe, is_a, peek, principal

if TYPE_CHECKING:
    from collections.abc import Iterable

_OWNER, _USER, _ACTOR, _EVENT, _CLAIM, _RESOURCE, _MENTION, _OWNERS = 1, 2, 4, 8, 16, 32, 64, 128
_MAX_EVENT: Final = 64
_NO_RANK: Final = 1_000
_KNOWN: Final = 65_536
_RESOURCES_KNOWN: Final = 4_096  # a field's: clients may name as many as they like
_ELEMENTS: Final = 50  # of a list of people or of things that belong to people
_LONGEST_ID: Final = 128
_LONG_ID: Final = 20  # characters: a shorter word without a digit is "default", "general", ...
_SHORT: Final = 8_192  # bytes or characters of a message that may log somebody in
_new: Final = tuple.__new__  # a named tuple without the detour over its Python constructor


class Reading(NamedTuple):
    """What was read of one message.

    `owner` is payload evidence or None. `soft` means it comes from a plain user_id field,
    which beside a room argument names the actor. `note` says why content gave nothing
    (opaque_payload, unreadable_payload, limit), "" if it was readable. `claims` is who the
    message says it is from or about, for inbound messages only. `actor` is whoever an actor
    field names, `resources` what the message belongs to, `mentions` whom it speaks of,
    `owners` whose the elements of a declared list are.
    """

    owner: Evidence | None
    soft: bool
    event: str
    note: str
    claims: Principal | None = None
    actor: Principal | None = None
    resources: tuple[Resource, ...] = ()
    mentions: tuple[Principal, ...] = ()
    owners: tuple[Evidence, ...] = ()


_NOTHING: Final = Reading(None, False, "", "")
_OPAQUE: Final = Reading(None, False, "", OPAQUE)
_UNREADABLE: Final = Reading(None, False, "", UNREADABLE)
_LIMIT: Final = Reading(None, False, "", LIMIT)


class _Field:
    """What one named field means: its roles, what kind of identifier it holds, what is below."""

    __slots__ = ("below", "evidence", "kind", "path", "rank", "resources", "role", "steps")

    def __init__(self, path: str) -> None:
        self.path = path
        self.role = 0
        self.rank = 0  # among event fields: the lowest one present names the event
        self.kind = "id"
        self.below: _Level | None = None
        # Text value -> payload evidence: the same few people appear again and again.
        self.evidence: dict[str, Evidence | None] = {}
        self.resources: dict[str | int, Resource | None] = {}
        self.steps: tuple[str, ...] = ()  # below each element of a list

    def resource(self, value: object) -> Resource | None:
        """The resource an identifier in this field names; None of what is no identifier."""
        if type(value) is not str and type(value) is not int:
            return named(value, self.path)
        try:
            return self.resources[value]
        except KeyError:
            if len(self.resources) >= _RESOURCES_KNOWN:
                self.resources.clear()
            found = self.resources[value] = named(value, self.path)
            return found

    def mentions(self, value: object) -> list[Principal]:
        """Whom a field that names people names: one, or a list of ids or user objects."""
        found = []
        for one in value[:_ELEMENTS] if type(value) is list else (value,):
            for step in self.steps:
                one = peek(one, step)  # noqa: PLW2901
            found += describe(one)[:1]
        return found

    def owners(self, value: object) -> tuple[Evidence, ...]:
        """Whose the elements of a list are, each person once."""
        found: list[Evidence] = []
        for one in value[:_ELEMENTS] if type(value) is list else ():
            for step in self.steps:
                one = peek(one, step)  # noqa: PLW2901
            owner = self.owner(one)
            if owner is not None and owner not in found:
                found.append(owner)
        return tuple(found)

    def owner(self, value: object) -> Evidence | None:
        """Payload evidence for an identifier in this field."""
        if type(value) is str:
            try:
                return self.evidence[value]
            except KeyError:
                if len(self.evidence) >= _KNOWN:
                    self.evidence.clear()
                found = self.evidence[value] = self._evidence(value)
                return found
        return self._evidence(value)

    def _evidence(self, value: object) -> Evidence | None:
        who = principal(value, self.kind)
        return None if who is None else Evidence("payload", who, CONTENT, self.path, STRONG)


def named(value: object, path: str) -> Resource | None:
    """The resource an identifier names, by the name of its field or parameter."""
    if type(value) is int:
        text = str(value) if 0 <= value < 1 << 64 else ""
    elif type(value) is str and len(value) <= _LONGEST_ID:
        text = value
    elif type(value) is getattr(sys.modules.get("uuid"), "UUID", None):
        text = str(value)
    else:
        return None
    # Everybody's "default" and "general" are not one and the same.
    if not (text.isdigit() or len(text) >= _LONG_ID or any(map(str.isdigit, text))):
        return None
    above, _, name = path.rpartition(".")
    above = above.rpartition(".")[2]
    if name in naming.BARE_IDS and above and above not in naming.NESTED:
        name = f"{above}.{name}"  # order 7 and ticket 7 are two things
    sort, joint = naming.RESOURCES.get(name, (name, False))
    return Resource((sort, text), path, joint)


def decoded(message: object) -> object:
    """A short message as an object: JSON text decoded, None if it is long or no JSON."""
    if type(message) is not str and type(message) is not bytes:
        return message
    text: Any = message
    if len(text) > _SHORT:
        return None
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None


_Level = dict[str, _Field]


def _declare(level: _Level, path: str, role: int, kind: str = "id", prefix: str = "") -> _Field:
    head, _, rest = path.partition(".")
    field = level.setdefault(head, _Field(prefix + head))
    if rest:
        if field.below is None:
            field.below = {}
        return _declare(field.below, rest, role, kind, f"{prefix}{head}.")
    if not field.role:
        field.kind = kind
    field.role |= role
    return field


def _declare_list(level: _Level, path: str, role: int, kind: str = "id") -> _Field:
    """A field with a list, and where in each element of it an identifier stands."""
    whole, _, below = path.partition("[]")
    field = _declare(level, whole, role, kind)
    field.role = role  # and nothing else
    field.steps = tuple(below.split(".")[1:])
    return field


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


class Places:
    """Reads single fields, named by a policy for one, of the few messages it is asked about."""

    def __init__(self, paths: Iterable[str], limit: int) -> None:
        root: _Level = {}
        for path in paths:
            _declare(root, path, _EVENT)
        self._limit = limit
        self._decode = msgspec.json.Decoder(_shape(root, "Places")).decode

    def read(self, message: object, path: str) -> object:
        """What stands there; None if nothing does, or it cannot be read."""
        message = self.look(message)
        for step in path.split("."):
            message = peek(message, step)
        return message

    def look(self, message: object) -> object:
        """The message with these fields, as an object; None if it cannot be read."""
        if is_a(message, (str, bytes, bytearray, memoryview)):
            # Past the methods of a subclass, as the Reader does.
            text: Any = message
            if type(message) not in (str, bytes):
                text = str.__str__(message) if is_a(message, str) else memoryview(text)
            if len(text) > self._limit:
                return None
            try:
                message = self._decode(text)
            except (msgspec.MsgspecError, UnicodeError, RecursionError):
                return None
        return message


class Reader:
    """Reads messages by a compiled set of field paths.

    `owner` and the others are dotted paths from the settings (empty: the defaults), of an owner
    or mention with "[]" after a list; such a path is nothing else. `parameters` are
    the names that mean a resource as a parameter.
    `limit` is the size in bytes (characters for text) above which nothing is decoded.
    """

    def __init__(
        self,
        owner: tuple[str, ...] = (),
        actor: tuple[str, ...] = (),
        event: tuple[str, ...] = (),
        limit: int = 1_048_576,
        mention: tuple[str, ...] = (),
        resources: tuple[str, ...] = (),
    ) -> None:
        root: _Level = {}
        prefixes = ("", *(f"{name}." for name in naming.NESTED))
        if owner:
            for path in owner:
                last = path.rpartition(".")[2]
                soft = last in naming.USER_ID_FIELDS
                kind = naming.RECIPIENTS.get(last, "id")
                if "[]" in path:
                    _declare_list(root, path, _OWNERS, kind).path = path
                else:
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
        for rank, path in enumerate(event or naming.EVENT_FIELDS):
            _declare(root, path, _EVENT).rank = rank
        for path in resources or [
            prefix + name for prefix in prefixes for name in naming.RESOURCES
        ]:
            _declare(root, path, _RESOURCE)
        self.parameters = frozenset(
            path.rpartition(".")[2] for path in resources or naming.RESOURCES
        )
        for path in mention or [
            prefix + name for prefix in prefixes for name in naming.MENTION_FIELDS
        ]:
            _declare_list(root, path, _MENTION)
        self._root = root
        self.limit = limit
        self._decode = msgspec.json.Decoder(_shape(root, "Message")).decode

    def read(self, message: object, *, claims: bool = False) -> Reading:
        """Read a message as the application holds it or as it goes over the wire."""
        kind = type(message)
        if kind is dict:
            return self._fields(message, claims)
        if kind is str or kind is bytes:
            return self._text(message, claims)
        if is_a(message, str):
            return self._text(str.__str__(message), claims)
        if is_a(message, (bytes, bytearray, memoryview)):
            return self._text(memoryview(message), claims)  # type: ignore[arg-type]
        fields = self._object(message, self._root)
        return _NOTHING if fields is None else self._fields(fields, claims)

    def _text(self, text: Any, claims: bool) -> Reading:
        if len(text) > self.limit:
            return _LIMIT
        try:
            fields = self._decode(text)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return self._odd_text(text, claims)
        return self._fields(fields, claims)

    def _odd_text(self, text: Any, claims: bool) -> Reading:
        """Not a JSON object, or JSON that only the standard library takes (such as NaN)."""
        if isinstance(text, memoryview):
            text = text.tobytes()
        if text[:64].lstrip()[:1] not in ("{", b"{"):
            return _OPAQUE
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError):
            return _UNREADABLE
        return self._fields(fields, claims) if type(fields) is dict else _OPAQUE

    # One loop, because it runs over the fields of every message twice.
    def _fields(self, fields: Any, claims: bool) -> Reading:  # noqa: C901, PLR0912
        owner: Evidence | None = None
        user: Evidence | None = None
        claim: Principal | None = None
        actor = False
        author: Principal | None = None
        resources: tuple[Resource, ...] = ()
        mentions: tuple[Principal, ...] = ()
        owners: tuple[Evidence, ...] = ()
        event, rank = "", _NO_RANK
        below: list[tuple[dict[Any, Any], _Level]] = []
        level = self._root
        while True:
            for name, value in fields.items():
                # Only exact strings: hashing or comparing another key might run its code.
                if value is None or type(name) is not str or name not in level:
                    continue
                field = level[name]
                role = field.role
                if role & _EVENT:
                    if field.rank < rank and type(value) is str and len(value) <= _MAX_EVENT:
                        event, rank = value, field.rank
                elif role & _USER:
                    if user is None:
                        user = field.owner(value)
                elif role & _OWNER:
                    if owner is None:
                        owner = field.owner(value)
                elif role & _RESOURCE:
                    # The same few again and again; only exact text may be hashed.
                    resource = field.resources.get(value) if type(value) is str else None
                    resource = resource or field.resource(value)
                    if resource is not None:
                        resources += (resource,)
                elif role & _ACTOR:
                    if type(value) is not str or value not in naming.NO_ACTORS:
                        actor = True
                        author = author or principal(value)
                elif role & _MENTION:
                    mentions += tuple(field.mentions(value))
                elif role & _OWNERS:
                    owners += field.owners(value)
                if claims and role & _CLAIM and claim is None:
                    claim = principal(value)
                if field.below is not None:
                    inner = value if type(value) is dict else self._object(value, field.below)
                    if inner is not None:
                        below.append((inner, field.below))
            if not below:
                break
            fields, level = below.pop()
        soft = owner is None and not actor and user is not None
        return _new(
            Reading,
            (user if soft else owner, soft, event, "", claim, author, resources, mentions, owners),
        )

    def _object(self, message: object, level: _Level) -> dict[Any, Any] | None:
        """The named fields of a model instance, read without running its code."""
        if message is None or is_a(message, (str, int, float, bytes, list, tuple, set)):
            return None
        fields: dict[Any, Any] = {}
        for name in level:
            value = peek(message, name)
            if value is not None:
                fields[name] = value
        return fields or None
