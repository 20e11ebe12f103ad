# SPDX-License-Identifier: Apache-2.0
"""The facts of one process as one document: what is active, what was taken, what is missing.

Why it exists: `ws-audit doctor` explains an agent it does not run in. Whatever it says comes
from here; docs/doctor.md describes the keys.

It must never hold a value of the application: names that stand in code, counts, settings
(secrets hidden), and nothing else. It runs in the drain and looks at a bounded number of things.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from itertools import islice
from time import time_ns
from typing import TYPE_CHECKING, Any, Final

from ws_audit import __version__
from ws_audit.classes.classify import given
from ws_audit.classes.signs import plain_function
from ws_audit.configuration.wording import SECRET
from ws_audit.model import UNATTRIBUTED
from ws_audit.principals.identity import is_a, peek

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ws_audit.classes.classify import Method, Target
    from ws_audit.configuration.settings import Settings
    from ws_audit.runtime import Runtime

SCHEMA: Final = 1
CLASSES: Final = 200
_INSTANCES: Final = 200
_METHODS: Final = 30
_ROWS: Final = 50
_PLACES: Final = 12
_LISTED: Final = 100


def settings_told(settings: Settings, origins: Mapping[str, str]) -> list[dict[str, Any]]:
    """The settings in force, and where each comes from."""
    dotted = {origin.replace(".", "_"): origin for origin in origins}
    found = []
    for field, value in zip(settings._fields, settings, strict=True):
        table, _, rest = field.partition("_")
        key = dotted.get(field) or (f"{table}.{rest}" if table in _TABLES else field)
        told: Any = value
        if key == "manager":
            told = [one.name for one in settings.manager]
        elif key == "policy":
            told = [one.kind for one in settings.policy]
        elif key in SECRET and value:
            told = "<hidden>"
        found.append({"key": key, "value": told, "source": origins.get(key, "default")})
    return found


_TABLES: Final = ("store", "limits", "selftest", "canary", "push", "identity", "payload")


def facts(
    settings: Settings,
    origins: Mapping[str, str],
    problems: list[str],
    refused: Mapping[str, str],
    import_hook: bool | None,
    off: str,
    runtime: Runtime | None,
) -> dict[str, Any]:
    """Everything, in the order of docs/doctor.md; classes are JSON already (see state)."""
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "version": __version__,
        "pid": os.getpid(),
        "host": platform.node(),
        "service": os.environ.get("OTEL_SERVICE_NAME", ""),
        "python": platform.python_version(),
        "program": _program(),
        "multiprocess": "PROMETHEUS_MULTIPROC_DIR" in os.environ,
        "off": off,
        "import_hook": import_hook,
        "settings": settings_told(settings, origins),
        "problems": problems,
        "refused": dict(sorted(refused.items())[:_LISTED]),
        "stage": 0,
        "applications": 0,
        "outputs": {},
        "classes": [],
        "classes_total": 0,
        "factories": [],
        "too_late": [],
        "shadowed": [],
        "transports": [],
        "errors": {},
        "selftest": "",
        "dropped": {},
        "verdicts": {},
        "violations": {},
        "unattributed": {},
        "sources": [],
        "unjudged": [],
        "policies": [],
        "learned": None,
        "inventory": None,
    }
    if runtime is not None:
        document |= _of_runtime(runtime)
    return document


def _program() -> str:
    """What runs here, without its arguments: they may be secrets."""
    path = sys.argv[0] if sys.argv else ""
    folder, name = os.path.split(path)
    return os.path.basename(folder) if name == "__main__.py" else name


def _of_runtime(runtime: Runtime) -> dict[str, Any]:
    counts = runtime.tally.total()
    verdicts: dict[str, int] = {}
    reasons: dict[str, int] = {}
    for key, amount in counts.items():
        if key[0] == "delivery":
            verdicts[key[3]] = verdicts.get(key[3], 0) + amount
            if key[3] == UNATTRIBUTED:
                reasons[key[4]] = reasons.get(key[4], 0) + amount
    outputs = runtime.outputs
    return {
        "stage": 1 if outputs is None else 2,
        "applications": runtime.applications,
        "outputs": {} if outputs is None else outputs.ways,
        "classes": _classes(runtime),
        "classes_total": len(runtime.installer),
        "factories": _factories(runtime, counts),
        "too_late": runtime.captured[:_LISTED],
        "shadowed": _shadowed(runtime),
        "transports": [
            {"module": name, "hooked": not counts.get(("error", f"transport {name}"))}
            for name in sorted(runtime.hooked)
        ],
        "errors": _sums(counts, "error"),
        "selftest": runtime.selftest.failing,
        "dropped": _sums(counts, "dropped"),
        "verdicts": verdicts,
        "violations": _violations(counts),
        "unattributed": reasons,
        "sources": sorted(runtime.unjudged.sources),
        "unjudged": _unjudged(runtime),
        "policies": _policies(runtime, counts),
        "learned": None if runtime.learner is None else runtime.learner.document(),
        "inventory": runtime.inventory.document(),
    }


def _policies(runtime: Runtime, counts: Mapping[tuple[str, ...], int]) -> list[dict[str, Any]]:
    """Each declared policy, whether it has ended, and how many deliveries it has excused."""
    ended = runtime.declarations.ended(time_ns())
    return [
        {
            "number": one.number,
            "kind": one.kind,
            "reason": one.reason,
            "expires": one.expires,
            "expired": one.number in ended,
            "excused": counts.get(("policy", str(one.number)), 0),
        }
        for one in runtime.declarations.tables
    ]


def _sums(counts: Mapping[tuple[str, ...], int], what: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for key, amount in counts.items():
        if key[0] == what:
            found[key[1]] = found.get(key[1], 0) + amount
    return found


def _violations(counts: Mapping[tuple[str, ...], int]) -> dict[str, int]:
    found: dict[str, int] = {}
    for key, amount in counts.items():
        if key[0] == "violation":
            found[key[2]] = found.get(key[2], 0) + amount
    return found


# --- classes ------------------------------------------------------------------------------------


def _classes(runtime: Runtime) -> list[str]:
    installer = runtime.installer
    return sorted(installer.told(cls, _told) for cls in islice(installer, CLASSES))


def _told(cls: type, target: Target, hooked: set[str]) -> str:
    """One class as JSON: this is most of the work, and most of the text."""
    entry = class_told(cls, target.reason, target.methods, target.instance_user)
    for method in entry["methods"]:
        method["hooked"] = method["name"] in hooked
    return json.dumps(entry, separators=(",", ":"))


def class_told(
    cls: type, reason: str, methods: tuple[Method, ...], instance_user: str = ""
) -> dict[str, Any]:
    """One class: why it was taken, what each method was taken for, and which were left."""
    taken = {method.name for method in methods}
    left = []
    for name, value in list(cls.__dict__.items()):
        function = plain_function(value)
        if name not in taken and not name.startswith("__") and function is not None:
            left.append({"name": name, "parameters": [one for one, _ in given(value, function)]})
    return {
        "class": f"{cls.__module__}:{cls.__qualname__}",
        "reason": reason,
        "instance_user": instance_user,
        "methods": [_method(cls, method) for method in methods[:_METHODS]],
        "not_hooked": left[:_METHODS],
    }


def _method(cls: type, method: Method) -> dict[str, Any]:
    meant = method.parameters
    value = cls.__dict__.get(method.name)
    function = plain_function(value)
    return {
        "name": method.name,
        "kind": method.kind,
        "recipient": meant.recipient,
        "recipient_kind": meant.recipient_kind if meant.recipient else None,
        "payload": meant.payload,
        "event": meant.event,
        "socket": meant.socket,
        "room": meant.room,
        "parameters": [] if function is None else [name for name, _ in given(value, function)],
    }


def _factories(runtime: Runtime, counts: Mapping[tuple[str, ...], int]) -> list[dict[str, Any]]:
    products: dict[str, dict[str, dict[str, int]]] = {name: {} for name in runtime.factories}
    for key, amount in counts.items():
        if key[0] == "product":
            _, factory, product, how = key
            ways = products.setdefault(factory, {}).setdefault(product, {"made": 0, "reused": 0})
            ways[how] += amount
    return [
        {
            "factory": factory,
            "products": [{"product": name, **ways} for name, ways in sorted(made.items())],
        }
        for factory, made in sorted(products.items())
    ]


def _shadowed(runtime: Runtime) -> list[dict[str, Any]]:
    """Attributes of living instances that stand before a hooked method: calls go past the hook."""
    found: dict[tuple[str, str], int] = {}
    names: dict[type, set[str]] = {}
    for instance in runtime.instances(_INSTANCES):
        cls = type(instance)
        if cls not in names:
            names[cls] = {
                method.name
                for base in cls.__mro__
                if base in runtime.installer
                for method in runtime.installer.target(base).methods
            }
        for name in names[cls]:
            # Of a dict it would be a key; and a hooked method itself is no instance attribute.
            if not is_a(instance, dict) and peek(instance, name) is not None:
                key = (f"{cls.__module__}:{cls.__qualname__}", name)
                found[key] = found.get(key, 0) + 1
    return [
        {"class": cls, "attribute": name, "instances": amount}
        for (cls, name), amount in sorted(found.items())
    ]


# --- what could not be judged --------------------------------------------------------------------


def _unjudged(runtime: Runtime) -> list[dict[str, Any]]:
    clues, tell = runtime.clues, runtime.names.tell
    found = []
    for row in runtime.unjudged.rows()[:_ROWS]:
        kind = (row.manager, row.function, row.event, row.reason)
        places: list[dict[str, Any]] = []
        hidden = 0
        for (sort, path), (seen, agreed) in clues.of(kind).items():
            name = path.rpartition(":")[2] if sort == "parameter" else path
            if sort in ("parameter", "dependency") or tell(name):
                places.append({"sort": sort, "path": path, "seen": seen, "agreed": agreed})
            else:
                hidden += 1
        places.sort(key=lambda place: (-place["agreed"], -place["seen"], place["path"]))
        found.append(
            {
                "site": row.site,
                "event": row.event,
                "reason": row.reason,
                "manager": row.manager,
                "method": row.function,
                "count": row.count,
                "estimated": row.estimated,
                "looked_at": clues.looked(kind),
                "places": places[:_PLACES],
                "hidden_places": hidden,
                "pairs": [list(pair) for pair in clues.pairs(kind)[:3]],
            }
        )
    return found
