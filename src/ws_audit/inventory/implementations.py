# SPDX-License-Identifier: Apache-2.0
"""The manager classes of a process as implementations: what each is there for, and its methods.

Why it exists: "how many managers do we run" is answered by what classes do. An alias is no second
implementation, a class with the same name in another module is one.

It must never keep a class alive, and reads code objects only.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ws_audit.classes.classify import undecorated
from ws_audit.classes.signs import plain_function
from ws_audit.model import BIND, BROADCAST, CREATE, SEND, UNBIND

if TYPE_CHECKING:
    from ws_audit.classes.classify import Target

MANAGER, EMITTER, FACTORY, REGISTRY = "manager", "emitter", "factory", "registry"
DUTIES: Final = (MANAGER, EMITTER, FACTORY, REGISTRY)

_BASES: Final = type.__dict__["__mro__"].__get__
_OWN: Final = type.__dict__["__dict__"].__get__
_METHODS: Final = 60
_CO_COROUTINE, _CO_ASYNC_GENERATOR = 0x80, 0x200


class Signature(NamedTuple):
    """How a method is called: its parameters without the receiver, and whether it is awaited."""

    parameters: tuple[str, ...]
    is_async: bool


class Implementation(NamedTuple):
    """One manager class: `name` is module:qualname, `file` where its module comes from."""

    name: str
    module: str
    file: str
    duty: str
    fingerprint: str
    methods: dict[str, Signature]

    @property
    def qualname(self) -> str:
        """Its name without the module."""
        return self.name.partition(":")[2]


def duty(kinds: set[str]) -> str:
    """What a class with methods of these hook kinds does; empty if it delivers nothing.

    A manager sends and knows to how many: it is given connections, or sends to all of them. An
    emitter sends to whom it was made for, a registry is given connections and sends nothing.
    """
    sends, keeps = bool(kinds & {SEND, BROADCAST}), bool(kinds & {BIND, UNBIND})
    if sends:
        return MANAGER if keeps or BROADCAST in kinds else EMITTER
    return REGISTRY if keeps else ""


def kinds_of(cls: type, targets: dict[int, Target]) -> set[str]:
    """The hook kinds of a class's methods, those it inherits from taken classes as well."""
    found: set[str] = set()
    for base in _BASES(cls):
        target = targets.get(id(base))
        found.update(method.kind for method in (target.methods if target is not None else ()))
    return found - {CREATE}


def signatures(cls: type) -> dict[str, Signature]:
    """The public methods a class itself has, as they are called."""
    found: dict[str, Signature] = {}
    for name, value in list(_OWN(cls).items()):
        function = plain_function(value)
        if function is None or name.startswith("_") or len(found) >= _METHODS:
            continue
        code = undecorated(function).__code__
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        is_async = code.co_flags & (_CO_COROUTINE | _CO_ASYNC_GENERATOR) != 0
        found[name] = Signature(names if type(value) is staticmethod else names[1:], is_async)
    return found


def is_async(name: str) -> bool | None:
    """Whether a function, by module:qualname, is awaited; None if it is not there any more."""
    module, _, path = name.partition(":")
    value: Any = sys.modules.get(module)
    for step in path.split("."):
        if type(value) is ModuleType:
            value = vars(value).get(step)
        elif issubclass(type(value), type):
            value = _OWN(value).get(step)
        else:
            return None
    function = plain_function(value)
    if function is None:
        return None
    return function.__code__.co_flags & (_CO_COROUTINE | _CO_ASYNC_GENERATOR) != 0


def drift(one: Implementation, other: Implementation) -> list[str]:
    """Methods both have and do not mean the same by: one in a place of the other breaks callers."""
    found = []
    for name, here in one.methods.items():
        there = other.methods.get(name)
        if there is None or here == there:
            continue
        if here.is_async != there.is_async:
            found.append(f"{name} is {'async' if here.is_async else 'sync'}, {_other(there)}")
        else:
            found.append(
                f"{name}({', '.join(here.parameters)}) is {name}({', '.join(there.parameters)})"
            )
    return found


def _other(there: Signature) -> str:
    return f"{'async' if there.is_async else 'sync'} there"
