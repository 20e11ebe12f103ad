# SPDX-License-Identifier: Apache-2.0
"""Where a function gives a message to a socket, and where it has that socket from.

Why it exists: a frame that no manager sent is one that no rule of the manager holds for. Not each
is a fault: a server answers `ping`, and says why it closes, on the socket it was just given.

It must never take a client's own socket, which sends to somebody else's server, for one served.
"""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Final

from ws_audit import naming
from ws_audit.classes.classify import method_kind
from ws_audit.classes.signs import words
from ws_audit.model import BIND

from .expressions import assignments
from .facts import ATTRIBUTE, OWN, TABLE, Write
from .trees import Definitions, below, dotted, own, walk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

SENDS: Final = naming.SOCKET_SENDS - {"broadcast", "group_send"}
_SOCKET: Final = re.compile(
    rf"{naming.SOCKET_NAME}|(^|_)(ws|sockets?|conns?|connections?|clients?|peers?|viewers?"
    r"|subscribers?|listeners?|members?|players?)(_|$)"
)
_SURE: Final = re.compile(rf"{naming.SOCKET_NAME}|(^|_)(ws|sock(et)?)(_|$)")
SOCKET_TYPE: Final = re.compile(
    r"\b(WebSocket|WebSocketServerProtocol|ServerConnection|WebSocketResponse)\b"
)
_CONNECTS: Final = naming.CLIENT_CALLS | {"websocket_connect", "connect", "client"}
_JOINS: Final = re.compile(r"_?(add|join|subscribe)(_|$)")
_CONVERSES: Final = frozenset(
    {
        *("accept", "receive", "receive_json", "receive_text", "receive_bytes", "recv"),
        *("iter_json", "iter_text", "iter_bytes"),
    }
)
# Answers on a socket's own business, which are nobody else's.
_PROTOCOL: Final = re.compile(
    r"^(ping|pong|heartbeat|keep_?alive|ack\w*|error|auth\w*|subscri\w*|unsubscri\w*|connect(ed|ion\w*)"
    r"|welcome|hello|ready|close\w*)$",
    re.IGNORECASE,
)


def is_served(body: Iterable[ast.stmt], parameters: Mapping[str, str]) -> bool:
    """Whether a function holds the conversation on a socket it was given."""
    given = {name for name, annotation in parameters.items() if is_socket(name, annotation)}
    return bool(given) and any(
        isinstance(node, ast.Attribute)
        and node.attr in _CONVERSES
        and isinstance(node.value, ast.Name)
        and node.value.id in given
        for node in own(body)
    )


def is_registered(body: Iterable[ast.stmt], parameters: Mapping[str, str]) -> bool:
    """Whether a function gives a socket it was given to somebody who keeps it: others can reach
    the client by it, whom messages past them then miss."""
    given = {name for name, annotation in parameters.items() if is_socket(name, annotation)}
    for node in own(body) if given else ():
        if isinstance(node, ast.Call):
            verb = dotted(node.func).rpartition(".")[2]
            bound = method_kind(verb) == BIND or _JOINS.match(words(verb))
            taken = bound and isinstance(node.func, ast.Attribute)
            values: list[ast.AST] = []
            if taken:
                values += [*node.args, *(one.value for one in node.keywords)]
            values += [value for name, _, value in assignments(node) if name.endswith("[]")]
        else:
            values = [value for name, _, value in assignments(node) if name.endswith("]")]
        for value in values:
            if any(isinstance(one, ast.Name) and one.id in given for one in walk(value)):
                return True
    return False


def is_socket(name: str, annotation: str) -> bool:
    """Whether a parameter is a socket."""
    return bool(SOCKET_TYPE.search(annotation)) or (
        _SURE.search(words(name)) is not None and annotation in ("", "Any")
    )


def writes(
    body: Iterable[ast.stmt], parameters: Mapping[str, str], *, live: bool
) -> Iterator[Write]:
    """The writes in a function's own statements; `live`: its file shows real-time code."""
    statements = list(body)
    origins = _origins(statements)
    for node, block, handler in _calls(statements):
        if not isinstance(node.func, ast.Attribute):
            continue
        holder, verb = node.func.value, node.func.attr
        if verb not in SENDS and verb != "send":
            continue
        origin = _origin(holder, origins)
        if not origin or not _speaks(holder, verb, parameters, live=live):
            continue
        if origin == OWN and (handler or _excused(node, block)):
            continue
        yield Write(node.lineno, ast.unparse(holder), origin)


def _speaks(holder: ast.AST, verb: str, parameters: Mapping[str, str], *, live: bool) -> bool:
    """Whether what is sent to is a socket, by its name, its annotation or its file."""
    last = _last(holder)
    if SOCKET_TYPE.search(parameters.get(last, "")) or _SURE.search(words(last)):
        return True
    if verb == "send":
        return live and _SOCKET.search(words(last)) is not None and last not in parameters
    return live


def _last(node: ast.AST) -> str:
    while isinstance(node, (ast.Call, ast.Subscript, ast.Await)):
        if isinstance(node, ast.Call):
            node = node.func.value if isinstance(node.func, ast.Attribute) else node.func
        else:
            node = node.value
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _origin(holder: ast.AST, origins: Mapping[str, str]) -> str:
    if isinstance(holder, ast.Name):
        if holder.id in ("self", "cls", "super"):
            return ""
        return origins.get(holder.id, OWN)
    if isinstance(holder, (ast.Subscript, ast.Call)):
        return TABLE if _last(holder) not in ("super", "self") else ""
    if isinstance(holder, ast.Attribute):
        return ATTRIBUTE
    return ""


def _origins(statements: list[ast.stmt]) -> dict[str, str]:
    """Of each local name that may be a socket, where it comes from; empty: from a client."""
    found: dict[str, str] = {}
    for node in own(statements):
        if isinstance(node, (ast.For, ast.AsyncFor, ast.comprehension)):
            for name in walk(node.target):
                if isinstance(name, ast.Name):
                    found[name.id] = TABLE
        elif isinstance(node, (ast.With, ast.AsyncWith)):
            for item in node.items:
                if isinstance(item.optional_vars, ast.Name) and _is_client(item.context_expr):
                    found[item.optional_vars.id] = ""
        elif isinstance(node, (ast.Assign, ast.NamedExpr)):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Name):
                found[target.id] = _assigned(node.value, found)
    return found


def _assigned(value: ast.AST, found: Mapping[str, str]) -> str:
    if isinstance(value, ast.Await):
        value = value.value
    if isinstance(value, ast.Name):
        return found.get(value.id, OWN)
    if _is_client(value):
        return ""
    if isinstance(value, ast.Call):
        made = dotted(value.func).rpartition(".")[2]
        return OWN if made[:1].isupper() else TABLE
    return ATTRIBUTE if isinstance(value, ast.Attribute) else TABLE


def _is_client(value: ast.AST) -> bool:
    if isinstance(value, ast.Await):
        value = value.value
    return isinstance(value, ast.Call) and dotted(value.func).rpartition(".")[2] in _CONNECTS


def _excused(call: ast.Call, block: list[ast.stmt]) -> bool:
    """Whether it is the protocol's own business, or says why the socket is closed next."""
    for argument in call.args[:1]:
        for said in _said(argument):
            if _PROTOCOL.match(said):
                return True
    socket = dotted(call.func).rpartition(".")[0]
    later = [one for one in block if one.lineno > call.lineno]
    return any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "close"
        and socket
        and dotted(node.func.value) == socket
        for statement in later
        if isinstance(statement, ast.Expr)
        for node in walk(statement)
    )


def _said(argument: ast.AST) -> Iterator[str]:
    """The text, or what a dictionary's literal says it is."""
    if isinstance(argument, ast.Call) and argument.args:  # json.dumps({...})
        argument = argument.args[0]
    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
        yield argument.value
    elif isinstance(argument, ast.Dict):
        for key, value in zip(argument.keys, argument.values, strict=True):
            if isinstance(key, ast.Constant) and isinstance(value, ast.Constant):
                if key.value in (*naming.EVENT_FIELDS, "status") and isinstance(value.value, str):
                    yield value.value
                elif key.value == "error":
                    yield "error"
            elif isinstance(key, ast.Constant) and key.value == "error":
                yield "error"


def _calls(
    statements: list[ast.stmt], *, handler: bool = False
) -> Iterator[tuple[ast.Call, list[ast.stmt], bool]]:
    """Each call, with the block its statement stands in, and whether that handles an error."""
    for statement in statements:
        if isinstance(statement, Definitions):
            continue
        blocks: list[tuple[list[ast.stmt], bool]] = []
        for field in ("body", "orelse", "finalbody"):
            inner = getattr(statement, field, None)
            if isinstance(inner, list) and inner:
                blocks.append((inner, handler))
        blocks += [(one.body, True) for one in getattr(statement, "handlers", ())]
        blocks += [(one.body, handler) for one in getattr(statement, "cases", ())]
        for block, handles in blocks:
            yield from _calls(block, handler=handles)
        waiting = [
            node
            for node in below(statement)
            if not isinstance(node, (ast.stmt, ast.ExceptHandler, ast.match_case))
        ]
        while waiting:
            node = waiting.pop()
            if isinstance(node, ast.Call):
                yield node, statements, handler
            waiting += below(node)
