# SPDX-License-Identifier: Apache-2.0
"""What goes past the managers: sockets written to by others, managers made past their factory.

Why it exists: rules that stand in a manager hold for what it sends, and for nobody else's frames.

It must never blame what a manager does itself, or what hands it out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .facts import CLASS, ONE, OWN, Function
from .graph import Target
from .inventory import MANAGER

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from .factories import Factory
    from .graph import Graph
    from .inventory import Implementation
    from .products import Products


class Writer(NamedTuple):
    """A function that writes to sockets and is no manager's."""

    module: str
    function: Function
    lines: tuple[int, ...]
    sockets: tuple[str, ...]
    own: bool  # only to the connection it serves
    private: bool  # which it has given to nobody else


class Construction(NamedTuple):
    """A manager made past its factories."""

    module: str
    where: str  # the function; empty: the module's own statements
    line: int
    target: Target
    factories: tuple[str, ...]


def writers(graph: Graph, products: Products, duties: Mapping[Target, str]) -> list[Writer]:
    """All functions that write to sockets past every manager."""
    found: list[Writer] = []
    for module in sorted(graph.files):
        for function in graph.files[module].functions:
            if not function.writes or _is_layer(products, duties, module, function):
                continue
            own = function.serves and all(one.origin == OWN for one in function.writes)
            found.append(
                Writer(
                    module,
                    function,
                    tuple(sorted(one.line for one in function.writes)),
                    tuple(dict.fromkeys(one.socket for one in function.writes)),
                    own,
                    own and not function.registers,
                )
            )
    return found


def _is_layer(
    products: Products, duties: Mapping[Target, str], module: str, function: Function
) -> bool:
    """Whether a method's class is a manager, a connection below one, or a framework's own."""
    name = function.qualname
    while name:
        name = name.rpartition(".")[0].removesuffix(".<locals>")
        cls = products.classes.get((module, name))
        if cls is None:
            continue
        target = Target(CLASS, module, name)
        if target in duties or cls.endpoint or cls.double or cls.keeps == ONE:
            return True
        if any(
            products.is_based_on(target, one) for one, duty in duties.items() if duty == MANAGER
        ):
            return True
    return False


def constructions(
    graph: Graph,
    products: Products,
    implementations: Iterable[Implementation],
    factories: Iterable[Factory],
) -> list[Construction]:
    """All managers made past the factories there are for them."""
    wanted = {one.target for one in implementations}
    made_by: dict[Target, list[Factory]] = {}
    for factory in factories:
        for product in factory.products:
            if product in wanted:
                made_by.setdefault(product, []).append(factory)
    found: list[Construction] = []
    for module, function, line, target in _made(graph, products):
        ways = made_by.get(target)
        if not ways or _belongs(module, function, target, ways):
            continue
        named = tuple(sorted(one.name for one in ways))
        where = function.qualname if function is not None else ""
        found.append(Construction(module, where, line, target, named))
    return sorted(found)


def _made(graph: Graph, products: Products) -> Iterator[tuple[str, Function | None, int, Target]]:
    for module, file in graph.files.items():
        for call in file.calls:
            for target in graph.resolve(module, call.name):
                if target.kind == CLASS:
                    yield module, None, call.line, target
        for function in file.functions:
            for call in function.calls:
                for target in products.callee(call.name, (module, function)):
                    if target.kind == CLASS:
                        yield module, function, call.line, target


def _belongs(
    module: str, function: Function | None, target: Target, ways: Iterable[Factory]
) -> bool:
    """Whether a place is a factory, what feeds one, or the class itself."""
    if function is None:  # a singleton beside its class or its factory is what these hand out
        return module == target.module or any(one.module == module for one in ways)
    outer = function.qualname.partition(".<locals>.")[0]
    if module == target.module and outer.startswith(f"{target.name}."):
        return True
    return any(
        one.module == module
        # What a class makes for itself, its own factory hands out.
        and (one.function.qualname == outer or _class_of(outer) == one.function.owner != "")
        for one in ways
    )


def _class_of(qualname: str) -> str:
    return qualname.rpartition(".")[0]
