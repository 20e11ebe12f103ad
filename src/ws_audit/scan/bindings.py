# SPDX-License-Identifier: Apache-2.0
"""Which names a module has, and by which of its statements.

Why it exists: a manager is imported by every name that any module binds to it: by an import, an
alias, `import *`, a shim, the module's own `__getattr__`.

It must never take a name for importable that only type checkers see.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Final

from .expressions import annotated, expression
from .facts import (
    ANY,
    CLASS,
    FUNCTION,
    IMPORTED,
    ITEM,
    MODULE,
    NAME,
    VALUE,
    Binding,
    Expression,
    Star,
)
from .trees import Functions, Tries, walk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Branch = tuple[int, str] | None
_KNOWN: Final[tuple[object, ...]] = (NAME, ITEM, ANY)
_GETS: Final = ("getattr", "import_module", "__import__")


class Bindings:
    """The names of one module."""

    def __init__(self, tree: ast.Module) -> None:
        self.bindings: list[Binding] = []
        self.stars: list[Star] = []
        self.exported: tuple[str, ...] | None = None
        self.lazy: list[Binding] = []
        self.loads: list[tuple[int, str, str]] = []
        self.has_class = any(isinstance(node, ast.ClassDef) for node in walk(tree))
        self.shim = bool(tree.body) and all(map(_hands_on, tree.body))
        self._tables: dict[str, ast.Dict] = {}
        self._statements(tree.body, None, typing=False)
        for node in tree.body:
            if isinstance(node, Functions) and node.name == "__getattr__":
                self.lazy += _lazy(node, self._tables)

    def origins(self) -> dict[str, str]:
        """Of each imported name `module:name`, or `module:` if it is a module."""
        found: dict[str, str] = {}
        for one in self.bindings:
            if one.kind in (IMPORTED, MODULE):
                _, module, name = one.target
                found[one.name] = f"{module}:{name}"
        return found

    def _statements(self, body: Iterable[ast.stmt], branch: Branch, *, typing: bool) -> None:
        for node in body:
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                self._import(node, branch, typing=typing)
            elif isinstance(node, (ast.ClassDef, *Functions)):
                kind = CLASS if isinstance(node, ast.ClassDef) else FUNCTION
                self._bind(node.name, kind, (NAME, node.name), node.lineno, branch, typing=typing)
            elif isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
                self._assign(node, branch, typing=typing)
            elif isinstance(node, ast.If):
                self._if(node, branch, typing=typing)
            elif isinstance(node, Tries):
                self._statements(node.body, _in(branch, node, "try"), typing=typing)
                for handler in node.handlers:
                    self._statements(handler.body, _in(branch, node, "except"), typing=typing)
                self._statements(node.orelse, _in(branch, node, "try"), typing=typing)
                self._statements(node.finalbody, branch, typing=typing)
            elif isinstance(node, (ast.With, ast.For, ast.While)):
                self._statements(node.body, branch, typing=typing)

    def _if(self, node: ast.If, branch: Branch, *, typing: bool) -> None:
        test = ast.unparse(node.test)
        if "__name__" in test:
            self._statements(node.orelse, branch, typing=typing)
        elif test.rpartition(".")[2] == "TYPE_CHECKING":
            self._statements(node.body, branch, typing=True)
            self._statements(node.orelse, branch, typing=typing)
        else:
            self._statements(node.body, _in(branch, node, "if"), typing=typing)
            self._statements(node.orelse, _in(branch, node, "else"), typing=typing)

    def _import(self, node: ast.Import | ast.ImportFrom, branch: Branch, *, typing: bool) -> None:
        for alias in node.names:
            if isinstance(node, ast.Import):
                bound = alias.asname or alias.name.partition(".")[0]
                target = (0, alias.name if alias.asname else bound, "")
                kind, load = MODULE, (0, alias.name, "")
            elif alias.name == "*":
                self.stars.append(Star(node.level, node.module or "", node.lineno))
                self.loads.append((node.level, node.module or "", ""))
                continue
            else:
                bound = alias.asname or alias.name
                target = load = (node.level, node.module or "", alias.name)
                kind = IMPORTED
            self._bind(bound, kind, target, alias.lineno, branch, typing=typing)
            if not typing:
                self.loads.append(load)

    def _assign(
        self, node: ast.Assign | ast.AnnAssign | ast.AugAssign, branch: Branch, *, typing: bool
    ) -> None:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            if not isinstance(target, ast.Name):
                continue
            if target.id == "__all__":
                said = tuple(_texts(node.value)) if node.value is not None else ()
                added = (self.exported or ()) if isinstance(node, ast.AugAssign) else ()
                self.exported = (*added, *said)
            elif not isinstance(node, ast.AugAssign):
                if isinstance(node.value, ast.Dict):
                    self._tables[target.id] = node.value
                if isinstance(node, ast.AnnAssign):
                    name, said_of = annotated(target.id, node.annotation)
                    self._bind(name, VALUE, said_of, node.lineno, branch, typing=True)
                if node.value is not None:
                    known = expression(node.value)
                    self._bind(target.id, VALUE, known, node.lineno, branch, typing=typing)

    def _bind(
        self, name: str, kind: str, target: Expression, line: int, branch: Branch, *, typing: bool
    ) -> None:
        self.bindings.append(Binding(name, kind, target, line, branch, typing))


def _in(branch: Branch, node: ast.stmt, label: str) -> Branch:
    return (node.lineno, label) if branch is None else (branch[0], f"{branch[1]}.{label}")


def _texts(node: ast.AST) -> Iterator[str]:
    for one in walk(node):
        if isinstance(one, ast.Constant) and isinstance(one.value, str):
            yield one.value


def _hands_on(node: ast.stmt) -> bool:
    """Whether a statement only passes names on: imports, aliases, __all__, a text, a warning."""
    if isinstance(node, (ast.Import, ast.ImportFrom, ast.Pass)):
        return True
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) or "warn" in ast.unparse(node.value)
    if isinstance(node, Tries):
        inner = [*node.body, *(one for handler in node.handlers for one in handler.body)]
        return all(map(_hands_on, inner))
    if isinstance(node, ast.If):
        return all(map(_hands_on, (*node.body, *node.orelse)))
    if isinstance(node, (ast.Assign, ast.AnnAssign)):
        return isinstance(node.value, (ast.Name, ast.Attribute, ast.List, ast.Tuple, ast.Dict))
    return isinstance(node, Functions) and node.name in ("__getattr__", "__dir__")


# --- a module's own __getattr__ ---------------------------------------------------------------


def _lazy(
    function: ast.FunctionDef | ast.AsyncFunctionDef, tables: dict[str, ast.Dict]
) -> Iterator[Binding]:
    """Which names a module's `__getattr__` answers, and with what."""
    for node in walk(function):
        if isinstance(node, ast.If):
            wanted = list(_compared(node.test))
            for name in wanted:
                target = _answer(node.body, name)
                if target is not None:
                    yield Binding(name, *target, node.lineno, None, False)
        elif isinstance(node, ast.Name) and node.id in tables:
            yield from _table(tables[node.id])
        elif isinstance(node, ast.Dict):
            yield from _table(node)


def _compared(test: ast.AST) -> Iterator[str]:
    """The texts that the wanted name is compared with."""
    if isinstance(test, ast.Compare) and isinstance(test.ops[0], (ast.Eq, ast.In)):
        for side in (test.left, *test.comparators):
            yield from _texts(side)
    elif isinstance(test, ast.BoolOp) and isinstance(test.op, ast.Or):
        for value in test.values:
            yield from _compared(value)


def _answer(body: list[ast.stmt], name: str) -> tuple[str, Expression] | None:
    imported: dict[str, Expression] = {}
    for statement in body:
        if isinstance(statement, ast.ImportFrom):
            for alias in statement.names:
                known = (statement.level, statement.module or "", alias.name)
                imported[alias.asname or alias.name] = known
        elif isinstance(statement, ast.Return) and statement.value is not None:
            value = statement.value
            if isinstance(value, ast.Name) and value.id in imported:
                return IMPORTED, imported[value.id]
            module = _loaded(value)
            if module is not None:
                attribute = value.attr if isinstance(value, ast.Attribute) else name
                return IMPORTED, (*_level(module), attribute)
            known = expression(value)
            if known[0] in _KNOWN:
                return VALUE, known
    return None


def _loaded(value: ast.AST) -> str | None:
    """The module of `getattr(import_module("m"), name)` or `import_module("m").name`."""
    for node in walk(value):
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in _GETS[1:]:
            return next(_texts(node.args[0]), None) if node.args else None
    return None


def _table(table: ast.Dict) -> Iterator[Binding]:
    """`{"Name": "module"}`, `{"Name": ("module", "Other")}`, `{"Name": "module:Other"}`."""
    for key, value in zip(table.keys, table.values, strict=True):
        if not (isinstance(key, ast.Constant) and isinstance(key.value, str)):
            continue
        said = list(_texts(value)) if isinstance(value, (ast.Constant, ast.Tuple)) else []
        if not said or not said[0].replace(".", "").replace("_", "").replace(":", "").isalnum():
            continue
        module, _, name = said[0].partition(":")
        name = said[1] if len(said) > 1 else name or key.value
        target = (*_level(module.removesuffix(f".{name}")), name)
        yield Binding(key.value, IMPORTED, target, key.lineno, None, False)


def _level(module: str) -> tuple[int, str]:
    inner = module.lstrip(".")
    return len(module) - len(inner), inner
