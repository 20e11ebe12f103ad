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
    methods: list[MethodType] = []
    found: list[str] = []
    # Two walks over the heap, however much there is to find.
    for holder in gc.get_referrers(*functions) if functions else ():
        if type(holder) is MethodType:
            methods.append(holder)
        else:
            found += [
                f"{_name(value)} was kept as {place}" for place, value in _places(holder, functions)
            ]
    kept = {
        id(value): place
        for holder in (gc.get_referrers(*methods) if methods else ())
        for place, value in _places(holder, methods)
    }
    for method in methods:
        where = f" in {kept[id(method)]}" if id(method) in kept else ""
        found.append(f"{_name(method.__func__)} was kept as a bound method{where}")
    return sorted(found)[:_SHOWN]


def _places(holder: object, wanted: Iterable[Any]) -> list[tuple[str, Any]]:
    """Under which names a module holds one of some objects; what else holds them has no name.

    Other dictionaries may be keyed by what is not ours to tell.
    """
    if type(holder) is not dict or "__spec__" not in holder:
        return []
    known = {id(value) for value in wanted}
    module = holder.get("__name__")
    return [
        (f"{module}.{name}", value) for name, value in list(holder.items()) if id(value) in known
    ]


def _name(function: Any) -> str:
    return f"{function.__module__}:{function.__qualname__}"
