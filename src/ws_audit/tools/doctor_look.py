# SPDX-License-Identifier: Apache-2.0
"""What `ws-audit doctor explain` runs in a process of its own: import, classify, answer in JSON.

Why it exists: importing an application runs it, and whatever it then does, the command that
explains should survive. The classes are judged by the same code as in a live process.

It must never hook anything, and never let what the application prints into its answer.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from typing import TYPE_CHECKING, Any

from ws_audit import naming
from ws_audit.classes.classify import (
    Target,
    classes_of,
    classify,
    given,
    method_kind,
)
from ws_audit.classes.declared import Declared
from ws_audit.classes.factories import factories_of
from ws_audit.classes.signs import is_realtime, plain_function
from ws_audit.configuration.settings import load
from ws_audit.configuration.wording import nearest
from ws_audit.facts.document import class_told
from ws_audit.process.modules import is_installed

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType


def main() -> None:
    """Answer for the target in argv on the descriptor in argv."""
    target, answer = sys.argv[1], int(sys.argv[2])
    os.dup2(2, 1)  # what the application prints is no part of the answer
    try:
        document = look(target)
    except WrongTargetError as wrong:
        document = {"error": str(wrong)}
    with open(answer, "w", encoding="utf-8") as file:
        json.dump(document, file)


class WrongTargetError(Exception):
    """A target that is not there; the text says what is."""


def look(target: str) -> dict[str, Any]:
    """Everything about the classes and factories of a target."""
    name, _, path = target.partition(":")
    module = _module(name)
    classes = {cls.__qualname__: cls for cls in classes_of(module)}
    wanted, method = _wanted(module, path, classes)
    settings, _ = load(os.environ, os.getcwd())
    told: list[str] = []
    declared = Declared(settings.manager, told.append)
    realtime = is_realtime(module)
    ruled = settings.takes(module.__name__, is_installed(module))
    found = []
    # In order of definition, as the agent does: a class taken marks its module as real-time.
    for cls in classes.values():
        entry, taken = _explain(cls, declared, module, ruled=ruled, realtime=realtime)
        realtime |= taken
        if cls in wanted:
            found.append(entry)
    if method:
        for entry in found:
            for key in ("methods", "not_hooked"):
                entry[key] = [one for one in entry[key] if one["name"] == method]
    factories = [
        {"factory": f"{one.function.__module__}:{one.function.__qualname__}"}
        for one in (factories_of(module) if ruled and realtime and not path else ())
    ]
    for cls, table in declared.classes(module.__name__, module):
        declared.target(cls, table)
    return {
        "schema": 1,
        "module": module.__name__,
        "file": getattr(module, "__file__", None),
        "looked_at": ruled,
        "why_not": "" if ruled else _why_not(settings.include, settings.exclude, module),
        "realtime": realtime,
        "classes": found,
        "factories": factories,
        "told": told,
    }


def _explain(
    cls: type, declared: Declared, module: ModuleType, *, ruled: bool, realtime: bool
) -> tuple[dict[str, Any], bool]:
    """One class, and whether it is taken."""
    table = declared.table(module.__name__, cls)
    verdict = classify(cls, realtime) if table is None else declared.target(cls, table)
    taken = isinstance(verdict, Target) and (ruled or table is not None)
    if verdict is None:
        ignored = table is not None and table.ignore
        reason = "ignore = true in its [[manager]] table" if ignored else "its table hooks nothing"
    elif isinstance(verdict, Target) and not taken:
        reason = "its module is not looked at; by the rules it would be taken: " + verdict.reason
    else:
        reason = verdict.reason
    methods = verdict.methods if isinstance(verdict, Target) else ()
    entry = class_told(cls, reason, methods, getattr(verdict, "instance_user", ""))
    owners = [] if not taken else _owners(cls)
    left = {one["name"]: one for one in entry["not_hooked"]}
    for name, one in left.items():
        one["why"] = _why_left(cls, name, taken=isinstance(verdict, Target))
    for method in entry["methods"]:
        method["hooked"] = taken
    return {
        **entry,
        "taken": taken,
        "near": not isinstance(verdict, Target) and bool(getattr(verdict, "near", False)),
        "named_in_table": table is not None,
        "owners": owners,
    }, taken


def _owners(cls: type) -> list[str]:
    """Attributes from which an instance's user would be read, as far as its code names them."""
    init = plain_function(cls.__dict__.get("__init__"))
    names: set[str] = set()
    if init is not None:
        names = {name for name, _ in given(init, init)} | set(init.__code__.co_names)
    return [name for name in naming.OWNER_ATTRIBUTES if name in names]


def _why_left(cls: type, name: str, *, taken: bool) -> str:
    if not taken:
        kind = method_kind(name)
        return f"would be {kind}" if kind else "no rule for its name"
    function = plain_function(cls.__dict__[name])
    if function is not None and method_kind(name) is None:
        return "its name is that of no send, broadcast, connect, disconnect or receive"
    return "no plain function"


def _why_not(include: Iterable[str], exclude: Iterable[str], module: ModuleType) -> str:
    if include or exclude:
        return f"include = {list(include)}, exclude = {list(exclude)} leave it out"
    where = "an installed library" if is_installed(module) else "a module of ws-audit itself"
    return f"it is {where}; WS_AUDIT_INCLUDE={module.__name__.partition('.')[0]}.* takes it in"


# --- finding the target --------------------------------------------------------------------------


def _module(name: str) -> ModuleType:
    if name.endswith(".py"):
        name = _dotted(os.path.abspath(name))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or name
        if name == missing or name.startswith(f"{missing}."):
            raise WrongTargetError(
                f"no module {missing!r}; {_near(missing, _modules(missing))}"
            ) from None
        raise WrongTargetError(f"{name} cannot be imported: {error}") from None
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{place.filename}:{place.lineno}"
        raise WrongTargetError(
            f"{name} cannot be imported: {type(error).__name__}: {error} ({where})"
        ) from None


def _dotted(path: str) -> str:
    """The module's name as its package has it; its root goes onto the path."""
    if not os.path.isfile(path):
        folder = os.path.dirname(path)
        there = os.listdir(folder) if os.path.isdir(folder) else []
        python = [one for one in there if one.endswith(".py")]
        near = _near(os.path.basename(path)[:-3], [one[:-3] for one in python])
        raise WrongTargetError(f"no file {path}; {near}{'.py' if python else ''}")
    folder, file = os.path.split(path)
    parts = [] if file == "__init__.py" else [file.removesuffix(".py")]
    while os.path.isfile(os.path.join(folder, "__init__.py")):
        folder, package = os.path.split(folder)
        parts.insert(0, package)
    sys.path.insert(0, folder)
    return ".".join(parts)


def _modules(missing: str) -> list[str]:
    """What could have been meant: beside it in its package, or at the top."""
    import pkgutil

    package, _, _ = missing.rpartition(".")
    if package:
        parent = sys.modules.get(package)
        path = getattr(parent, "__path__", None)
        return [f"{package}.{one.name}" for one in pkgutil.iter_modules(path)] if path else []
    return [one.name for one in pkgutil.iter_modules([os.getcwd(), *sys.path])]


def _wanted(module: ModuleType, path: str, classes: dict[str, type]) -> tuple[list[type], str]:
    """The classes a target means, and the method if it means one."""
    if not path:
        return list(classes.values()), ""
    if path in classes:
        return [classes[path]], ""
    owner, _, method = path.rpartition(".")
    if owner in classes:
        cls = classes[owner]
        if method in cls.__dict__:
            return [cls], method
        names = [name for name in cls.__dict__ if plain_function(cls.__dict__[name])]
        raise WrongTargetError(
            f"{module.__name__}:{owner} has no method {method!r} of its own; {_near(method, names)}"
        )
    imported = vars(module).get(path)
    if isinstance(imported, type):
        own = f"{imported.__module__}:{imported.__qualname__}"
        raise WrongTargetError(
            f"{path} is only imported in {module.__name__}; its own name is {own}"
        )
    raise WrongTargetError(f"{module.__name__} has no class {path!r}; {_near(path, classes)}")


def _near(name: str, known: Iterable[str]) -> str:
    names = list(known)
    return f"nearest: {nearest(name, names)}" if names else "there is none at all"


if __name__ == "__main__":
    main()
