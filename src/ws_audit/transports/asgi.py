# SPDX-License-Identifier: Apache-2.0
"""ASGI: the application callable, wrapped where a server or a test client takes it.

Why it exists: this one point sees every WebSocket message of nine frameworks, whatever
protocol implementation the server uses, in exact order and bytes.

It must never alter a message or the scope, save for the cell it puts there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ws_audit.hooks.guard import asgi
from ws_audit.identity import CELL_KEY, Cell

if TYPE_CHECKING:
    from ws_audit.hooks.terms import Application, Failed, Message, Scope, Switch
    from ws_audit.model import Delivery
    from ws_audit.runtime import Runtime
    from ws_audit.sink import Sink

TRANSPORT = "asgi"


class Connection:
    """One WebSocket connection's traffic, told to the sink."""

    __slots__ = ("_cell", "_scope", "_sink")

    def __init__(self, sink: Sink, cell: Cell, scope: Scope) -> None:
        self._sink = sink
        self._cell = cell
        self._scope = scope

    def outbound(self, message: Message) -> Delivery | None:
        """A message to the server: judged if it is one to the client."""
        if message["type"] != "websocket.send":
            return None
        # Servers send `bytes` if both are there.
        content, text = message.get("bytes"), message.get("text")
        if content is not None or text is None:
            content = content or b""
            return self._sink.outbound(self._cell, self._scope, content, len(content))
        size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        return self._sink.outbound(self._cell, self._scope, text, size)

    def delivered(self, state: Delivery, error: BaseException | None) -> None:
        """The server took it, or raised."""
        self._sink.delivered(state, error)

    def inbound(self, message: Message) -> None:
        """A message from the server."""
        if message["type"] == "websocket.receive":
            text = message.get("text")
            content = message.get("bytes") if text is None else text
            if content:
                self._sink.inbound(self._cell, self._scope, content)

    def closed(self) -> None:
        """The application is done with the connection."""
        self._sink.close(self._cell)


def wrap(application: Application, sink: Sink, switch: Switch, failed: Failed) -> Application:
    """The application with every WebSocket connection's traffic seen by the sink."""

    def open_connection(scope: Scope) -> Connection | None:
        # A cell that is there already: wrapped twice, and the outer one sees everything.
        if scope["type"] != "websocket" or CELL_KEY in scope:
            return None
        cell = sink.open(TRANSPORT)
        scope[CELL_KEY] = cell
        return Connection(sink, cell, scope)

    return asgi(application, open_connection, switch, failed)


class TakeOver:
    """Around the method by which a server gets its application: takes it over afterwards.

    `attribute` is where the method's object keeps the application.
    """

    stage = "sink"

    def __init__(self, runtime: Runtime, attribute: str) -> None:
        self._runtime = runtime
        self._attribute = attribute

    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return args[0]

    def after(self, server: Any, result: Any, error: BaseException | None) -> None:
        if error is None:
            application = getattr(server, self._attribute)
            setattr(server, self._attribute, self._runtime.take(application))
