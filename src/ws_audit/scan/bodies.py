# SPDX-License-Identifier: Apache-2.0
"""What functions return, call and write to.

Why it exists: factories are known by their return statements, managers made past them by calls,
second senders by what they give to sockets.

It must never mix up a function with those that are defined in it.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Final

from .expressions import assignments, expression, names
from .facts import Call, Expression, Function
from .sockets import is_registered, is_served, writes
from .trees import Functions, below, decorators, dotted, own

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_ROUTES: Final = frozenset({"websocket", "websocket_route", "ws", "websocket_endpoint", "listener"})
Node = ast.FunctionDef | ast.AsyncFunctionDef


class Bodies:
    """The functions of one file, and what its own statements call."""

    def __init__(self, tree: ast.Module, *, live: bool, quiet: bool) -> None:
        self._live, self._quiet = live, quiet
        self.functions: list[Function] = []
        self.calls: list[Call] = []
        self._children(tree, "", "", {}, {})
        for statement in tree.body:
            self.calls += _calls(statement)

    def _children(
        self,
        node: ast.AST,
        prefix: str,
        owner: str,
        imports: Mapping[str, tuple[int, str, str]],
        assigned: Mapping[str, tuple[Expression, ...]],
    ) -> None:
        for child in below(node):
            if isinstance(child, ast.ClassDef):
                name = f"{prefix}{child.name}"
                for statement in child.body:
                    self.calls += _calls(statement)
                self._children(child, f"{name}.", name, imports, assigned)
            elif isinstance(child, Functions):
                self._function(child, prefix, owner, imports, assigned)
            elif isinstance(child, (ast.stmt, ast.ExceptHandler, ast.match_case)):
                self._children(child, prefix, owner, imports, assigned)

    def _function(
        self,
        node: Node,
        prefix: str,
        owner: str,
        imports: Mapping[str, tuple[int, str, str]],
        assigned: Mapping[str, tuple[Expression, ...]],
    ) -> None:
        arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
        parameters = {
            one.arg: ast.unparse(one.annotation) if one.annotation else "" for one in arguments
        }
        body = _Body(node)
        imports = {**imports, **body.imports}
        assigned = {**assigned, **body.assigned}
        named = decorators(node)
        qualname = f"{prefix}{node.name}"
        self.functions.append(
            Function(
                qualname,
                owner,
                node.lineno,
                isinstance(node, ast.AsyncFunctionDef),
                named,
                tuple(parameters.items()),
                names(node.returns),
                tuple(body.returns),
                dict(assigned),
                dict(imports),
                tuple(body.calls),
                () if self._quiet else tuple(writes(node.body, parameters, live=self._live)),
                not _ROUTES.isdisjoint(named) or is_served(node.body, parameters),
                is_registered(node.body, parameters),
                tuple(body.shares),
            )
        )
        self._children(node, f"{qualname}.<locals>.", "", imports, assigned)


class _Body:
    """A function's own statements."""

    def __init__(self, node: Node) -> None:
        self.returns: list[tuple[Expression, int]] = []
        self.assigned: dict[str, tuple[Expression, ...]] = {}
        self.imports: dict[str, tuple[int, str, str]] = {}
        self.calls: list[Call] = []
        self.shares: list[str] = []
        for inner in own(node.body):
            self._see(inner)

    def _see(self, node: ast.AST) -> None:
        if isinstance(node, (ast.Return, ast.Yield)):
            self.returns.append((expression(node.value), node.lineno))
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                target = (node.level, node.module or "", alias.name)
                self.imports[alias.asname or alias.name] = target
        elif isinstance(node, ast.Import):
            for alias in node.names:
                bound = alias.asname or alias.name.partition(".")[0]
                self.imports[bound] = (0, alias.name if alias.asname else bound, "")
        elif isinstance(node, ast.Call):
            self.calls += _class_like(node)
        elif isinstance(node, (ast.Global, ast.Nonlocal)):
            self.shares += node.names
        for name, known, _ in assignments(node):
            if not name.endswith("[key]"):
                self.assigned[name] = (*self.assigned.get(name, ()), known)


def _calls(statement: ast.AST) -> Iterator[Call]:
    for node in own([statement]):
        if isinstance(node, ast.Call):
            yield from _class_like(node)


def _class_like(node: ast.Call) -> Iterator[Call]:
    """A call by a name that may be a class's, or an alias of one."""
    name = dotted(node.func)
    last = name.rpartition(".")[2].lstrip("_")
    if last[:1].isupper():
        yield Call(name, node.lineno)
