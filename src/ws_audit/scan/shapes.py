# SPDX-License-Identifier: Apache-2.0
"""Which classes of a file the agent would take for managers, by the agent's own rules.

Why it exists: a scan and a live process must not disagree on what a manager is. The rules look at
class and function objects. Here these are made from compiled code: a class statement becomes a
class with the same name, the names of its bases and functions of its methods' code.

It must never run any of that code. Compiling does not; making a class does if it has, or
inherits, one of the methods in `_RUN_BY_MAKING`, so these are left out.
"""

from __future__ import annotations

import ast
import builtins
import enum
import warnings
from types import CellType, CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ws_audit.classes.classify import Target, classify, method_kind
from ws_audit.classes.signs import has_realtime_base, is_realtime

from .trees import Functions, Tries, below, decorators, dotted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_RUN_BY_MAKING: Final = frozenset({"__init_subclass__", "__set_name__", "__mro_entries__"})
_SHELLS: Final = {"staticmethod": staticmethod, "classmethod": classmethod}
_PROPERTIES: Final = ("property", "cached_property", "setter", "deleter", "getter")


class Shape(NamedTuple):
    """What the rules say of one class."""

    taken: str  # why it is a manager; empty: it is none
    endpoint: bool
    kinds: Mapping[str, str]  # method -> hook kind


def shapes(
    tree: ast.Module, module: str, imported: Mapping[str, str]
) -> dict[int, tuple[str, Shape]]:
    """Of each class statement, by its line: the qualified name and the shape.

    `imported` says of each name the file imports from which module, or module and name, it comes.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        code = compile(tree, module, "exec", dont_inherit=True)
    codes: dict[tuple[str, int], CodeType] = {}
    _collect(code, codes)
    live = ModuleType(module)
    stand_ins: dict[str, type] = {}
    for name, origin in imported.items():
        if origin.endswith(":"):
            live.__dict__[name] = ModuleType(origin[:-1])
        else:
            home, _, known = origin.partition(":")
            stand_ins[name] = live.__dict__[name] = _stand_in(known, home)
    made: dict[int, tuple[str, type]] = {}
    for node, qualname in _classes(tree, ""):
        cls = _make(node, qualname, module, codes, stand_ins, imported)
        made[node.lineno] = qualname, cls
        if "<locals>" not in qualname:
            stand_ins[qualname] = cls
    for name, value in stand_ins.items():
        if "." not in name:
            live.__dict__[name] = value

    taken: list[type] = []
    found: dict[int, tuple[str, Shape]] = {}
    for line, (qualname, cls) in made.items():
        answer = classify(cls, is_realtime(live, taken))
        if isinstance(answer, Target):
            taken.append(cls)
            kinds = {method.name: method.kind for method in answer.methods}
        else:
            kinds = {name: method_kind(name) or "" for name in cls.__dict__}
        reason = answer.reason if isinstance(answer, Target) else ""
        found[line] = qualname, Shape(reason, has_realtime_base(cls), kinds)
    return found


def _collect(code: CodeType, codes: dict[tuple[str, int], CodeType]) -> None:
    for value in code.co_consts:
        if isinstance(value, CodeType):
            codes.setdefault((value.co_name, value.co_firstlineno), value)
            _collect(value, codes)


def _classes(node: ast.AST, prefix: str) -> Iterator[tuple[ast.ClassDef, str]]:
    for child in below(node):
        if isinstance(child, ast.ClassDef):
            yield child, f"{prefix}{child.name}"
            yield from _classes(child, f"{prefix}{child.name}.")
        elif isinstance(child, Functions):
            yield from _classes(child, f"{prefix}{child.name}.<locals>.")
        elif isinstance(child, (ast.stmt, ast.ExceptHandler)):
            yield from _classes(child, prefix)


def _make(
    node: ast.ClassDef,
    qualname: str,
    module: str,
    codes: Mapping[tuple[str, int], CodeType],
    known: Mapping[str, type],
    imported: Mapping[str, str],
) -> type:
    names: dict[str, Any] = {"__module__": module, "__qualname__": qualname}
    for method in methods_of(node):
        function = _function(method, codes)
        if function is None or method.name in _RUN_BY_MAKING:
            continue
        shell = next((_SHELLS[one] for one in decorators(method) if one in _SHELLS), None)
        names[method.name] = shell(function) if shell else function
    bases: dict[str, type] = {}
    for base in map(dotted, node.bases):
        if base:
            bases.setdefault(base, _base(base, known, imported))
    # Their common ancestors may contradict each other here, or a base stand twice.
    for chosen in (tuple(bases.values()), tuple(bases.values())[:1], ()):
        try:
            return type(node.name, chosen, dict(names))
        except TypeError:
            continue
    return type(node.name, (), {})


def _base(name: str, known: Mapping[str, type], imported: Mapping[str, str]) -> type:
    if name in known:
        return known[name]
    value = getattr(builtins, name, None)
    if isinstance(value, type) and issubclass(value, (BaseException, tuple)):
        return value
    first, _, rest = name.partition(".")
    home = imported.get(first, first).rstrip(":").replace(":", ".")
    return _stand_in(name.rpartition(".")[2], home if rest else "")


def _stand_in(name: str, module: str) -> type:
    if name == "NamedTuple":
        return tuple
    kind = name.endswith(("Enum", "Flag")) and module in ("enum", "")
    return type(name or "_", (_ENUM,) if kind and name != "Enum" else (), {"__module__": module})


_ENUM: Final = type("Enum", (), {"__module__": enum.__name__})


def _function(
    node: ast.FunctionDef | ast.AsyncFunctionDef, codes: Mapping[tuple[str, int], CodeType]
) -> FunctionType | None:
    line = min([node.lineno, *(one.lineno for one in node.decorator_list)])
    code = codes.get((node.name, line))
    if code is None or any(one in _PROPERTIES for one in decorators(node)):
        return None
    cells = tuple(CellType() for _ in code.co_freevars)
    function = FunctionType(code, {}, node.name, None, cells)
    arguments = node.args
    notes = {
        one.arg: ast.unparse(one.annotation)
        for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
        if one.annotation is not None
    }
    if node.returns is not None:
        notes["return"] = ast.unparse(node.returns)
    function.__annotations__ = notes
    return function


def methods_of(node: ast.ClassDef) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """The methods in a class's body, also those that only some condition defines."""
    waiting: list[ast.AST] = list(node.body)
    while waiting:
        child = waiting.pop(0)
        if isinstance(child, Functions):
            yield child
        elif isinstance(child, (ast.If, ast.With, *Tries)):
            waiting = [*_statements(child), *waiting]


def _statements(node: ast.AST) -> Iterable[ast.AST]:
    return [one for one in below(node) if isinstance(one, ast.stmt)]
