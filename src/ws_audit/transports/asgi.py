# SPDX-License-Identifier: Apache-2.0
"""ASGI: the application callable, wrapped where a server or a test client takes it.

Why it exists: this one point sees every WebSocket message of nine frameworks, whatever
protocol implementation the server uses, in exact order and bytes. Of HTTP it sees responses,
because some of them are streams of events.

It must never alter a message or the scope, save for the cell it puts there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ws_audit.hooks.guard import asgi
from ws_audit.messages import behalf
from ws_audit.principals.identity import CELL_KEY, Cell, current_request

from .sse import TRANSPORT as STREAM
from .sse import Stream

if TYPE_CHECKING:
    from ws_audit.hooks.terms import Application, Failed, Message, Scope, Switch
    from ws_audit.model import Delivery
    from ws_audit.runtime import Runtime
    from ws_audit.sink import Sink

TRANSPORT = "asgi"


class Connection:
    """One WebSocket connection's traffic, told to the sink."""

    __slots__ = ("_cell", "_scope", "_sink")

    hears = True

    def __init__(self, sink: Sink, cell: Cell, scope: Scope) -> None:
        self._sink = sink
        self._cell = cell
        self._scope = scope

    def outbound(self, message: Message) -> Delivery | None:
        """A message to the server: judged if it is one to the client."""
        cell = self._cell
        if message["type"] != "websocket.send" or cell.elsewhere:
            if message["type"] == "websocket.accept" and not cell.elsewhere:
                # Who authenticated is known by now, and needed where this task sends to others.
                self._sink.resolve(cell, cell.scope or self._scope)
            return None
        scope = cell.scope or self._scope
        # Servers send `bytes` if both are there.
        content, text = message.get("bytes"), message.get("text")
        if content is not None or text is None:
            content = content or b""
            return self._sink.outbound(cell, scope, content, len(content))
        size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        return self._sink.outbound(cell, scope, text, size)

    def delivered(self, state: Delivery, error: BaseException | None) -> None:
        """The server took it, or raised."""
        self._sink.delivered(state, error)

    def inbound(self, message: Message) -> None:
        """A message from the server."""
        cell = self._cell
        if message["type"] == "websocket.receive" and not cell.elsewhere:
            text = message.get("text")
            content = message.get("bytes") if text is None else text
            if content:
                self._sink.inbound(cell, cell.scope or self._scope, content)

    def closed(self) -> None:
        """The application is done with the connection."""
        if not self._cell.elsewhere:
            self._sink.close(self._cell)
        self._cell.scope = None


def wrap(application: Application, sink: Sink, switch: Switch, failed: Failed) -> Application:
    """The application with every connection's traffic seen by the sink."""

    def open_connection(scope: Scope) -> Connection | Stream | None:
        kind = scope["type"]
        # A cell that is there already: wrapped twice, and the outer one sees everything.
        if kind not in ("websocket", "http") or CELL_KEY in scope:
            return None
        if kind == "http":
            cell = scope[CELL_KEY] = Cell(0, STREAM)
            # Set anew for each: servers let what one request has set shine into the next.
            current_request.set((cell, scope))
            behalf.nobody()
            return Stream(sink, cell, scope)
        current_request.set(None)
        cell = scope[CELL_KEY] = sink.open(TRANSPORT)
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
