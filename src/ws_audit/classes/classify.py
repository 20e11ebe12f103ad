# SPDX-License-Identifier: Apache-2.0
"""Which class is a manager, which method sends, which parameter names the recipient.

Why it exists: the agent needs no code change because it recognises what teams write. The
decision is made from names and shapes alone, so the same rules serve the live hooks and a
static scan, and each answer carries the reason for it.

It must never run application code: class and module dictionaries are read, nothing in them
is called, and a value is known by its `type()` alone (`isinstance` asks the `__class__` of lazy
objects, which sets them off). A name alone never suffices, or every `DatabaseManager` would be
patched.
"""

from __future__ import annotations

import re
from functools import lru_cache
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ws_audit import naming
from ws_audit.model import BIND, BROADCAST, CREATE, RECEIVE, SEND, UNBIND

from .refusals import (
    DOUBLE,
    INTERFACE,
    ITS_A_CLIENT,
    NO_CONNECT,
    NO_SEND,
    NOT_REALTIME,
    OTHER,
    VALUE,
)
from .signs import (
    CLIENT,
    EMITS,
    FILLS,
    FORWARDS,
    LASTS,
    MAYBE,
    QUEUES,
    SENDS,
    SOCKET,
    STREAMS,
    Signs,
    has_realtime_base,
    is_class,
    plain_function,
    root_of,
    signs_of,
    words,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_MANAGER: Final = re.compile(naming.MANAGER_CLASS)
_LIVE: Final = re.compile(naming.LIVE_CLASS)
_MAYBE: Final = re.compile(naming.MAYBE_CLASS)
_OTHER: Final = re.compile(naming.OTHER_MEDIUM)
_SUBSCRIBE: Final = re.compile(naming.SUBSCRIBE_METHOD)
_TO_ALL: Final = re.compile(naming.TO_ALL)
_NEVER: Final = re.compile(naming.NOT_MANAGER_CLASS)
# Names are matched from their beginning, in lower case, with their words apart. One pattern
# for all kinds, because each class of an application is asked for each of its names.
_METHODS: Final = re.compile(
    "|".join(
        f"(?P<{kind}>{pattern})"
        for kind, pattern in (
            (UNBIND, naming.UNBIND_METHOD),
            (BIND, naming.BIND_METHOD),
            (RECEIVE, naming.RECEIVE_METHOD),
            (BROADCAST, naming.BROADCAST_METHOD),
            (SEND, naming.SEND_METHOD),
        )
    )
)
_BIND_WITH_SOCKET: Final = re.compile(naming.BIND_WITH_SOCKET)
_EMIT: Final = re.compile(r"_?emit", re.IGNORECASE)
_HANDLER: Final = re.compile(naming.HANDLER_METHOD)
_DIRECT: Final = re.compile(naming.DIRECT_METHOD, re.IGNORECASE)
_EXCLUDED: Final = re.compile(naming.EXCLUDED, re.IGNORECASE)
_ROOM: Final = re.compile(naming.ROOMS, re.IGNORECASE)
_SOCKET: Final = re.compile(naming.SOCKETS, re.IGNORECASE)
_SOCKET_TYPE: Final = re.compile(
    r"\b(WebSocket|WebSocketServerProtocol|ServerConnection|WebSocketResponse)\b"
)
_NAME: Final = re.compile(r"[A-Za-z_]\w*")
_CO_VARARGS: Final = 0x04
_DECORATORS: Final = 10  # one above the other; more is somebody's mistake, or a circle
_EVENT_NAME: Final = re.compile(r"[A-Za-z][\w.:/-]{0,63}")


class Parameters(NamedTuple):
    """What a method's parameters mean, by name; None where there is no such parameter."""

    recipient: str | None
    recipient_kind: str
    payload: str | None
    event: str | None
    socket: str | None
    room: str | None


class Method(NamedTuple):
    """One method to hook: its name in the class's own dictionary, hook kind, parameters."""

    name: str
    kind: str
    parameters: Parameters


class Target(NamedTuple):
    """A class taken as a manager: which own methods to hook, and why it was taken."""

    module: str
    qualname: str
    reason: str
    methods: tuple[Method, ...]
    instance_user: str = ""  # attribute path of an instance's owner; empty: the usual places


class Refused(NamedTuple):
    """A class left alone: why, and what would have it taken, in a sentence.

    `near` says that somebody may have expected otherwise: it is called like a manager, or it
    has a method that is called like a send.
    """

    module: str
    qualname: str
    reason: str
    near: bool


@lru_cache(maxsize=4096)  # classes of a module share their names
def method_kind(name: str) -> str | None:
    """The hook kind a method's name suggests; a direct method is a send, whatever its verb."""
    name = words(name)
    match = _METHODS.match(name)
    if match is None:
        return None
    kind = match.lastgroup
    return SEND if kind == BROADCAST and _DIRECT.search(name) else kind


def parameters(kind: str, method: str, names: Iterable[tuple[str, str]]) -> Parameters:
    """What the parameters (name, annotation text) of a method of this kind mean."""
    recipient = payload = event = socket = room = None
    recipient_kind = "id"
    rest: list[str] = []
    method = words(method)
    for name, annotation in names:
        lower = words(name).lstrip("_")
        if _EXCLUDED.search(lower):
            continue
        if socket is None and (_SOCKET.match(lower) or _SOCKET_TYPE.search(annotation)):
            socket = name
        elif room is None and (_ROOM.match(lower) or (lower == "to" and _EMIT.match(method))):
            room = name  # Socket.IO's `emit(event, data, to=...)` names a room or a session
        elif recipient is None and lower in naming.RECIPIENTS:
            recipient, recipient_kind = name, naming.RECIPIENTS[lower]
        elif event is None and lower in naming.EVENT_PARAMETERS:
            event = name
        elif payload is None and lower in naming.PAYLOADS:
            payload = name
        else:
            rest.append(name)
    if payload is None and kind in (SEND, BROADCAST, RECEIVE):
        # `notify(user_id, update_obj)`, `send(event)`: whatever is left is the message.
        payload = rest[-1] if rest and not event else (event if not rest else None)
    if kind == SEND and (socket or (room and not _DIRECT.search(method))):
        recipient = None
    if kind == BROADCAST:
        recipient = None
    return Parameters(recipient, recipient_kind, payload, event, socket, room)


def classify(cls: type, realtime: bool) -> Target | Refused:
    """Decide whether a class is a manager.

    `realtime` says whether its module showed a sign of real-time code (see signs.is_realtime).
    """
    short = words(cls.__name__)
    base = has_realtime_base(cls)
    kinds = {method_kind(name) for name, value in cls.__dict__.items() if plain_function(value)}
    near = (
        base
        or SEND in kinds
        or BROADCAST in kinds
        or _MANAGER.search(short) is not None
        or _MAYBE.search(short) is not None
    )
    refusal = "" if base else _refusal(cls, short)
    # In modules that show nothing, most classes need no closer look.
    inherits = len(cls.__mro__) > 2 and _inherits_manager(cls)
    if refusal or not (near or realtime or inherits or RECEIVE in kinds):
        return Refused(cls.__module__, cls.__qualname__, refusal or NO_SEND, near)
    methods = tuple(own_methods(cls))
    look = _Look(cls, short, realtime, base, inherits, methods)
    reason = look.reason()
    if reason:
        return Target(cls.__module__, cls.__qualname__, reason, (*methods, *look.unnamed))
    return Refused(cls.__module__, cls.__qualname__, look.refusal(), near)


class _Look:
    """One class, and what there is to be seen of it."""

    def __init__(
        self,
        cls: type,
        short: str,
        realtime: bool,
        base: bool,
        inherits: bool,
        methods: tuple[Method, ...],
    ) -> None:
        self._cls = cls
        self._short = short
        self._realtime = realtime
        self._base = base
        self._methods = methods
        self._kinds = {method.kind for method in methods}
        self._other = _OTHER.search(short) is not None
        self._inherits = inherits
        functions = dict(_functions(cls))
        self._signs = signs_of(functions.items())
        self._sockets = (
            self._signs.all & SOCKET != 0
            or (realtime and self._signs.all & MAYBE != 0)
            or _mentions_socket(functions.values())
        )
        # Methods no name tells: what they do is give a message to a socket.
        self.unnamed: tuple[Method, ...] = ()
        if self._sockets or base:
            heard = filter(_HANDLER.match, functions if base else ())
            named = {method.name for method in methods}.union(heard)
            self.unnamed = tuple(_unnamed(cls, functions, self._signs, named))
        self._delivers = bool(self._kinds & {SEND, BROADCAST}) or bool(self.unnamed)

    def reason(self) -> str:
        """Why it is a manager; empty if it is none."""
        if _speaks(self._short) and (self._delivers or self._registers()):
            return (
                f"name {self._cls.__name__!r} speaks of live connections and it sends or registers"
            )
        if self._inherits and (self._delivers or self._kinds & {BIND, RECEIVE}):
            return "subclass of a manager class"
        if self._base and self._kinds | {method.kind for method in self.unnamed} != {CREATE}:
            return "subclass of a framework's own consumer, handler or namespace"
        if self._signs.all & CLIENT:
            return ""
        if self._sockets and self._delivers:
            return "it handles sockets and has a method that sends"
        if any(method.kind == RECEIVE and method.parameters.socket for method in self._methods):
            return "it is given messages together with the socket they came from"
        if not self._kinds & {SEND, BROADCAST}:
            return ""
        if self._signs.all & FILLS and not self._other and self._subscribes(STREAMS):
            return "it streams to its subscribers, from queues, what it is given"
        if not self._realtime:
            return ""
        if self._signs.all & FORWARDS:
            return "hands messages on to a manager, in a real-time module"
        return "" if self._other else self._realtime_reason()

    def _realtime_reason(self) -> str:
        """Of a class that sends, in a real-time module, and shows no socket."""
        if _MAYBE.search(self._short):
            return f"name {self._cls.__name__!r} in a real-time module and it has a send method"
        for method in self._methods:
            named = method.parameters
            if method.kind == BIND and self._takes_something(method.name):
                return "has a connect-like and a send-like method in a real-time module"
            if method.kind == CREATE and named.recipient:
                return "is made for one user and sends, in a real-time module"
            if method.kind == SEND and named.recipient and _DIRECT.search(words(method.name)):
                return "sends to a user, in a real-time module"
        if self._subscribes(QUEUES):
            return "hands out queues and fills them, in a real-time module"
        return ""

    def _subscribes(self, sign: int) -> bool:
        """Whether a method that is called like a subscription shows this."""
        signs = self._signs.by_method.items()
        return any(found & sign and _SUBSCRIBE.search(words(name)) for name, found in signs)

    def _takes_something(self, name: str) -> bool:
        value = self._cls.__dict__[name]
        function = plain_function(value)
        return function is not None and len(given(value, function)) > 0

    def _registers(self) -> bool:
        """Whether a connection is given to it, or there is no doubt what it connects."""
        return BIND in self._kinds and (
            _LIVE.search(self._short) is not None
            or any(
                method.kind == BIND and method.parameters.socket is not None
                for method in self._methods
            )
        )

    def refusal(self) -> str:
        """Why it is none."""
        if not self._delivers:
            return NO_SEND
        if self._signs.all & CLIENT:
            return ITS_A_CLIENT
        if not self._realtime:
            return NOT_REALTIME
        return OTHER if self._other else NO_CONNECT


@lru_cache(maxsize=4096)
def _speaks(short: str) -> bool:
    """Whether a class's name speaks of live connections, and not of a database's."""
    return _MANAGER.search(short) is not None and (
        _LIVE.search(short) is not None or _OTHER.search(short) is None
    )


def _functions(cls: type) -> Iterable[tuple[str, FunctionType]]:
    for name, value in list(cls.__dict__.items()):
        function = plain_function(value)
        if function is not None:
            yield name, undecorated(function)


def _unnamed(
    cls: type, functions: Mapping[str, FunctionType], signs: Signs, named: Iterable[str]
) -> Iterable[Method]:
    """Methods that give a message to a socket under a name that no rule knows.

    Whom such a method names may be the sender as well, as in `play(player_id, card)`: only a
    name like `tell_user` makes the parameter a recipient.
    """
    for name, found in signs.by_method.items():
        if name in named:
            continue
        if not found & (SENDS | EMITS) or found & LASTS or name.startswith("__"):
            continue
        kind = BROADCAST if _TO_ALL.search(words(name)) else SEND
        meant = parameters(kind, name, given(cls.__dict__[name], functions[name]))
        if meant.socket is None and meant.payload is not None:
            if not _DIRECT.search(words(name)):
                meant = meant._replace(recipient=None)
            yield Method(name, kind, meant)


def _refusal(cls: type, short: str) -> str:
    """Why a class is no manager whatever its methods; empty if it may be one."""
    if _NEVER.search(short) or any(root_of(base) == "unittest" for base in cls.__mro__[1:-1]):
        return DOUBLE
    if _is_interface(cls):
        return INTERFACE
    return VALUE if issubclass(cls, (BaseException, tuple)) else ""


def classes_of(module: ModuleType) -> list[type]:
    """The classes a module defines, also nested ones; imported names are left out."""
    found: dict[int, type] = {}  # by id: a metaclass may have its own idea of equality
    _collect(vars(module), module.__name__, found, 0)
    return list(found.values())


def _collect(names: Mapping[str, Any], module: str, found: dict[int, type], depth: int) -> None:
    for value in list(names.values()):
        if is_class(value) and value.__module__ == module and id(value) not in found:
            found[id(value)] = value
            if depth < 3:
                _collect(value.__dict__, module, found, depth + 1)


def event_names(module: ModuleType) -> set[str]:
    """String constants of a module's functions and classes that look like event names."""
    found: set[str] = set()
    for value in list(vars(module).values()):
        if type(value) is FunctionType and value.__module__ == module.__name__:
            _constants(value.__code__, found)
        elif type(value) is str and _EVENT_NAME.fullmatch(value):
            found.add(value)
    for cls in classes_of(module):
        for value in list(cls.__dict__.values()):
            if type(value) is FunctionType:
                _constants(undecorated(value).__code__, found)
            elif type(value) is str and _EVENT_NAME.fullmatch(value):
                found.add(value)
    return found


def _constants(code: CodeType, found: set[str]) -> None:
    for value in code.co_consts:
        if type(value) is str and _EVENT_NAME.fullmatch(value):
            found.add(value)
        elif isinstance(value, CodeType):
            _constants(value, found)


def own_methods(cls: type) -> Iterable[Method]:
    """The methods a class itself defines that the rules would hook."""
    for name, value in list(cls.__dict__.items()):
        if name == "__init__":
            if type(value) is FunctionType:
                yield Method(name, CREATE, parameters(CREATE, name, signature(value)))
            continue
        if name.startswith("__"):
            continue
        if (function := plain_function(value)) is None:
            continue
        kind = method_kind(name)
        if kind is not None:
            yield Method(name, kind, parameters(kind, name, given(value, function)))
        elif _BIND_WITH_SOCKET.match(words(name)):
            meant = parameters(BIND, name, given(value, function))
            stream = not meant.room and _SUBSCRIBE.match(words(name))
            if meant.recipient and (meant.socket or stream):
                yield Method(name, BIND, meant)


def given(value: object, function: FunctionType) -> list[tuple[str, str]]:
    """What a caller passes to an attribute of a class: not the instance, nor the class."""
    names = signature(function)
    return names if issubclass(type(value), staticmethod) else names[1:]


def signature(function: FunctionType) -> list[tuple[str, str]]:
    """(name, annotation as text) of a plain function's parameters, without inspect."""
    function = undecorated(function)
    code = function.__code__
    count = code.co_argcount + code.co_kwonlyargcount
    notes = _annotations(function)
    return [(name, _text(notes.get(name, ""))) for name in code.co_varnames[:count]]


def undecorated(function: FunctionType) -> FunctionType:
    """The function whose parameters a caller fills: behind decorators that pass on `*args`."""
    for _ in range(_DECORATORS):
        code = function.__code__
        inner = function.__dict__.get("__wrapped__")
        named = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        passes_on = code.co_flags & _CO_VARARGS and named in ((), ("self",))
        if type(inner) is not FunctionType or not passes_on:
            break
        function = inner
    return function


def returned(function: FunctionType) -> list[str]:
    """The names in a function's return annotation."""
    return _NAME.findall(_text(_annotations(function).get("return", "")))


def _annotations(function: FunctionType) -> dict[str, Any]:
    try:
        return function.__annotations__
    except Exception:  # a lazily evaluated annotation may name what only type checkers import
        return {}


def _text(annotation: object) -> str:
    if type(annotation) is str:
        return annotation
    if is_class(annotation):
        return annotation.__name__
    # `WebSocket | None`, `Optional[WebSocket]`, `Annotated[WebSocket, ...]`; anything else is the
    # application's own object.
    if type(annotation).__module__ in ("typing", "types"):
        return " ".join(_text(part) for part in getattr(annotation, "__args__", ()))
    return ""


def _is_interface(cls: type) -> bool:
    return any(base.__name__ == "Protocol" for base in cls.__bases__) or any(
        base.__name__ == "Enum" for base in cls.__mro__
    )


def _inherits_manager(cls: type) -> bool:
    return any(_speaks(words(base.__name__)) for base in cls.__mro__[1:-1])


def _mentions_socket(functions: Iterable[FunctionType]) -> bool:
    for function in functions:
        for _, annotation in signature(function):
            if _SOCKET_TYPE.search(annotation):
                return True
    return False
