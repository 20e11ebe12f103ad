# SPDX-License-Identifier: Apache-2.0
"""Which functions hand out managers, and whether what they hand out is always the same.

Why it exists: a factory that returns a manager on one path and something else on another is how
events get lost without an exception: the emitter gets a manager nobody is connected to.

It must never call a function a factory for its name: one that returns no manager is none.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from ws_audit import naming
from ws_audit.classes.classify import method_kind
from ws_audit.classes.signs import words

from .facts import CLASS, Function

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .graph import Target
    from .inventory import Implementation
    from .products import Products

_FUNCTION: Final = re.compile(naming.FACTORY_FUNCTION)
_METHOD: Final = re.compile(naming.FACTORY_METHOD)
_FACTORY_CLASS: Final = re.compile(naming.FACTORY_CLASS)
_PROPERTIES: Final = frozenset({"property", "cached_property"})


class Factory(NamedTuple):
    """A function or method that hands out managers."""

    module: str
    function: Function
    products: tuple[Target, ...]  # what it returns
    why: tuple[str, ...]  # it is inconsistent; empty: it is not

    @property
    def name(self) -> str:
        return f"{self.module}:{self.function.qualname}"


def factories(products: Products, implementations: Iterable[Implementation]) -> list[Factory]:
    """All factories of managers, with what is inconsistent about each."""
    known = {one.target: one for one in implementations}
    found: list[Factory] = []
    for (module, _), function in sorted(products.functions.items(), key=lambda one: one[0]):
        if not _may_be(function):
            continue
        returned = products.returned(module, function)
        declared = products.declared(module, function.annotation)
        if not (returned | declared) & known.keys():
            continue
        made = tuple(sorted(returned or declared))
        why = _inconsistent(products, returned, declared)
        found.append(Factory(module, function, made, why))
    return _compared(found, known)


def _may_be(function: Function) -> bool:
    name = function.qualname.rpartition(".")[2]
    if "<locals>" in function.qualname or not (function.returns or function.annotation):
        return False
    if not function.owner:
        return True
    if name.startswith("__") or not _PROPERTIES.isdisjoint(function.decorators):
        return False
    if _FUNCTION.search(words(name)):
        return True
    if method_kind(name) is not None:
        return False
    shell = "classmethod" in function.decorators or "staticmethod" in function.decorators
    makes = _FACTORY_CLASS.search(words(function.owner.rpartition(".")[2])) is not None
    return (shell or makes) and _METHOD.search(words(name)) is not None


def _inconsistent(
    products: Products, returned: frozenset[Target], declared: frozenset[Target]
) -> tuple[str, ...]:
    found: list[str] = []
    if len(returned) > 1:
        found.append(f"it returns {_either(returned)}")
    wrong = [
        one
        for one in returned
        if declared and not any(products.is_based_on(one, other) for other in declared)
    ]
    if wrong and not _only_protocols(products, declared):
        found.append(f"it is annotated {_either(declared)} and returns {_either(wrong)}")
    return tuple(found)


def _only_protocols(products: Products, declared: Iterable[Target]) -> bool:
    """Whether an annotation names nothing but interfaces, which bind by shape."""
    return all(
        (cls := products.classes.get((one.module, one.name))) is not None
        and (cls.abstract or any(base.endswith(("Protocol", "ABC")) for base in cls.bases))
        for one in declared
    )


def _compared(found: list[Factory], known: dict[Target, Implementation]) -> list[Factory]:
    """What is inconsistent between factories: one name, and other types or another colour."""
    by_name: dict[str, list[Factory]] = {}
    for one in found:
        if not one.function.owner:
            by_name.setdefault(one.function.qualname, []).append(one)
    duties = {one.duty for one in known.values() if one.declared}
    told: list[Factory] = []
    for one in found:
        why = list(one.why)
        twins = by_name.get(one.function.qualname, []) if not one.function.owner else []
        lead = _lead(twins, known)
        if lead is not None and lead is not one:
            if set(lead.products) != set(one.products):
                theirs = _either(lead.products)
                why.append(f"the function of the same name in {lead.module} returns {theirs}")
            elif lead.function.is_async != one.function.is_async:
                colour = "async" if one.function.is_async else "not async"
                why.append(f"it is {colour}, unlike the function of the same name in {lead.module}")
        others = [
            product
            for product in one.products
            if product in known and not known[product].canonical and known[product].duty in duties
        ]
        if others and not why:
            why.append(f"it returns {_either(others)}, which is not the canonical implementation")
        told.append(one._replace(why=tuple(why)))
    return told


def _lead(twins: list[Factory], known: dict[Target, Implementation]) -> Factory | None:
    """Of functions of one name, the one the others are compared with."""
    return max(
        twins,
        key=lambda one: (
            any(known[product].canonical for product in one.products if product in known),
            not one.why,
            len(one.module) * -1,
            [-ord(letter) for letter in one.module],
        ),
        default=None,
    )


def _either(targets: Iterable[Target]) -> str:
    names = sorted(
        f"{one.module}:{one.name}" if one.kind == CLASS else f"a {one.name}" for one in targets
    )
    return " or ".join(names)
