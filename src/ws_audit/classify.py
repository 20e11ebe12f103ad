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

from . import naming
from .model import BIND, BROADCAST, CREATE, RECEIVE, SEND, UNBIND

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from typing import TypeGuard

_MANAGER: Final = re.compile(naming.MANAGER_CLASS)
_MAYBE: Final = re.compile(naming.MAYBE_CLASS)
_NEVER: Final = re.compile(naming.NOT_MANAGER_CLASS)
_METHODS: Final = tuple(
    (kind, re.compile(pattern, re.IGNORECASE))
    for kind, pattern in (
        (UNBIND, naming.UNBIND_METHOD),
        (BIND, naming.BIND_METHOD),
        (RECEIVE, naming.RECEIVE_METHOD),
        (BROADCAST, naming.BROADCAST_METHOD),
        (SEND, naming.SEND_METHOD),
    )
)
_BIND_WITH_SOCKET: Final = re.compile(naming.BIND_WITH_SOCKET, re.IGNORECASE)
_EMIT: Final = re.compile(r"_?emit", re.IGNORECASE)
_DIRECT: Final = re.compile(naming.DIRECT_METHOD, re.IGNORECASE)
_EXCLUDED: Final = re.compile(naming.EXCLUDED, re.IGNORECASE)
_ROOM: Final = re.compile(naming.ROOMS, re.IGNORECASE)
_SOCKET: Final = re.compile(naming.SOCKETS, re.IGNORECASE)
_SOCKET_TYPE: Final = re.compile(
    r"\b(WebSocket|WebSocketServerProtocol|ServerConnection|WebSocketResponse)\b"
)
_WORDS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_NAME: Final = re.compile(r"[A-Za-z_]\w*")
_CO_VARARGS: Final = 0x04
_DECORATORS: Final = 10  # one above the other; more is somebody's mistake, or a circle
_EVENT_NAME: Final = re.compile(r"[A-Za-z][\w.:/-]{0,63}")


# Why a class is left alone, for somebody who expected otherwise.
_NAME_IT: Final = "name it in a [[manager]] table to have it taken all the same"
DOUBLE: Final = (
    "its name is that of a test double, a test or an interface (mock, fake, stub, dummy, Test,"
    f" Protocol); {_NAME_IT}"
)
INTERFACE: Final = (
    "it is a Protocol or an Enum, which delivers nothing; the classes that implement it are looked"
    " at themselves"
)
VALUE: Final = f"it is an exception or a tuple; {_NAME_IT}"
NO_SEND: Final = (
    "it defines no method that is called like a send (send, emit, publish, notify, push, deliver,"
    " broadcast, ...); if one of its methods sends, name class and method in a [[manager]] table"
)
NOT_REALTIME: Final = (
    "its module imports no real-time library (fastapi, starlette, websockets, socketio, ...) and"
    f" none of its methods says that it takes a WebSocket; {_NAME_IT}"
)
NO_CONNECT: Final = (
    "it sends, but neither does its name speak of connections (ConnectionManager, ...Hub,"
    " ...Notifier, ...) nor has it a method that is called like a connect (connect, register,"
    f" add_client, ...); {_NAME_IT}"
)


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


def words(name: str) -> str:
    """A name in lower case with its words apart, whatever the style it is written in."""
    return _WORDS.sub("_", name).lower()


@lru_cache(maxsize=4096)  # classes of a module share their names
def method_kind(name: str) -> str | None:
    """The hook kind a method's name suggests; a direct method is a send, whatever its verb."""
    name = words(name)
    for kind, pattern in _METHODS:
        if pattern.search(name):
            return SEND if kind == BROADCAST and _DIRECT.search(name) else kind
    return None


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

    `realtime` says whether its module showed a sign of real-time code (see is_realtime).
    """
    short = words(cls.__name__)
    methods = tuple(own_methods(cls))
    kinds = {method.kind for method in methods}
    delivers = SEND in kinds or BROADCAST in kinds
    manager = _MANAGER.search(short) is not None
    maybe = manager or _MAYBE.search(short) is not None
    reason = _refusal(cls, short)
    taken = ""
    if reason:
        pass
    elif not delivers and not (kinds & {RECEIVE, BIND} and _inherits_manager(cls)):
        reason = NO_SEND
    elif manager:
        taken = f"name {cls.__name__!r} speaks of live connections and it has a send method"
    elif not (realtime or _mentions_socket(cls)):
        reason = NOT_REALTIME
    elif maybe:
        taken = f"name {cls.__name__!r} in a real-time module and it has a send method"
    elif BIND in kinds:
        taken = "has a connect-like and a send-like method in a real-time module"
    elif _inherits_manager(cls):
        taken = "subclass of a manager class"
    else:
        reason = NO_CONNECT
    if taken:
        return Target(cls.__module__, cls.__qualname__, taken, methods)
    return Refused(cls.__module__, cls.__qualname__, reason, maybe or delivers)


def _refusal(cls: type, short: str) -> str:
    """Why a class is no manager whatever its methods; empty if it may be one."""
    if _NEVER.search(short):
        return DOUBLE
    if _is_interface(cls):
        return INTERFACE
    return VALUE if issubclass(cls, (BaseException, tuple)) else ""


def classes_of(module: ModuleType) -> list[type]:
    """The classes a module defines, also nested ones; imported names are left out."""
    found: dict[int, type] = {}  # by id: a metaclass may have its own idea of equality
    _collect(vars(module), module.__name__, found, 0)
    return list(found.values())


def is_class(value: object) -> TypeGuard[type]:
    """Whether a value is a class, without asking the value."""
    return issubclass(type(value), type)


def _collect(names: Mapping[str, Any], module: str, found: dict[int, type], depth: int) -> None:
    for value in list(names.values()):
        if is_class(value) and value.__module__ == module and id(value) not in found:
            found[id(value)] = value
            if depth < 3:
                _collect(value.__dict__, module, found, depth + 1)


def is_realtime(module: ModuleType, taken: Collection[type] = ()) -> bool:
    """Whether a module's names show real-time code: a framework's, or a class already taken."""
    for value in list(vars(module).values()):
        owner: object = None
        if type(value) is ModuleType:  # not a lazy one, which a look would load
            owner = value.__name__
        elif type(value) is FunctionType:
            owner = value.__module__
        elif is_class(value):
            if value in taken:
                return True
            owner = value.__module__
        if type(owner) is str and owner.partition(".")[0] in naming.REALTIME_MODULES:
            return True
    return False


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
        function = plain_function(value)
        if function is None:
            continue
        kind = method_kind(name)
        if kind is not None:
            yield Method(name, kind, parameters(kind, name, given(value, function)))
        elif _BIND_WITH_SOCKET.search(name):
            meant = parameters(BIND, name, given(value, function))
            if meant.socket is not None and meant.recipient is not None:
                yield Method(name, BIND, meant)


def plain_function(value: object) -> FunctionType | None:
    """The function behind a class's attribute; None if it is none that can be read."""
    if issubclass(type(value), (staticmethod, classmethod)):
        value = value.__func__  # type: ignore[attr-defined]
    return value if type(value) is FunctionType else None


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
    return any(_MANAGER.search(words(base.__name__)) for base in cls.__mro__[1:-1])


def _mentions_socket(cls: type) -> bool:
    for value in list(cls.__dict__.values()):
        if type(value) is FunctionType:
            for _, annotation in signature(value):
                if _SOCKET_TYPE.search(annotation):
                    return True
    return False
