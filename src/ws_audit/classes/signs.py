# SPDX-License-Identifier: Apache-2.0
"""What a module and a class show of real-time code: whose names they use, not what those mean.

Why it exists: `NotificationManager.notify(user_id, text)` sends to sockets in one application and
mails in the next. The difference stands in the code beside it: what the module imports, which
attributes the methods use.

It must never run application code. Names are read from module and class dictionaries and from
code objects; see classify.
"""

from __future__ import annotations

import re
from functools import lru_cache
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ws_audit import naming

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from typing import TypeGuard

_WORDS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_LIVE_MODULE: Final = re.compile(naming.LIVE_MODULE)
_LIVE_NAME: Final = re.compile(naming.LIVE_NAME)
# A name without one of these needs no closer look: a search for a text is cheap.
_HINTS: Final = ("ws", "sse", "socket", "sio", "source")
_BASE: Final = re.compile(naming.REALTIME_BASE)
_SOCKET: Final = re.compile(naming.SOCKET_NAME)
_MAYBE_SOCKET: Final = re.compile(naming.MAYBE_SOCKET_NAME)
_FORWARD: Final = re.compile(naming.FORWARD_NAME)
_ROOM_KEYWORDS: Final = frozenset({"room", "to", "skip_sid"})
_DEPTH: Final = 3

# What one name in the code says.
SOCKET, MAYBE, FORWARDS, SENDS, LASTS = 1, 2, 4, 8, 16
# What the code of a method says besides: it emits to a room; it writes a stream of events; it
# hands out a queue; it asks another server; it fills queues; it is a stream of what comes from one.
EMITS, QUEUES, CLIENT, FILLS, STREAMS = 32, 64, 128, 256, 512
_ASYNC_GENERATOR: Final = 0x200  # a flag of code


@lru_cache(maxsize=4096)  # classes of a module share their names
def words(name: str) -> str:
    """A name in lower case with its words apart, whatever the style it is written in."""
    return _WORDS.sub("_", name).lower()


def is_class(value: object) -> TypeGuard[type]:
    """Whether a value is a class, without asking the value."""
    return issubclass(type(value), type)


def is_realtime(module: ModuleType, taken: Collection[type] = ()) -> bool:
    """Whether a module shows real-time code: its own name, what it has imported, or a class
    already taken. A web framework alone is no sign: most of its modules have no socket."""
    if _LIVE_MODULE.search(words(module.__name__)):
        return True
    names = list(vars(module))
    text = "\n".join(names).lower()
    for hint in _HINTS:
        if hint in text:
            for name in names:
                if hint in name.lower() and _LIVE_NAME.search(words(name)):
                    return True
    for value in list(vars(module).values()):
        kind = type(value)
        owner: object = None
        if kind is ModuleType:  # not a lazy one, which a look would load
            owner = value.__name__
        elif kind is FunctionType:
            owner = value.__module__
        elif issubclass(kind, type):
            if value in taken:
                return True
            owner = value.__module__
        if type(owner) is str and _is_live(owner):
            return True
    return False


@lru_cache(maxsize=4096)
def _is_live(module: str) -> bool:
    root = module.partition(".")[0]
    if root in naming.WEB_MODULES:
        return _LIVE_NAME.search(words(module.replace(".", "_"))) is not None
    return root in naming.REALTIME_MODULES


def root_of(cls: type) -> str:
    """The package a class comes from; a class's `__module__` may be anything."""
    module: object = cls.__module__
    return module.partition(".")[0] if type(module) is str else ""


def has_realtime_base(cls: type) -> bool:
    """Whether a framework's own consumer, handler, namespace or protocol is among the bases."""
    for base in cls.__mro__[1:-1]:
        root = root_of(base)
        if root in naming.REALTIME_MODULES and _BASE.search(words(base.__name__)):
            return True
    return False


class Signs(NamedTuple):
    """What the code of a class says, all methods together and one by one."""

    all: int
    by_method: dict[str, int]


def signs_of(functions: Iterable[tuple[str, FunctionType]]) -> Signs:
    """Read the code of a class's own methods."""
    by_method = {name: _code(function.__code__, 0) for name, function in functions}
    whole = 0
    for found in by_method.values():
        whole |= found
    return Signs(whole, by_method)


def _code(code: CodeType, depth: int) -> int:
    found = 0
    for name in code.co_names:
        found |= _name(name)
    for name in code.co_varnames:
        found |= _name(name) & (SOCKET | MAYBE)
    emits = "emit" in code.co_names
    for value in code.co_consts:
        if type(value) is CodeType:
            if depth < _DEPTH:
                found |= _code(value, depth + 1)
        elif value == "text/event-stream":
            found |= SOCKET
        elif emits and type(value) is tuple and not _ROOM_KEYWORDS.isdisjoint(value):
            found |= EMITS | MAYBE
    if naming.CLIENT_CALLS.intersection(code.co_names) or (
        "connect" in code.co_names and "websockets" in code.co_names
    ):
        found |= CLIENT
    return found | _queues(code)


def _queues(code: CodeType) -> int:
    found = 0
    if "Queue" in code.co_names:
        found |= QUEUES
    if not naming.QUEUE_PUTS.isdisjoint(code.co_names):
        found |= FILLS
    names = (*code.co_names, *code.co_varnames)
    if (
        code.co_flags & _ASYNC_GENERATOR
        and "get" in code.co_names
        and any("queue" in name.lower() for name in names)
    ):
        found |= STREAMS
    return found


@lru_cache(maxsize=8192)
def _name(name: str) -> int:
    text = words(name)
    found = 0
    if _SOCKET.search(text):
        found |= SOCKET
    if _MAYBE_SOCKET.search(text):
        found |= MAYBE
    if _FORWARD.search(text):
        found |= FORWARDS
    if name in naming.SOCKET_SENDS:
        found |= SENDS
    if name in naming.NOT_ONE_SEND:
        found |= LASTS
    return found


def plain_function(value: Any) -> FunctionType | None:
    """The function behind a class's attribute; None if it is none that can be read."""
    if issubclass(type(value), (staticmethod, classmethod)):
        value = value.__func__
    return value if type(value) is FunctionType else None
