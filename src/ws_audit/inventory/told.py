# SPDX-License-Identifier: Apache-2.0
"""The inventory as a document: implementations, events, factories and drift.

Why it exists: the process that runs the managers and the one in which somebody asks are not the
same; this is all that goes between them. docs/inventory.md describes the keys.

It must never hold anything but names that stand in code, and counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ws_audit.model import NONE

from .implementations import drift, is_async

if TYPE_CHECKING:
    from ws_audit.tally import Counts

    from .implementations import Implementation
    from .living import Living
    from .traffic import Traffic

Products = dict[str, dict[str, dict[str, int]]]  # factory -> product -> made, reused -> number

_PATHS: Final = 60
_EVENTS: Final = 100
_CODES: Final = 20
_DRIFT: Final = 100
_SITES: Final = 100
_ALIKE: Final = 0.3  # of the public methods, from which on two classes are held together


def told(
    found: list[tuple[Implementation, list[str]]],
    factories: Products,
    traffic: Traffic,
    living: Living,
    counts: Counts,
) -> dict[str, Any]:
    """Everything, in the order of docs/inventory.md."""
    unique = {(one.name, one.fingerprint): (one, paths) for one, paths in found}
    ones = [unique[key] for key in sorted(unique)]
    return {
        "implementations": [
            {
                "name": one.name,
                "module": one.module,
                "duty": one.duty,
                "fingerprint": one.fingerprint,
                "paths": paths[:_PATHS],
                "paths_total": len(paths),
                "created": counts.get(("created", one.name), 0),
                "alive": counts.get(("followed", one.name), 0) - counts.get(("gone", one.name), 0),
                "alive_for": dict(sorted(living.kinds.get(one.name, {}).items())),
                "outlived": living.outlived.get(one.name, 0),
            }
            for one, paths in ones
        ],
        "events": _events(traffic),
        "factories": _factories(factories),
        "past_factory": _past(factories, traffic),
        "drift": _drift([one for one, _ in ones]),
    }


def _events(traffic: Traffic) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for event, codes in traffic.delivered().items():
        total = sum(codes.values())
        by = sorted(codes.items(), key=lambda one: (-one[1], one[0]))[:_CODES]
        found.append(
            {
                "event": event,
                "deliveries": total,
                "by": [{"code": code, "deliveries": amount} for code, amount in by],
            }
        )
    found.sort(key=lambda one: (-one["deliveries"], one["event"]))
    return found[:_EVENTS]


def _factories(factories: Products) -> list[dict[str, Any]]:
    return [
        {
            "factory": factory,
            "async": is_async(factory),
            "products": [{"product": name, **ways} for name, ways in sorted(products.items())],
        }
        for factory, products in sorted(factories.items())
    ]


def _past(factories: Products, traffic: Traffic) -> list[dict[str, Any]]:
    """Instances of a class that factories hand out, made by lines that are none of theirs.

    A class's own module may make its instances, and so may the module of a factory.
    """
    homes: dict[str, set[str]] = {}
    for factory, products in factories.items():
        for product in products:
            homes.setdefault(product, {product.partition(":")[0]}).add(factory.partition(":")[0])
    return [
        {"class": manager, "site": site, "instances": amount}
        for (manager, site), amount in sorted(traffic.made().items())
        if manager in homes and site != NONE and site.partition(":")[0] not in homes[manager]
    ][:_SITES]


def _drift(ones: list[Implementation]) -> list[dict[str, Any]]:
    """Pairs that share methods, and where one cannot stand for the other."""
    found = []
    for number, one in enumerate(ones):
        for other in ones[number + 1 :]:
            shared, every = one.methods.keys() & other.methods, one.methods.keys() | other.methods
            if not shared or len(shared) / len(every) < _ALIKE:
                continue
            found.append(
                {
                    "one": one.name,
                    "other": other.name,
                    "differs": drift(one, other),
                    "only_one": sorted(one.methods.keys() - other.methods),
                    "only_other": sorted(other.methods.keys() - one.methods),
                }
            )
            if len(found) >= _DRIFT:
                return found
    return found
