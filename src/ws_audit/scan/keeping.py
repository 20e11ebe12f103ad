# SPDX-License-Identifier: Apache-2.0
"""How many connections a class keeps, and what its methods look like from outside.

Why it exists: whoever keeps many people's connections and sends to them has a manager's duty,
whatever its name is. What keeps the one socket it was made with stands beside a manager, or in
its place.

It must never count a class for its name alone.
"""

from __future__ import annotations

import ast
import hashlib
import re
from typing import TYPE_CHECKING, Final

from ws_audit import naming
from ws_audit.classes.signs import words

from .expressions import CONTAINERS, assignments, names
from .facts import MANY, NO, ONE, Class, Expression, Method
from .shapes import Shape, methods_of
from .sockets import SENDS, SOCKET_TYPE, is_socket
from .trees import Functions, decorators, dotted, walk

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_ROOMS: Final = frozenset({"room", "to", "skip_sid", "namespace"})
_DOUBLE: Final = re.compile(naming.NOT_MANAGER_CLASS)
_GIVES: Final = re.compile(r"(send|write|emit|push|publish)(_\w+)?$|sendMessage$")
_EMITTER: Final = re.compile(r"(^|_)(sio|socket_?io|server|io)(_|$)")
_PUTTING: Final = (ast.Assign, ast.AnnAssign, ast.NamedExpr, ast.Call)


def kept_by(tree: ast.Module, shaped: Mapping[int, tuple[str, Shape]]) -> Iterator[Class]:
    """The classes of a file that has been looked at for managers."""
    for node in walk(tree):
        if isinstance(node, ast.ClassDef) and node.lineno in shaped:
            qualname, shape = shaped[node.lineno]
            look = _Look(node)
            yield Class(
                qualname,
                node.lineno,
                tuple(name for name in map(dotted, node.bases) if name),
                shape.taken,
                shape.endpoint,
                look.abstract,
                _DOUBLE.search(words(node.name)) is not None,
                look.keeps(),
                look.emits,
                look.queues,
                look.delivers,
                tuple(_method(one, shape) for one in methods_of(node)),
                look.attributes,
                _digest(node) if shape.taken or look.delivers else "",
            )


class _Look:
    """One class statement, and what its methods put where."""

    def __init__(self, node: ast.ClassDef) -> None:
        self.attributes: dict[str, tuple[Expression, ...]] = {}
        self.emits = self.queues = self.abstract = self.delivers = False
        self._sockets: set[str] = set()  # attributes, or "x[]" for the items of x
        self._queues: set[str] = set()
        for statement in node.body:
            if not isinstance(statement, (ast.ClassDef, *Functions)):
                self._put(statement, set(), "")
        for method in methods_of(node):
            self._method(method)

    def keeps(self) -> str:
        """Many connections, one, or none."""
        if any(name.endswith("[]") for name in self._sockets | self._queues):
            return MANY
        return ONE if self._sockets else NO

    def _method(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        if any("abstract" in one for one in decorators(node)):
            self.abstract = True
        arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
        sockets = {
            one.arg
            for one in arguments
            if is_socket(one.arg, ast.unparse(one.annotation) if one.annotation else "")
        }
        self._delivered(node)
        made_here: set[str] = set()  # queues, and things made of sockets
        for inner in walk(node):
            if isinstance(inner, (ast.Assign, ast.NamedExpr)):
                target = inner.targets[0] if isinstance(inner, ast.Assign) else inner.target
                if isinstance(target, ast.Name) and inner.value is not None:
                    if _is_queue(inner.value):
                        made_here.add(target.id)
                    elif _mentions(inner.value, sockets) and isinstance(
                        inner.value, (ast.Tuple, ast.Dict, ast.Call)
                    ):
                        sockets.add(target.id)
            if isinstance(inner, _PUTTING):
                self._put(inner, sockets, node.name, made_here)
            if isinstance(inner, ast.Call):
                self._called(inner)

    def _put(
        self,
        node: ast.AST,
        sockets: set[str],
        method: str,
        queues: set[str] | None = None,
    ) -> None:
        for target, known, value in assignments(node):
            holder, _, name = target.partition(".") if method else ("self", "", target)
            if holder not in ("self", "cls"):
                continue
            plain = name.removesuffix("[key]").removesuffix("[]")
            if not name.endswith("[key]"):
                self.attributes[name] = (*self.attributes.get(name, ()), known)
            if name.endswith("]"):
                if _mentions(value, sockets):
                    self._sockets.add(f"{plain}[]")
                if _mentions(value, queues or set()) or _is_queue(value):
                    self._queues.add(f"{plain}[]")
            elif isinstance(value, ast.Name) and value.id in sockets:
                self._sockets.add(plain)
        if isinstance(node, ast.AnnAssign) and SOCKET_TYPE.search(ast.unparse(node.annotation)):
            name = dotted(node.target).removeprefix("self.").removeprefix("cls.")
            said = {one.rpartition(".")[2] for one in names(node.annotation)}
            if name and "." not in name and (not method or dotted(node.target) != name):
                self._sockets.add(f"{name}[]" if said & CONTAINERS else name)

    def _delivered(self, method: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        """`for client in self.clients: await client.send_text(...)`, whoever filled them."""
        taken_from: dict[str, set[str]] = {}  # local name -> attributes of self
        for node in walk(method):
            if isinstance(node, (ast.For, ast.AsyncFor, ast.comprehension)):
                targets, source = [node.target], node.iter
            elif isinstance(node, ast.Assign):
                targets, source = node.targets, node.value
            else:
                continue
            named = [one for target in targets for one in walk(target)]
            for one in named:
                if isinstance(one, ast.Name):
                    taken_from.setdefault(one.id, set()).update(_kept(source, taken_from))
        for node in walk(method):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                self._given(node.func, _kept(node.func.value, taken_from))
                if dotted(node.func) == "websockets.broadcast" and node.args:
                    self._sockets |= {f"{one}[]" for one in _kept(node.args[0], taken_from)}
                    self.delivers = True

    def _given(self, called: ast.Attribute, kept: set[str]) -> None:
        holder: ast.AST = called.value
        item = isinstance(holder, (ast.Name, ast.Subscript, ast.Call)) or (
            isinstance(holder, ast.Attribute) and dotted(holder).partition(".")[0] != "self"
        )
        if kept and item and _GIVES.match(called.attr):
            self.delivers = True
            if called.attr in SENDS:
                self._sockets |= {f"{name}[]" for name in kept}

    def _called(self, node: ast.Call) -> None:
        if not isinstance(node.func, ast.Attribute):
            return
        holder = words(dotted(node.func.value).rpartition(".")[2])
        if node.func.attr == "group_send" or (
            node.func.attr in ("emit", "send")
            and _EMITTER.search(holder)
            and {one.arg for one in node.keywords} & _ROOMS
        ):
            self.emits = True
        if node.func.attr in ("put", "put_nowait"):
            self.queues = True


def _kept(node: ast.AST, taken_from: Mapping[str, set[str]]) -> set[str]:
    """The attributes of self that a value comes from."""
    found: set[str] = set()
    for one in walk(node):
        if isinstance(one, ast.Attribute) and dotted(one.value) in ("self", "cls"):
            found.add(one.attr)
        elif isinstance(one, ast.Name):
            found |= taken_from.get(one.id, set())
    return found


def _is_queue(value: ast.AST) -> bool:
    return isinstance(value, ast.Call) and dotted(value.func).rpartition(".")[2].endswith("Queue")


def _mentions(value: ast.AST, wanted: set[str]) -> bool:
    return bool(wanted) and any(
        isinstance(one, ast.Name) and one.id in wanted for one in walk(value)
    )


def _method(node: ast.FunctionDef | ast.AsyncFunctionDef, shape: Shape) -> Method:
    arguments = [
        one.arg for one in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
    ]
    if "staticmethod" not in decorators(node):
        arguments = arguments[1:]
    return Method(
        node.name,
        shape.kinds.get(node.name) or "",
        isinstance(node, ast.AsyncFunctionDef),
        tuple(arguments),
    )


def _digest(node: ast.ClassDef) -> str:
    """The same for two classes whose code differs in nothing but local names and texts."""
    parts: list[str] = []
    for one in walk(node):
        if isinstance(one, Functions):
            parts.append(one.name)
        elif isinstance(one, ast.Attribute):
            parts.append(one.attr)
        elif isinstance(one, ast.Constant):
            continue
        parts.append(type(one).__name__)
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=8).hexdigest()
