# SPDX-License-Identifier: Apache-2.0
"""What the import hook cannot see: classes made in functions, methods kept before the hook.

Why it exists: a manager defined inside `create_app()` stands in no module, and a
`send = manager.send` at the end of a module was bound before its class could be hooked.
"Armed, silent and blind" is the failure to design against.

It must never run application code, keep what it finds, or walk the heap while messages
wait: the walks happen once, when a server takes the application.
"""

from __future__ import annotations

import gc
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

_SHOWN: Final = 100
_qualname: Final = type.__dict__["__qualname__"].__get__
_names: Final = type.__dict__["__dict__"].__get__


def subclasses(classes: Iterable[type]) -> Iterable[type]:
    """All classes below some, wherever they were made."""
    seen: set[int] = set()
    waiting: list[type] = list(classes)
    while waiting:
        # Past a metaclass that has its own idea of `__subclasses__`.
        below: list[type] = type.__subclasses__(waiting.pop())
        for cls in below:
            if id(cls) not in seen:
                seen.add(id(cls))
                waiting.append(cls)
                yield cls


def local_classes(modules: Collection[str]) -> list[type]:
    """The classes alive that were made inside functions of some modules."""
    # Every class of the process passes here: past whatever their metaclasses make of a look.
    return [
        cls
        for cls in subclasses((object,))
        if "<locals>" in _qualname(cls) and _names(cls).get("__module__") in modules
    ]


def captured(functions: list[FunctionType]) -> list[str]:
    """Who still holds functions that were replaced: one text per bound method or module name."""
    if not functions:
        return []
    wanted = {id(function): function for function in functions}
    found: list[str] = []
    # One walk over the heap for all of them.
    for holder in gc.get_referrers(*functions):
        if type(holder) is MethodType:
            function = holder.__func__
            if id(function) in wanted:
                where = _holder_of(holder)
                found.append(f"{_name(function)} was kept as a bound method{where}")
        elif type(holder) is dict and (holder.get("__spec__") is not None):
            module = holder.get("__name__")
            found.extend(
                f"{_name(value)} was kept as {module}.{name}"
                for name, value in list(holder.items())
                if id(value) in wanted
            )
        if len(found) >= _SHOWN:
            break
    return sorted(found)


def _name(function: Any) -> str:
    return f"{function.__module__}:{function.__qualname__}"


def _holder_of(method: MethodType) -> str:
    """Under which module's name; other holders may be keyed by what is not ours to tell."""
    for holder in gc.get_referrers(method):
        if type(holder) is dict and "__spec__" in holder:
            for name, value in list(holder.items()):
                if value is method:
                    return f" in {holder.get('__name__')}.{name}"
    return ""
