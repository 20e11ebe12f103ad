# SPDX-License-Identifier: Apache-2.0
"""Who somebody is: canonical identifiers, what may be compared, the connection's cell, the hash.

Why it exists: `17`, `"17"` and `auth0|abc` may be one person or three. Everything the agent
says about people goes through the canonical form and the comparison defined here.

It must never run application code: only exact dicts, instance `__dict__`s, slots and known
struct types are read; properties, descriptors and `__getattr__` are never touched. It knows
no framework.
"""

from __future__ import annotations

import re
import sys
from contextvars import ContextVar
from hashlib import blake2b
from time import time_ns
from types import GetSetDescriptorType, MemberDescriptorType
from typing import Any, Final
from weakref import WeakValueDictionary

from ws_audit import naming
from ws_audit.model import ACCEPT, STRONG, WEAK, Evidence, Principal

MANAGER: Final = "manager"  # origin of evidence that a manager's connect method gave
SCOPE_USER: Final = "scope.user"  # source of evidence that the scope's user object gave
CELL_KEY: Final = "ws_audit.cell"  # where the ASGI scope carries the connection's cell

SAME, DIFFERENT, INCOMPARABLE = 1, 2, 0

_UUID: Final = re.compile(
    r"\{?([0-9a-f]{8})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{12})\}?",
    re.IGNORECASE,
)
_EMAIL: Final = re.compile(r"[^@\s]{1,64}@[^@\s]{1,255}\.[^@\s.]{2,63}")
_SUBJECT: Final = re.compile(r"[A-Za-z][\w.-]*\|")  # provider|id, as identity providers issue it
GUEST: Final = re.compile(naming.GUEST, re.IGNORECASE)
_MAX_LENGTH: Final = 256  # a longer identifier is a token or text, no user id
_MAX_BYTES: Final = 4 * _MAX_LENGTH
_NOBODY: Final = frozenset({"", "none", "null", "anonymous", "undefined", "guest"})

_canonical: dict[tuple[str, str], Principal | None] = {}
_CANONICAL_ENTRIES: Final = 65_536


def principal(value: object, kind: str = "id", tenant: str | None = None) -> Principal | None:
    """The principal an identifier names, in canonical form; None if it names nobody.

    `value` may be an exact str, int or bytes, or a `uuid.UUID`; ints become decimal, uuids
    lower case with hyphens, emails lower case. Anything else, and the usual words for
    "nobody", give None.
    """
    if type(value) is not str:
        if type(value) is int:
            value = str(value) if -(1 << 63) <= value < 1 << 64 else ""
        elif type(value) is bytes:
            # Escaped, not replaced: two ids that are no text must not become the same one.
            value = value.decode("utf-8", "backslashreplace") if len(value) <= _MAX_BYTES else ""
        elif type(value) is getattr(sys.modules.get("uuid"), "UUID", None):
            value = str(value)
        elif is_a(value, str):
            value = str.__str__(value)  # a str subclass: its text, not its methods
        else:
            return None
    key = (kind, value)
    try:
        found = _canonical[key]
    except KeyError:
        if len(_canonical) >= _CANONICAL_ENTRIES:
            _canonical.clear()
        found = _canonical[key] = _canonicalise(value, kind)
    if tenant is not None and found is not None:
        return found._replace(tenant=tenant)
    return found


def _canonicalise(text: str, kind: str) -> Principal | None:
    if len(text) > _MAX_LENGTH or text.lower() in _NOBODY:
        return None
    if text.isascii() and text.isdigit():
        return Principal(None, str(int(text)), kind, "int")
    match = _UUID.fullmatch(text)
    if match:
        return Principal(None, "-".join(match.groups()).lower(), kind, "uuid")
    # A value may say more than its field's name: `user_id: "auth0|abc"` is a subject, and 17
    # may be the same person, so neither an email nor a subject is compared with plain ids.
    if _EMAIL.fullmatch(text):
        return Principal(None, text.lower(), "email", "email")
    if _SUBJECT.match(text):
        kind = "subject"
    return Principal(None, text, kind, "opaque")


def compare(one: Principal, other: Principal) -> int:
    """SAME, DIFFERENT or INCOMPARABLE.

    Only identifiers of the same kind, or of the same non-opaque shape, can be compared. A
    missing tenant says nothing about the tenant.
    """
    if one.shape != other.shape:
        # A number is no uuid, whatever the field's name: two namespaces, maybe one person.
        if one.kind != other.kind or "opaque" not in (one.shape, other.shape):
            return INCOMPARABLE
    elif one.shape == "opaque" and one.kind != other.kind:
        return INCOMPARABLE
    if one.user != other.user:
        return DIFFERENT
    if one.tenant is not None and other.tenant is not None and one.tenant != other.tenant:
        return DIFFERENT
    return SAME


def agree(held: Evidence, other: Principal) -> int:
    """Compare `other` with a connection's principal and, where that can't be, its aliases."""
    known = held.principal
    result = compare(known, other)
    # The very text they go by is theirs, whatever the field's name says that it is.
    if result == INCOMPARABLE and known.user == other.user:
        result = compare(known, _as(known, other))
    for alias in held.aliases:
        if result == SAME:
            break
        # A second id of the same person may agree where the first one can't, or seems not to;
        # and a login name is theirs, even in a field that is called an id.
        if compare(alias, _as(alias, other)) == SAME:
            return SAME
        result = compare(alias, other) or result
    return result


def _as(known: Principal, other: Principal) -> Principal:
    return other._replace(kind=known.kind)


# --- reading without running application code ----------------------------------------------


def is_a(value: object, kinds: type | tuple[type, ...]) -> bool:
    """`isinstance` that asks the type alone: `__class__` of a lazy object is application code."""
    return issubclass(type(value), kinds)


def peek(value: object, name: str) -> object:
    """The field or attribute `name` of a dict, instance, slot or known struct; None if absent.

    Dict subclasses are read with dict's own method, instances through their `__dict__` or
    a slot's C descriptor. Nothing of the application runs.
    """
    if is_a(value, dict):
        return dict.get(value, name)  # type: ignore[call-overload]
    kind = type(value)
    namespace = _getter(kind, "__dict__", GetSetDescriptorType)
    if namespace is not None:
        fields = _read(namespace, value)
        if type(fields) is dict and name in fields:
            return fields[name]
    slot = _getter(kind, name, MemberDescriptorType)
    return None if slot is None else _read(slot, value)


def fields_of(value: object) -> dict[Any, Any] | None:
    """The dict a value is, or its instance dictionary; None of anything else. Not to be changed."""
    if is_a(value, dict):
        return value  # type: ignore[return-value]
    namespace = _getter(type(value), "__dict__", GetSetDescriptorType)
    fields = None if namespace is None else _read(namespace, value)
    return fields if type(fields) is dict else None


def holds(value: object) -> dict[Any, Any] | None:
    """What a dict has, or an instance in its dictionary and slots; not to be changed."""
    kind = type(value)
    if kind is dict:
        return value  # type: ignore[return-value]
    if "__module__" not in _namespace(kind):
        return None  # of no class statement: a text, a number, a date
    if is_a(value, dict):
        return dict.copy(value)  # type: ignore[arg-type]
    fields = fields_of(value)
    slots: dict[Any, Any] = {}
    for base in _mro(kind):
        for name, slot in _namespace(base).items():
            if type(slot) is MemberDescriptorType and name not in slots:
                found = _read(slot, value)
                if found is not None:
                    slots[name] = found
    if slots:
        return slots if fields is None else {**slots, **fields}
    return fields


# Past what a metaclass may have put before them.
_mro = type.__dict__["__mro__"].__get__
_namespace = type.__dict__["__dict__"].__get__


def _getter(kind: type, name: str, expected: type) -> Any:
    """The C descriptor a type has under `name`; None if it has another sort, or none."""
    for base in _mro(kind):
        found = _namespace(base).get(name)
        if found is not None:
            return found if type(found) is expected else None
    return None


def _read(descriptor: Any, value: object) -> object:
    """What a C descriptor has of a value; None if it has nothing."""
    try:
        return descriptor.__get__(value)
    except (AttributeError, TypeError):
        # A slot never set; or a class made with a copy of another's namespace, whose descriptors
        # take instances of that other class alone.
        return None


def unwrapped(value: object) -> object:
    """What a lazy object stands for, if it has been worked out; anything else as it is."""
    inner = peek(value, naming.LAZY_ATTRIBUTE)
    return value if inner is None else inner


def describe(value: object, kind: str = "id") -> list[Principal]:
    """Who a user object, claims dict or bare identifier names: the best first, then aliases.

    `kind` is what a bare identifier is; fields and attributes say it by their names.
    """
    direct = principal(value, kind)
    if direct is not None:
        return [direct]
    if value is None or is_a(value, (str, bytes, int, float, list, tuple, set)):
        return []
    value = unwrapped(value)
    tenant = None
    for name in naming.TENANT_FIELDS:
        holder = principal(peek(value, name))
        if holder is not None:
            tenant = holder.user
            break
    found: list[Principal] = []
    for name, named in naming.USER_FIELDS.items():
        entry = principal(peek(value, name), named, tenant)
        if entry is not None and all(entry[1:] != known[1:] for known in found):
            found.append(entry)
    return found


def evidence_of(value: object, source: str, kind: str = "id") -> Evidence | None:
    """Connection evidence from an authenticated object; its further identifiers are aliases."""
    found = describe(value, kind)
    if not found:
        return None
    return Evidence("connection", found[0], ACCEPT, source, STRONG, True, tuple(found[1:]))


# --- the connection's cell -------------------------------------------------------------------


class Cell:
    """What is known of one live connection; the ASGI scope carries it to the inner hooks.

    Copies are the cell itself (frameworks copy scopes) and a pickle of it is None.
    `held` is the evidence the connection is judged by; `claimed` what only the client said.
    An HTTP request's has the id 0 until the response turns out to be a stream of deliveries.
    """

    __slots__ = (
        "__weakref__",
        "address",
        "aliases_of",
        "asked",
        "claimed",
        "claims",
        "claims_read",
        "connection_id",
        "elsewhere",
        "greetings",
        "hands_round",
        "heard",
        "held",
        "inbound_dissents",
        "limited",
        "met",
        "named",
        "opened_ns",
        "pinned",
        "scope",
        "transport",
        "user_seen",
    )

    def __init__(self, connection_id: int, transport: str) -> None:
        self.connection_id = connection_id
        self.transport = transport
        self.opened_ns = time_ns()
        self.scope: dict[str, Any] | None = None  # a framework's own copy, which knows more
        self.elsewhere = False  # its frames are those of another transport, and counted there
        self.held: Evidence | None = None
        self.claimed: Evidence | None = None
        self.claims_read = False  # path and query parameters have been looked at
        self.greetings = 0  # messages that came in while nobody knew from whom
        self.limited = False  # one connection too many for the settings: not judged
        self.pinned = False  # set by ws_audit.bind(): nothing else changes it
        self.user_seen: object = None  # the scope's user object at the last look
        self.asked = 0  # how often the declared accessor was, in vain; -1: it has answered
        self.aliases_of: Principal | None = None  # whose aliases the declared callable has told
        self.address: frozenset[str] = frozenset()  # its parts, once somebody needed them
        self.met: Evidence | None = None  # what the table of people has of it
        self.claims = 0  # resources its client was the first to name
        self.hands_round = False  # its task has sent one message to several people: see behalf
        self.named: tuple[Principal, ...] = ()  # whom its client's last message named
        self.heard = 0  # when its client's last message came, in ns
        self.inbound_dissents = 0  # messages in which the client claimed to be someone else

    def __repr__(self) -> str:
        return "<ws_audit cell>"

    def __copy__(self) -> Cell:
        return self

    def __deepcopy__(self, memo: object) -> Cell:
        return self

    def __reduce_ex__(self, protocol: object) -> tuple[type, tuple[()]]:
        return (type(None), ())

    @property
    def connection(self) -> Evidence | None:
        """The evidence deliveries are judged against: authenticated, else claimed, else None."""
        return self.held or self.claimed

    def offer(self, evidence: Evidence) -> Evidence | None:
        """Tell the cell of an authenticated principal; the dissent if it holds another one.

        The first authenticated principal stays (guest to user is no change of user). One
        that can't be compared with it is another name of the same person if one source gave
        both (a dependency on token claims, and one on the user they name), else nothing.
        """
        held = self.held
        if held is None or (not self.pinned and GUEST.match(held.principal.user)):
            self.held = evidence
            return None
        result = agree(held, evidence.principal)
        if result == DIFFERENT and not self.pinned:
            return evidence
        another = compare(held.principal, evidence.principal) == INCOMPARABLE
        if result != DIFFERENT and another and _origin(held) == _origin(evidence) == "dependency":
            names = (*held.aliases, evidence.principal, *evidence.aliases)
            self.held = held._replace(aliases=tuple(dict.fromkeys(names)))
        return None

    def know(self, aliases: tuple[Principal, ...]) -> Evidence | None:
        """Further identifiers of the connection's user, from a declared callable."""
        for name in ("held", "claimed"):
            evidence: Evidence | None = getattr(self, name)
            if evidence is not None:
                self.aliases_of = evidence.principal
                told = evidence._replace(
                    aliases=tuple(dict.fromkeys((*evidence.aliases, *aliases)))
                )
                setattr(self, name, told)
                return told
        return None

    def look_in(self, scope: dict[str, Any]) -> None:
        """Who is connected stands in this copy of the scope, if anywhere."""
        self.scope = scope
        self.user_seen = None
        self.claims_read = False

    def log_out(self) -> None:
        """The scope's user is nobody now: what the scope's user said holds no longer."""
        if not self.pinned and self.held is not None and self.held.source.startswith(SCOPE_USER):
            self.held = None

    def release(self) -> None:
        """A manager let the connection go: what a manager said of it holds no longer.

        What a dependency, the scope or the session said stays true: leaving one manager, or
        one topic, is no logging out.
        """
        if self.held is not None and _origin(self.held) == MANAGER:
            self.held = None
            self.user_seen = None


def _origin(evidence: Evidence) -> str:
    return evidence.source.partition(":")[0]


class Handle:
    """What a framework's id of a connection stands for; alive as long as the framework's own."""

    __slots__ = ("__weakref__", "cell", "scope")

    def __init__(self, cell: Cell, scope: dict[str, Any]) -> None:
        self.cell = cell
        self.scope = scope


class Handles(WeakValueDictionary[str, Handle]):
    """The ids by which a framework and its applications speak of connections."""

    def find(self, value: object) -> tuple[Cell, dict[str, Any]] | None:
        """The cell and scope of a connection object, or of such an id."""
        if type(value) is not str:
            return find_cell(value)
        handle = self.get(value)
        return None if handle is None else (handle.cell, handle.scope)


# The HTTP request this task serves: a manager may register its user without naming a request.
current_request: ContextVar[tuple[Cell, dict[str, Any]] | None] = ContextVar(
    "ws_audit_request", default=None
)


def find_cell(value: object) -> tuple[Cell, dict[str, Any]] | None:
    """The cell and scope of a connection object: a framework's socket, or what keeps one."""
    if value is None or is_a(value, (str, bytes, int, float)):
        return None
    found = _scope_cell(value)
    if found is None and not is_a(value, dict):
        for name in naming.SOCKET_ATTRIBUTES:
            inner = peek(value, name)
            if inner is not None:
                found = _scope_cell(inner)
                if found is not None:
                    break
    return found


def _scope_cell(value: object) -> tuple[Cell, dict[str, Any]] | None:
    scope: Any = value if is_a(value, dict) else peek(value, "scope")
    if is_a(scope, dict):
        cell = dict.get(scope, CELL_KEY)
        if type(cell) is Cell:
            return cell, scope
    return None


def claim_of(parameters: Any, source: str) -> Evidence | None:
    """Connection evidence from path or query parameters: only a claim, hence weak."""
    if not is_a(parameters, dict):
        return None
    for name in naming.CLAIM_PARAMETERS:
        found = principal(dict.get(parameters, name), naming.RECIPIENTS.get(name, "id"))
        if found is not None:
            return Evidence("connection", found, ACCEPT, f"{source}.{name}", WEAK)
    return None


# --- the keyed hash ----------------------------------------------------------------------------


class Hasher:
    """Turns principals into 32 hex digits; the only form in which they leave the process."""

    _ENTRIES: Final = 100_000

    def __init__(self, key: str) -> None:
        raw = key.encode("utf-8", "surrogatepass")
        self._key = blake2b(raw).digest() if len(raw) > 64 else raw
        self._known: dict[tuple[str | None, str], str] = {}
        # Says whether two processes hash alike, and nothing of the key; no principal's text.
        self.id = blake2b(b"ws-audit hash key", digest_size=4, key=self._key).hexdigest()

    def __call__(self, who: Principal | None) -> str:
        """Keyed blake2b of [tenant, user]; "" for nobody."""
        if who is None:
            return ""
        key = (who.tenant, who.user)
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= self._ENTRIES:
                self._known.clear()
            found = self._known[key] = self._hash(who.tenant, who.user)
        return found

    def _hash(self, tenant: str | None, user: str) -> str:
        import json

        text = json.dumps([tenant, user], separators=(",", ":"), ensure_ascii=False)
        return blake2b(text.encode("utf-8", "replace"), digest_size=16, key=self._key).hexdigest()
