# SPDX-License-Identifier: Apache-2.0
"""The inventories of several processes as one: what all of them together run.

Why it exists: no process sees that its neighbour runs another manager.

It must never import what it tells of: all it knows is in the documents.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .fingerprint import VERSION_DIGITS
from .implementations import EMITTER, MANAGER

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SCHEMA = 1


def merged(documents: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """One inventory of the state files of some processes."""
    whole = _Whole()
    for document in documents:
        whole.add(document)
    return whole.document()


class _Whole:
    def __init__(self) -> None:
        self._processes: list[dict[str, Any]] = []
        self._implementations: dict[tuple[str, str], dict[str, Any]] = {}
        self._paths: dict[tuple[str, str], set[str]] = {}
        self._events: dict[str, dict[str, int]] = {}
        self._factories: dict[str, dict[str, dict[str, int]]] = {}
        self._async: dict[str, bool | None] = {}  # factory -> whether it is awaited
        self._past: dict[tuple[str, str], int] = {}
        self._drift: dict[tuple[str, str], dict[str, Any]] = {}
        self._twice: dict[tuple[str, ...], dict[str, Any]] = {}

    def add(self, document: Mapping[str, Any]) -> None:
        """One process's state file; one without an inventory has no managers."""
        found = document.get("inventory")
        if type(found) is not dict:
            return
        service = document.get("service") or document.get("program") or "unknown"
        self._processes.append(
            {
                "service": service,
                "host": document.get("host", ""),
                "pid": document.get("pid", 0),
                "python": document.get("python", ""),
                "state": document.get("state", ""),
                "complete": bool(found.get("complete")),
                "left_out": found.get("left_out", 0),
            }
        )
        for one in found.get("implementations", ()):
            self._implementation(one, service)
        for event in found.get("events", ()):
            codes = self._events.setdefault(event["event"], {})
            for code in event["by"]:
                codes[code["code"]] = codes.get(code["code"], 0) + code["deliveries"]
        for factory in found.get("factories", ()):
            products = self._factories.setdefault(factory["factory"], {})
            self._async[factory["factory"]] = factory["async"]
            for one in factory["products"]:
                ways = products.setdefault(one["product"], {"made": 0, "reused": 0})
                for way in ways:
                    ways[way] += one[way]
        for one in found.get("past_factory", ()):
            key = one["class"], one["site"]
            self._past[key] = self._past.get(key, 0) + one["instances"]
        for one in found.get("drift", ()):
            self._drift[one["one"], one["other"]] = one
        for one in found.get("loaded_twice", ()):
            self._twice[tuple(one["modules"])] = one

    def _implementation(self, one: Mapping[str, Any], service: str) -> None:
        key = one["name"], one["fingerprint"]
        known = self._implementations.setdefault(
            key,
            {
                **{name: one[name] for name in ("name", "module", "duty", "fingerprint")},
                "services": [],
                "processes": 0,
                "created": 0,
                "alive": 0,
                "alive_for": {},
                "outlived": 0,
            },
        )
        known["processes"] += 1
        for name in ("created", "alive", "outlived"):
            known[name] += one[name]
        for kind, number in one["alive_for"].items():
            known["alive_for"][kind] = known["alive_for"].get(kind, 0) + number
        if service not in known["services"]:
            known["services"].append(service)
        self._paths.setdefault(key, set()).update(one["paths"])

    def document(self) -> dict[str, Any]:
        """All of it, with a summary in the words of `ws-audit scan`."""
        ones = [
            {**one, "services": sorted(one["services"]), "paths": sorted(self._paths[key])}
            for key, one in sorted(self._implementations.items())
        ]
        factories = self._told_factories()
        counted = [one for one in ones if one["duty"] in (MANAGER, EMITTER)]
        return {
            "schema": SCHEMA,
            "summary": {
                "implementations": _number(counted),
                "import_paths": len({path for one in counted for path in one["paths"]}),
                "factories": len(factories),
                "inconsistent_factories": sum(not one["consistent"] for one in factories),
                "past_factory": sum(self._past.values()),
                "processes": len(self._processes),
            },
            "processes": self._processes,
            "implementations": ones,
            "differ": _differ(ones),
            "same_name": _same_name(ones),
            "events": self._told_events(),
            "factories": factories,
            "twins": self._twins(),
            "past_factory": [
                {"class": cls, "site": site, "instances": number}
                for (cls, site), number in sorted(self._past.items())
            ],
            "drift": [self._drift[key] for key in sorted(self._drift)],
            "loaded_twice": [self._twice[key] for key in sorted(self._twice)],
        }

    def _told_factories(self) -> list[dict[str, Any]]:
        by_name: dict[str, set[str]] = {}
        for factory, products in self._factories.items():
            by_name.setdefault(_short(factory), set()).update(products)
        return [
            {
                "factory": factory,
                "async": self._async[factory],
                "consistent": len(products) == 1 and len(by_name[_short(factory)]) == 1,
                "products": [{"product": name, **ways} for name, ways in sorted(products.items())],
            }
            for factory, products in sorted(self._factories.items())
        ]

    def _twins(self) -> list[dict[str, Any]]:
        """Factories of one name of which some are awaited and some are not."""
        names: dict[str, dict[bool, list[str]]] = {}
        for factory, is_async in sorted(self._async.items()):
            if is_async is not None:
                names.setdefault(_short(factory), {}).setdefault(is_async, []).append(factory)
        return [
            {"name": name, "sync": ways[False], "async": ways[True]}
            for name, ways in sorted(names.items())
            if len(ways) == 2
        ]

    def _told_events(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for event, codes in self._events.items():
            total = sum(codes.values())
            by = [
                {"code": code, "deliveries": number, "share": round(number / total, 4)}
                for code, number in sorted(codes.items(), key=lambda one: (-one[1], one[0]))
            ]
            found.append({"event": event, "deliveries": total, "by": by})
        found.sort(key=lambda one: (-one["deliveries"], one["event"]))
        return found


def _short(factory: str) -> str:
    return factory.partition(":")[2]


def _versions(ones: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], list[Mapping[str, Any]]]:
    """By name and version of Python: other fingerprints under one of these are other code."""
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for one in ones:
        found.setdefault((one["name"], one["fingerprint"][:VERSION_DIGITS]), []).append(one)
    return found


def _number(ones: Iterable[Mapping[str, Any]]) -> int:
    """How many implementations: what differs by the version of Python alone is one."""
    most: dict[str, int] = {}
    for (name, _), same in _versions(ones).items():
        most[name] = max(most.get(name, 0), len(same))
    return sum(most.values())


def _differ(ones: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Classes of one name whose code is not the same everywhere."""
    return [
        {
            "name": name,
            "implementations": [
                {"fingerprint": one["fingerprint"], "services": one["services"]} for one in same
            ],
        }
        for (name, _), same in sorted(_versions(ones).items())
        if len(same) > 1
    ]


def _same_name(ones: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    names: dict[str, set[str]] = {}
    for one in ones:
        names.setdefault(one["name"].partition(":")[2], set()).add(one["name"])
    return [
        {"name": name, "classes": sorted(classes)}
        for name, classes in sorted(names.items())
        if len(classes) > 1
    ]
