# SPDX-License-Identifier: Apache-2.0
"""Where a name of a module leads, through whatever modules lie between.

Why it exists: `from app.ws import Manager` may be the class of `app.ws.manager`, of a shim's own
making, or of whichever of two modules could be imported. What counts is which class it is.

It must never follow a circle, nor take a name that leads out of the scanned code for one of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from .facts import CLASS, FUNCTION, IMPORTED, MODULE, NAME, Binding, File

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

VALUE: Final = "value"
_STEPS: Final = 60  # modules between a name and what it means


class Target(NamedTuple):
    """What a name leads to: a class, function or value of a module, or a module."""

    kind: str
    module: str
    name: str  # qualified; empty for a module

    def __str__(self) -> str:
        return f"{self.module}:{self.name}" if self.name else self.module


class Graph:
    """All modules of a scan."""

    def __init__(self, files: Mapping[str, File]) -> None:
        self.files: Final = files
        self.circles: Final[set[str]] = set()
        self._packages = {name.rpartition(".")[0] for name in files} | {
            name for name, file in files.items() if file.path.endswith("__init__.py")
        }
        self._above = {
            ".".join(parts[:depth])
            for parts in (name.split(".") for name in files)
            for depth in range(1, len(parts))
        }
        self._bound: dict[str, dict[str, list[Binding]]] = {}
        for name, file in files.items():
            bound: dict[str, list[Binding]] = {}
            for one in file.bindings:
                bound.setdefault(one.name, []).append(one)
            self._bound[name] = bound
        self._known: dict[tuple[str, str, bool, bool], tuple[Target, ...]] = {}
        self._ahead: list[tuple[str, str]] = []

    def bindings(self, module: str, name: str) -> list[Binding]:
        """The statements that bind a name of a module."""
        return self._bound.get(module, {}).get(name, [])

    def absolute(self, module: str, level: int, inner: str) -> str:
        """The module that an import statement in `module` names."""
        if not level:
            return inner
        file = self.files.get(module)
        parts = module.split(".")
        if file is None or not file.path.endswith("__init__.py"):
            parts = parts[:-1]
        parts = parts[: len(parts) - level + 1]
        return ".".join((*parts, inner) if inner else parts)

    def is_module(self, name: str) -> bool:
        """Whether a name is a module, package or namespace of the scanned code."""
        return name in self.files or name in self._above

    def lookup(
        self, module: str, name: str, *, every: bool = False, typing: bool = False
    ) -> tuple[Target, ...]:
        """What a name of a module leads to; `every`: also where an import would have failed."""
        key = (module, name, every, typing)
        if key in self._known:
            return self._known[key]
        if (module, name) in self._ahead or len(self._ahead) > _STEPS:
            begun = self._ahead.index((module, name)) if (module, name) in self._ahead else 0
            ring = [f"{one}.{other}" for one, other in self._ahead[begun:]]
            if len({one for one, _ in self._ahead[begun:]}) > 1:
                first = ring.index(min(ring))
                turned = [*ring[first:], *ring[:first]]
                self.circles.add(" -> ".join((*turned, turned[0])))
            return ()
        self._ahead.append((module, name))
        try:
            found = tuple(dict.fromkeys(self._found(module, name, every=every, typing=typing)))
        finally:
            self._ahead.pop()
        if not self._ahead or found:
            self._known[key] = found
        return found

    def _found(self, module: str, name: str, *, every: bool, typing: bool) -> Iterable[Target]:
        file = self.files.get(module)
        if file is None:
            return ()
        groups: dict[str, list[Target]] = {}
        for one in _effective(self.bindings(module, name), typing=typing):
            label = one.branch[1].partition(".")[0] if one.branch else ""
            groups.setdefault(label, []).extend(
                self._meant(module, one, every=every, typing=typing)
            )
        if "try" in groups and "except" in groups and groups["try"] and not every:
            del groups["except"]
        found = [target for targets in groups.values() for target in targets]
        if found or self.bindings(module, name):
            return found
        for one in file.lazy:
            if one.name == name:
                found += self._meant(module, one, every=every, typing=typing)
        for star in reversed(file.stars):
            origin = self.absolute(module, star.level, star.module)
            if found or not self._exports(origin, name):
                continue
            found += self.lookup(origin, name, every=every, typing=typing)
        if not found and self.is_module(f"{module}.{name}"):
            found.append(Target(MODULE, f"{module}.{name}", ""))
        return found

    def _exports(self, module: str, name: str) -> bool:
        file = self.files.get(module)
        if file is None:
            return False
        return not name.startswith("_") if file.exported is None else name in file.exported

    def _meant(self, module: str, one: Binding, *, every: bool, typing: bool) -> tuple[Target, ...]:
        if one.kind in (CLASS, FUNCTION):
            return (Target(one.kind, module, one.name),)
        if one.kind == MODULE:
            _, inner, _ = one.target
            return (Target(MODULE, inner, ""),) if self.is_module(inner) else ()
        if one.kind == IMPORTED:
            level, inner, name = one.target
            origin = self.absolute(module, level, inner)
            found = self.lookup(origin, name, every=every, typing=typing)
            if not found and self.is_module(f"{origin}.{name}"):
                return (Target(MODULE, f"{origin}.{name}", ""),)
            return found
        if one.target[0] == NAME:
            found = self.resolve(module, one.target[1], every=every, typing=typing)
            if found and (one.target[1] != one.name):
                return found
        return (Target(VALUE, module, one.name),)

    def resolve(
        self, module: str, dotted: str, *, every: bool = False, typing: bool = False
    ) -> tuple[Target, ...]:
        """What a dotted name means in a module."""
        first, *rest = dotted.split(".")
        found = self.lookup(module, first, every=every, typing=typing)
        for name in rest:
            found = tuple(
                inner
                for target in found
                for inner in self.attribute(target, name, every=every, typing=typing)
            )
        return found

    def attribute(
        self, target: Target, name: str, *, every: bool = False, typing: bool = False
    ) -> tuple[Target, ...]:
        """What an attribute of a module, or of a class by its own name, leads to."""
        if target.kind == MODULE:
            found = self.lookup(target.module, name, every=every, typing=typing)
            inner = f"{target.module}.{name}"
            return found or ((Target(MODULE, inner, ""),) if self.is_module(inner) else ())
        if target.kind == CLASS:
            return (target._replace(kind=FUNCTION, name=f"{target.name}.{name}"),)
        return ()

    def names(self, module: str, seen: frozenset[str] = frozenset()) -> dict[str, int]:
        """All names that can be imported from a module, each with its line."""
        file = self.files.get(module)
        if file is None or module in seen:
            return {}
        found: dict[str, int] = {}
        for star in file.stars:
            origin = self.absolute(module, star.level, star.module)
            for name in self.names(origin, seen | {module}):
                if self._exports(origin, name):
                    found[name] = star.line
        found.update({one.name: one.line for one in file.lazy})
        found.update({one.name: one.line for one in file.bindings if not one.typing})
        return found

    def import_circles(self) -> list[list[str]]:
        """Groups of modules that import each other while they are imported, smallest name first."""
        edges: dict[str, list[str]] = {}
        for name, file in self.files.items():
            ahead: set[str] = set()
            for level, inner, other in file.loads:
                origin = self.absolute(name, level, inner)
                found = f"{origin}.{other}" if f"{origin}.{other}" in self.files else origin
                if found in self.files and found != name:
                    ahead.add(found)
            edges[name] = sorted(ahead)
        return sorted(sorted(ring) for ring in _rings(edges) if len(ring) > 1)


def _effective(bindings: list[Binding], *, typing: bool) -> list[Binding]:
    """Those of a name's bindings that may be what it means once the module is there."""
    found: list[Binding] = []
    for one in bindings:
        if one.typing and not typing:
            continue
        if one.branch is None:
            found = [one]
            continue
        same = bool(found) and found[-1].branch is not None and found[-1].branch[0] == one.branch[0]
        if not same and one.branch[1].startswith("try"):
            found = []
        found.append(one)
    return found


def _rings(edges: Mapping[str, list[str]]) -> list[list[str]]:
    """Strongly connected components, after Tarjan, without recursion."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    rings: list[list[str]] = []
    for root in sorted(edges):
        if root in index:
            continue
        work = [(root, iter(edges[root]))]
        index[root] = low[root] = len(index)
        stack.append(root)
        while work:
            node, ahead = work[-1]
            for other in ahead:
                if other not in index:
                    index[other] = low[other] = len(index)
                    stack.append(other)
                    work.append((other, iter(edges[other])))
                    break
                if other in stack:
                    low[node] = min(low[node], index[other])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    cut = stack.index(node)
                    rings.append(stack[cut:])
                    del stack[cut:]
    return rings
