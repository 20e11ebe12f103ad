# SPDX-License-Identifier: Apache-2.0
"""Walks over syntax trees, and the names in them.

Why it exists: most of a scan's time is spent walking. `ast.walk` also visits what says whether a
name is read or written, a third of all nodes, and nobody here asks that.

It must never visit a node twice.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# Fields that hold names, numbers and what is done with a value: no nodes that mean something.
_PASSED: Final = frozenset(
    {
        *("ctx", "op", "ops", "type_comment", "kind", "id", "attr", "arg", "module", "level"),
        *("asname", "is_async", "simple", "conversion"),
    }
)
_fields: Final[dict[type, tuple[str, ...]]] = {}
# Also `except*`, where there is one.
Tries: Final = (ast.Try, getattr(ast, "TryStar", ast.Try))
Functions: Final = (ast.FunctionDef, ast.AsyncFunctionDef)
Definitions: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def below(node: ast.AST) -> list[ast.AST]:
    """A node's children that mean something."""
    kind = type(node)
    fields = _fields.get(kind)
    if fields is None:
        fields = _fields[kind] = tuple(one for one in kind._fields if one not in _PASSED)
    found: list[ast.AST] = []
    for field in fields:
        value = getattr(node, field, None)
        if type(value) is list:
            found += [one for one in value if isinstance(one, ast.AST)]
        elif isinstance(value, ast.AST):
            found.append(value)
    return found


def walk(node: ast.AST) -> Iterator[ast.AST]:
    """A node and all below it, as they stand."""
    waiting = [node]
    while waiting:
        one = waiting.pop()
        yield one
        waiting += reversed(below(one))


def own(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Some nodes and all below them, but for functions and classes defined there."""
    waiting = list(nodes)[::-1]
    while waiting:
        one = waiting.pop()
        if not isinstance(one, Definitions):
            yield one
            waiting += reversed(below(one))


def decorators(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> tuple[str, ...]:
    """The last names of its decorators, whether these are called or not."""
    found = (one.func if isinstance(one, ast.Call) else one for one in node.decorator_list)
    return tuple(dotted(one).rpartition(".")[2] for one in found)


def dotted(node: ast.AST) -> str:
    """`a.b.c` as a text; without what stands in brackets; empty if it is something else."""
    parts: list[str] = []
    while True:
        if isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        elif isinstance(node, ast.Subscript):
            node = node.value
        elif isinstance(node, ast.Name):
            return ".".join((node.id, *reversed(parts)))
        else:
            return ""
