# SPDX-License-Identifier: Apache-2.0
"""Which classes have a manager's duty, and by which paths each can be imported.

Why it exists: "how many managers have we" is a question of what classes do, not of what they are
called, and "how many ways to import them" one of which class a name leads to, not of text.

It must never count one class twice because it has two names.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from ws_audit import naming
from ws_audit.classes.signs import words
from ws_audit.model import BIND, BROADCAST, SEND, UNBIND

from .facts import CLASS, MANY, Class
from .graph import Target

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .graph import Graph
    from .products import Products

# Duties, as the design has them.
MANAGER, EMITTER, FACTORY, REGISTRY = "manager", "emitter", "factory", "registry"

_NAMED: Final = re.compile(f"{naming.MANAGER_CLASS}|{naming.MAYBE_CLASS}")
_FACTORY: Final = re.compile(naming.FACTORY_CLASS)
# Methods that every socket, stream or actor has: to share one of them says nothing.
_COMMON: Final = frozenset(
    {"send", "send_json", "send_text", "send_bytes", "close", "emit", "push"}
)
_SENDING: Final = frozenset({SEND, BROADCAST})


class Implementation(NamedTuple):
    """A class with a manager's duty."""

    target: Target
    cls: Class
    path: str
    duty: str
    canonical: bool
    declared: bool  # canonical because the configuration says so
    paths: tuple[str, ...]  # dotted names it can be imported by

    @property
    def public(self) -> dict[str, tuple[str, ...]]:
        """Its public methods with their parameters."""
        return {
            one.name: one.parameters
            for one in self.cls.methods
            if not one.name.startswith("_") and one.name != "__init__"
        }


def duties(graph: Graph, products: Products) -> dict[Target, str]:
    """Of each class that has one, the duty; implementations are the managers and senders."""
    sends = _senders(graph)
    found: dict[Target, str] = {}
    doubtful: list[Target] = []
    for (module, qualname), cls in sorted(products.classes.items()):
        target = Target(CLASS, module, qualname)
        if "<locals>" in qualname and cls.endpoint:
            continue
        direct = (module, qualname) in sends or cls.emits or (cls.queues and cls.keeps == MANY)
        # Who keeps sockets and writes to them needs no other sign, nor a name.
        sure = cls.keeps == MANY and (module, qualname) in sends and not cls.double
        if not cls.taken and not sure:
            continue
        if cls.keeps == MANY and (direct or cls.delivers):
            found[target] = MANAGER
        elif direct and not cls.endpoint:
            doubtful.append(target)
        elif cls.keeps == MANY and any(one.kind in (BIND, UNBIND) for one in cls.methods):
            found[target] = REGISTRY
    known = _specific(products.classes[one.module, one.name] for one in found)
    for target in doubtful:
        cls = products.classes[target.module, target.name]
        named = _NAMED.search(words(cls.qualname.rpartition(".")[2])) is not None
        below = any(
            products.is_based_on(target, one) for one, duty in found.items() if duty == MANAGER
        )
        if below:
            found[target] = MANAGER
        elif named or _specific((cls,)) & known:
            found[target] = EMITTER
    return {one: duty for one, duty in found.items() if duty in (MANAGER, EMITTER)} | {
        one: duty for one, duty in found.items() if duty == REGISTRY
    }


def _senders(graph: Graph) -> set[tuple[str, str]]:
    """The classes that give messages to sockets themselves."""
    found: set[tuple[str, str]] = set()
    for module, file in graph.files.items():
        owners = {cls.qualname for cls in file.classes}
        for function in file.functions:
            if not function.writes:
                continue
            name = function.qualname
            while name:
                name = name.rpartition(".")[0].removesuffix(".<locals>")
                if name in owners:
                    found.add((module, name))
                    break
    return found


def _specific(classes: Iterable[Class]) -> set[str]:
    """Names of methods that send, and say what or to whom."""
    return {
        method.name
        for cls in classes
        for method in cls.methods
        if method.kind in _SENDING
        and method.name not in _COMMON
        and not method.name.startswith("_")
    }


def implementations(
    graph: Graph, products: Products, canonical: Iterable[str], before: str = ""
) -> tuple[list[Implementation], dict[Target, str]]:
    """All classes with a manager's duty, and every class's duty.

    `before` is what others were compared with when there was a baseline.
    """
    known = duties(graph, products)
    declared = set(canonical)
    counted = [one for one, duty in known.items() if duty in (MANAGER, EMITTER)]
    # What is declared counts, whatever the rules make of it.
    counted += [
        Target(CLASS, module, name)
        for module, name in sorted(products.classes)
        if f"{module}:{name}" in declared and Target(CLASS, module, name) not in counted
    ]
    paths = import_paths(graph, counted)
    usual = None
    if not declared:
        there = [one for one in counted if str(one) == before]
        usual = there[0] if there else _usual(graph, products, counted)
    found = [
        Implementation(
            target,
            products.classes[target.module, target.name],
            graph.files[target.module].path,
            known.get(target, MANAGER),
            str(target) in declared or target == usual,
            str(target) in declared,
            tuple(paths.get(target, ())),
        )
        for target in sorted(counted)
    ]
    for target in _factories(products, set(counted)):
        known.setdefault(target, FACTORY)
    return found, known


def _usual(graph: Graph, products: Products, counted: Iterable[Target]) -> Target | None:
    """The one most of the code leads to: a guess, until the configuration says which it is.

    Most code imports a manager's instance or factory and not the class: what counts is how many
    modules import something from where the class stands.
    """
    users: dict[str, set[str]] = {}
    for module, file in graph.files.items():
        named = {(level, inner, name) for level, inner, name in file.loads}
        for function in file.functions:
            named |= set(function.imports.values())
        for level, inner, name in named:
            origin = graph.absolute(module, level, inner)
            for target in graph.lookup(origin, name) if name else ():
                users.setdefault(target.module, set()).add(module)
            users.setdefault(f"{origin}.{name}".rstrip("."), set()).add(module)
    return max(
        counted,
        key=lambda one: (
            products.classes[one.module, one.name].keeps == MANY,
            len(users.get(one.module, set()) - {one.module}),
            len(products.classes[one.module, one.name].methods),
            [-ord(letter) for letter in str(one)],
        ),
        default=None,
    )


def _factories(products: Products, counted: set[Target]) -> Iterable[Target]:
    for (module, qualname), cls in products.classes.items():
        target = Target(CLASS, module, qualname)
        if target in counted or not _FACTORY.search(words(qualname.rpartition(".")[2])):
            continue
        for method in cls.methods:
            function = products.functions.get((module, f"{qualname}.{method.name}"))
            if function is not None and products.returned(module, function) & counted:
                yield target
                break


def import_paths(graph: Graph, wanted: Iterable[Target]) -> dict[Target, list[str]]:
    """Of each class, every `module.name` by which it can be imported."""
    targets = set(wanted)
    found: dict[Target, list[str]] = {}
    for module in sorted(graph.files):
        for name in sorted(graph.names(module)):
            for target in graph.lookup(module, name):
                if target in targets:
                    found.setdefault(target, []).append(f"{module}.{name}")
    return found


def similarity(one: Implementation, other: Implementation) -> float:
    """The share of public methods two classes have in common."""
    a, b = set(one.public), set(other.public)
    return len(a & b) / len(a | b) if a | b else 0.0


def drift(one: Implementation, other: Implementation) -> list[str]:
    """Methods both have, and do not mean the same by."""
    theirs = {method.name: method for method in other.cls.methods}
    found: list[str] = []
    for method in one.cls.methods:
        same = theirs.get(method.name)
        if same is None or method.name.startswith("_"):
            continue
        if method.is_async != same.is_async:
            how = ("async", "not there") if method.is_async else ("not async", "but there")
            found.append(f"{method.name} is {how[0]} here, {how[1]}")
        elif method.parameters != same.parameters:
            here, there = ", ".join(method.parameters), ", ".join(same.parameters)
            found.append(f"{method.name}({here}) is {method.name}({there}) there")
    return found
