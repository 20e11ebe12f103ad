# SPDX-License-Identifier: Apache-2.0
"""What an expression's value may be, as far as the text of one file says.

Why it exists: which types a factory returns, and which class a name leads to, stand in
assignments and return statements. They are kept as small tuples (see facts) until all files
have been read.

It must never evaluate anything.
"""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Final

from .facts import ANY, CALL, ITEM, NAME, NONE, NOTHING, ON, OTHER, TYPE, Expression
from .trees import dotted

if TYPE_CHECKING:
    from collections.abc import Iterable

_NAME: Final = re.compile(r"[A-Za-z_][\w.]*")
_TAKES: Final = frozenset({"get", "pop", "setdefault", "popleft"})
_PUTS: Final = frozenset({"append", "add", "appendleft", "insert", "put", "put_nowait"})
CONTAINERS: Final = frozenset(
    {
        *("dict", "list", "set", "frozenset", "tuple", "Dict", "List", "Set", "Tuple", "deque"),
        *("defaultdict", "DefaultDict", "OrderedDict", "Deque", "Mapping", "MutableMapping"),
        *("WeakSet", "WeakValueDictionary", "WeakKeyDictionary", "Iterable", "Sequence"),
        "Collection",
    }
)
_LITERALS: Final = {
    ast.Dict: "dict",
    ast.DictComp: "dict",
    ast.List: "list",
    ast.ListComp: "list",
    ast.Set: "set",
    ast.SetComp: "set",
    ast.Tuple: "tuple",
    ast.JoinedStr: "str",
}


def expression(node: ast.AST | None) -> Expression:
    """What is known of a value."""
    if node is None:
        return (NONE,)
    if isinstance(node, ast.Constant):
        return (NONE,) if node.value is None else (OTHER, type(node.value).__name__)
    if isinstance(node, (ast.Await, ast.NamedExpr)):
        return expression(node.value)
    if isinstance(node, ast.IfExp):
        return (ANY, (expression(node.body), expression(node.orelse)))
    if isinstance(node, ast.BoolOp):
        return (ANY, tuple(map(expression, node.values)))
    if isinstance(node, ast.Subscript):
        name = dotted(node.value)
        return (ITEM, name) if name else NOTHING
    if isinstance(node, (ast.Name, ast.Attribute)):
        name = dotted(node)
        return (NAME, name) if name else NOTHING
    if isinstance(node, ast.Call):
        return _call(node)
    return (OTHER, _LITERALS[type(node)]) if type(node) in _LITERALS else NOTHING


def _call(node: ast.Call) -> Expression:
    name = dotted(node.func)
    if isinstance(node.func, ast.Attribute):
        holder, attribute = node.func.value, node.func.attr
        if attribute in _TAKES and dotted(holder) and not isinstance(holder, ast.Call):
            known = (ITEM, dotted(holder))
            return (ANY, (known, *map(expression, node.args[1:])))
        if attribute == "__new__" and node.args:
            return (CALL, dotted(node.args[0])) if dotted(node.args[0]) else NOTHING
        if isinstance(holder, ast.Call):
            return (ON, _call(holder), attribute)
    if name.rpartition(".")[2] == "cast" and len(node.args) == 2:
        return (TYPE, names(node.args[0]))
    return (CALL, name) if name else NOTHING


def names(annotation: ast.AST | None) -> tuple[str, ...]:
    """The dotted names in an annotation, also in one that is written as a text."""
    if annotation is None:
        return ()
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return tuple(_NAME.findall(annotation.value))
    return tuple(_NAME.findall(ast.unparse(annotation)))


def annotated(name: str, annotation: ast.AST) -> tuple[str, Expression]:
    """What an annotation says of a name, or of the items of the container it names."""
    found = names(annotation)
    said = [one.rpartition(".")[2] for one in found]
    if any(one in CONTAINERS for one in said[:2]):
        return f"{name}[]", (TYPE, found)
    return name, (TYPE, found)


def assignments(node: ast.AST) -> Iterable[tuple[str, Expression, ast.AST]]:
    """What a statement or call puts under which dotted name; `x[]` are the items of x."""
    if isinstance(node, (ast.Assign, ast.NamedExpr)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            if isinstance(target, (ast.Name, ast.Attribute)) and dotted(target):
                yield dotted(target), expression(node.value), node.value
            elif isinstance(target, ast.Subscript) and dotted(target):
                yield f"{dotted(target)}[]", expression(node.value), node.value
                yield f"{dotted(target)}[key]", expression(target.slice), target.slice
    elif isinstance(node, ast.AnnAssign) and isinstance(node.target, (ast.Name, ast.Attribute)):
        name = dotted(node.target)
        if name:
            yield *annotated(name, node.annotation), node.annotation
            if node.value is not None:
                yield name, expression(node.value), node.value
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        yield from _put(node.func, node.args)


def _put(
    called: ast.Attribute, arguments: list[ast.expr]
) -> Iterable[tuple[str, Expression, ast.AST]]:
    """`x.append(value)`, `x[key].add(value)`, `x.setdefault(key, ...).add(value)`."""
    holder: ast.AST = called.value
    if called.attr == "setdefault" and len(arguments) == 2 and dotted(holder):
        yield f"{dotted(holder)}[]", expression(arguments[1]), arguments[1]
    elif called.attr in _PUTS and arguments:
        if isinstance(holder, ast.Call) and isinstance(holder.func, ast.Attribute):
            holder = holder.func.value
        if dotted(holder):
            yield f"{dotted(holder)}[]", expression(arguments[-1]), arguments[-1]
