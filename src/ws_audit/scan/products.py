# SPDX-License-Identifier: Apache-2.0
"""Which classes the value of an expression may be an instance of.

Why it exists: a factory's return statement says `_managers[user_id]` or `get_manager()`, and only
the assignments and functions behind it say which class that is.

It must never guess: what it cannot follow is no type, not any type.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from .facts import ANY, CALL, CLASS, FUNCTION, ITEM, NAME, ON, OTHER, TYPE, Class, Function
from .graph import VALUE, Graph, Target

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .facts import Expression

_DEPTH: Final = 12
Where = tuple[str, Function | None]


class Products:
    """Types of expressions, over all modules of a graph."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.functions: Final[dict[tuple[str, str], Function]] = {}
        self.classes: Final[dict[tuple[str, str], Class]] = {}
        self._shared: dict[tuple[str, str], list[tuple[Function, Expression]]] = {}
        for module, file in graph.files.items():
            for function in file.functions:
                self.functions[module, function.qualname] = function
                for name in function.shares:
                    for key in (name, f"{name}[]"):
                        values = function.assigned.get(key, ())
                        known = self._shared.setdefault((module, key), [])
                        known += [(function, value) for value in values]
                for key, values in function.assigned.items():
                    # `_managers[user_id] = manager` needs no `global`.
                    if key.endswith("[]") and "." not in key:
                        known = self._shared.setdefault((module, key), [])
                        known += [(function, value) for value in values]
            for cls in file.classes:
                self.classes[module, cls.qualname] = cls
        self._returned: dict[tuple[str, str], frozenset[Target]] = {}
        self._ahead: list[object] = []

    def returned(self, module: str, function: Function) -> frozenset[Target]:
        """The classes of what a function returns."""
        key = (module, function.qualname)
        if key not in self._returned:
            if key in self._ahead:
                return frozenset()
            self._ahead.append(key)
            try:
                found: set[Target] = set()
                for known, _ in function.returns:
                    found |= self.types(known, (module, function))
            finally:
                self._ahead.pop()
            self._returned[key] = frozenset(found)
        return self._returned[key]

    def declared(self, module: str, names: Iterable[str]) -> frozenset[Target]:
        """The classes of the scanned code that an annotation names."""
        found = (self._graph.resolve(module, name, typing=True) for name in names)
        return frozenset(one for targets in found for one in targets if one.kind == CLASS)

    def types(self, known: Expression, where: Where) -> frozenset[Target]:
        """The classes the value of an expression may be of."""
        if len(self._ahead) > _DEPTH or (known, where[0]) in self._ahead:
            return frozenset()
        self._ahead.append((known, where[0]))
        try:
            return frozenset(self._types(known, where))
        finally:
            self._ahead.pop()

    def _types(self, known: Expression, where: Where) -> Iterable[Target]:
        kind = known[0]
        if kind == ANY:
            return (one for value in known[1] for one in self.types(value, where))
        if kind == TYPE:
            return self.declared(where[0], known[1])
        if kind == OTHER:
            return (Target(OTHER, "builtins", known[1]),) if known[1] else ()
        if kind == NAME:
            return self._named(known[1], where)
        if kind == ITEM:
            return self._named(f"{known[1]}[]", where)
        if kind == ON:
            return (
                one
                for holder in self.types(known[1], where)
                for one in self._method(holder, known[2])
            )
        return self._called(known[1], where) if kind == CALL else ()

    def _named(self, name: str, where: Where) -> Iterable[Target]:
        module, function = where
        if function is not None:
            if name in function.assigned:
                values = function.assigned[name]
                found = frozenset(one for value in values for one in self.types(value, where))
                if found or name.partition(".")[0] not in ("self", "cls"):
                    plain = name.removesuffix("[]")
                    if found or plain not in function.shares:
                        return found
            for parameter, annotation in function.parameters:
                if parameter == name and annotation:
                    return self.types((TYPE, tuple(_words(annotation))), where)
            first, _, rest = name.partition(".")
            owner = _owner(function)
            if first in ("self", "cls") and owner:
                return self._attribute(Target(CLASS, module, owner), rest) if rest else ()
        return self._global(name, module)

    def _global(self, name: str, module: str) -> Iterable[Target]:
        found: list[Target] = []
        plain = name.removesuffix("[]")
        suffix = name[len(plain) :]
        for target in self._graph.resolve(module, plain):
            if target.kind == VALUE:
                home = (target.module, None)
                key = f"{target.name}{suffix}"
                for one in self._graph.bindings(target.module, key):
                    found += self.types(one.target, home)
                for function, value in self._shared.get((target.module, key), ()):
                    found += self.types(value, (target.module, function))
        if not found and "." in plain:
            holder, _, attribute = plain.rpartition(".")
            for target in self._graph.resolve(module, holder):
                if target.kind == CLASS:
                    found += self._attribute(target, f"{attribute}{suffix}")
        return found

    def _attribute(self, holder: Target, name: str, seen: int = 0) -> Iterable[Target]:
        cls = self.classes.get((holder.module, holder.name))
        if cls is None or seen > _DEPTH:
            return ()
        method = self.functions.get((holder.module, f"{cls.qualname}.__init__"))
        home = (holder.module, method)
        found = [one for value in cls.attributes.get(name, ()) for one in self.types(value, home)]
        if not found:
            for base in self.bases(holder):
                found += self._attribute(base, name, seen + 1)
        return found

    def bases(self, holder: Target) -> list[Target]:
        """The classes of the scanned code that a class is directly based on."""
        cls = self.classes.get((holder.module, holder.name))
        named = cls.bases if cls is not None else ()
        found = (self._graph.resolve(holder.module, name) for name in named)
        return [one for targets in found for one in targets if one.kind == CLASS and one != holder]

    def is_based_on(self, one: Target, other: Target, depth: int = 0) -> bool:
        """Whether a class is another, or below it."""
        if one == other:
            return True
        return depth < _DEPTH and any(
            self.is_based_on(base, other, depth + 1) for base in self.bases(one)
        )

    def _called(self, name: str, where: Where) -> Iterable[Target]:
        module, function = where
        if not name:
            return ()
        first, _, rest = name.partition(".")
        owner = _owner(function) if function is not None else ""
        if owner and first in ("self", "cls"):
            holder = Target(CLASS, module, owner)
            if not rest:
                return (holder,)
            if "." not in rest:
                return self._method(holder, rest)
        found: list[Target] = []
        for target in self.callee(name, where):
            found += self._made(target)
        if not found and "." in name:
            holder_name, _, attribute = name.rpartition(".")
            for one in self.types((NAME, holder_name), where):
                found += self._method(one, attribute)
        return found

    def callee(self, name: str, where: Where) -> tuple[Target, ...]:
        """The classes and functions a called name leads to."""
        module, function = where
        first, _, rest = name.partition(".")
        if function is None or first not in function.imports:
            if function is not None and (inner := self._inner(module, function, name)):
                return (inner,)
            if function is not None and first in function.assigned and not rest:
                targets = [
                    target
                    for value in function.assigned[first]
                    if value[0] == NAME and value[1] != first
                    for target in self.callee(value[1], where)
                ]
                return tuple(targets)
            return self._graph.resolve(module, name)
        level, inner_module, imported = function.imports[first]
        origin = self._graph.absolute(module, level, inner_module)
        if imported:
            found = self._graph.resolve(origin, imported)
        else:
            found = (Target("module", origin, ""),) if self._graph.is_module(origin) else ()
        for part in rest.split(".") if rest else ():
            found = tuple(one for target in found for one in self._graph.attribute(target, part))
        return found

    def _inner(self, module: str, function: Function, name: str) -> Target | None:
        """A class or function defined in this function or around it."""
        scope = function.qualname
        while scope:
            qualname = f"{scope}.<locals>.{name}"
            if (module, qualname) in self.classes:
                return Target(CLASS, module, qualname)
            if (module, qualname) in self.functions:
                return Target(FUNCTION, module, qualname)
            scope = scope.rpartition(".<locals>.")[0]
        return None

    def _made(self, target: Target) -> Iterable[Target]:
        """What calling something gives."""
        if target.kind == CLASS:
            return (target,)
        function = self.functions.get((target.module, target.name))
        if function is not None:
            found = self.returned(target.module, function)
            return found or self.declared(target.module, function.annotation)
        holder, _, method = target.name.rpartition(".")
        return self._method(Target(CLASS, target.module, holder), method) if holder else ()

    def _method(self, holder: Target, name: str, depth: int = 0) -> Iterable[Target]:
        function = self.functions.get((holder.module, f"{holder.name}.{name}"))
        if function is not None:
            found = self.returned(holder.module, function)
            return found or self.declared(holder.module, function.annotation)
        if depth > _DEPTH:
            return ()
        return [one for base in self.bases(holder) for one in self._method(base, name, depth + 1)]


def _owner(function: Function) -> str:
    """The class whose `self` a method has, also in a function defined in it."""
    if function.owner:
        return function.owner
    outer = function.qualname.partition(".<locals>.")[0]
    return outer.rpartition(".")[0]


def _words(annotation: str) -> list[str]:
    return re.findall(r"[A-Za-z_][\w.]*", annotation)
