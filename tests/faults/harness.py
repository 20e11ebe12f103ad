# SPDX-License-Identifier: Apache-2.0
"""A whole agent in one process without a server: real hooks, real sink, a fake transport.

Why it exists: what must not change around an application is easiest to see when nothing but
the agent is around it. Here a test plays the server; every record that would leave is kept.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from prometheus_client import CollectorRegistry

from ws_audit.classes.classify import (
    Method,
    Refused,
    Target,
    classify,
    method_kind,
    parameters,
    signature,
)
from ws_audit.configuration.settings import Settings
from ws_audit.facts.state import State
from ws_audit.model import CREATE, Call, Creation, Delivery
from ws_audit.outputs.metrics import Metrics
from ws_audit.principals.identity import CELL_KEY, Cell
from ws_audit.runtime import Runtime

Handler = Callable[["Socket"], Awaitable[None]]


class Kept:
    """The end of the drain: everything that was recorded."""

    def __init__(self) -> None:
        self.records: list[Any] = []

    def fold(self, record: Any) -> None:
        self.records.append(record)

    def tick(self, now_ns: int) -> None:
        """Nothing periodic."""


class Written:
    """Takes violations as the store would."""

    def __init__(self) -> None:
        self.recorded: list[Delivery] = []
        self.outcomes: list[Delivery] = []

    def record(self, delivery: Delivery) -> None:
        self.recorded.append(delivery)

    def outcome(self, delivery: Delivery) -> None:
        self.outcomes.append(delivery)


class Agent:
    """The agent's runtime with its ends in the hands of a test; no thread, file or port."""

    def __init__(self, **settings: Any) -> None:
        self.said: list[str] = []
        self.runtime = Runtime(
            Settings(**settings),
            self.said.append,
            lambda: None,
            lambda now_ns: None,
            self._unknown,
            list,
            State((), dict, 30),
        )
        self.kept = Kept()
        self.written = Written()
        self.runtime.sink.violations = self.written
        self.runtime.drain._stopping = True  # no worker: the test folds
        self.runtime.drain.outputs([self.kept])

    def patch(self, *classes: type, **kinds: str) -> None:
        """Take classes as managers; `kinds` (method=kind) hooks methods no rule would find."""
        for cls in classes:
            target = classify(cls, True)
            if isinstance(target, Refused):
                target = Target(cls.__module__, cls.__qualname__, "asked", ())
            methods = {method.name: method for method in target.methods}
            for name, kind in kinds.items():
                if name in cls.__dict__:
                    names = signature(cls.__dict__[name])[1:]
                    methods[name] = Method(name, kind, parameters(kind, name, names))
            module = sys.modules[cls.__module__]
            self.runtime.manager(cls, target._replace(methods=tuple(methods.values())), module)

    def _unknown(self, cls: type) -> None:
        target = classify(cls, True)
        if isinstance(target, Target):
            self.runtime.manager(cls, target, sys.modules[cls.__module__])

    def framework(self) -> None:
        """Hook Starlette's `send_json`, as a server's start would."""
        from starlette import websockets

        from ws_audit.transports import starlette

        starlette.install(websockets, self.runtime)

    def fastapi(self) -> None:
        """Hook FastAPI's dependency solving."""
        from fastapi import routing
        from fastapi.dependencies import utils

        from ws_audit.transports import fastapi

        fastapi.install(utils, self.runtime)
        fastapi.install(routing, self.runtime)

    def remove(self) -> None:
        self.runtime.installer.remove()

    # -- what it has seen -----------------------------------------------------------------

    def records(self) -> list[Any]:
        self.runtime.drain.fold()
        return self.kept.records

    def deliveries(self) -> list[Delivery]:
        return [one for one in self.records() if type(one) is Delivery]

    def frames(self) -> list[Delivery]:
        """Deliveries proper: no `rebound_connection` and the like."""
        return [
            one
            for one in self.deliveries()
            if one.verdict.rule not in ("rebound_connection", "inbound_vs_connection")
        ]

    def calls(self) -> list[Call]:
        return [one for one in self.records() if type(one) is Call]

    def creations(self) -> list[Creation]:
        return [one for one in self.records() if type(one) is Creation]

    def verdicts(self) -> list[str]:
        """What was said of each frame, in order: the verdict with its rule or reason."""
        return [told(one) for one in self.frames()]

    def counted(self, what: str) -> Counter[tuple[str, ...]]:
        """The tally's entries of one sort, without the sort."""
        found: Counter[tuple[str, ...]] = Counter()
        for key, amount in self.runtime.tally.total().items():
            if key[0] == what:
                found[key[1:]] += amount
        return found

    def page(self) -> dict[str, float]:
        """Every sample of the metrics page that is not 0."""
        registry = CollectorRegistry()
        metrics = Metrics(
            registry,
            self.runtime.tally,
            lambda: None,
            lambda: 0,
            lambda: self.runtime.installer.states,
            self.runtime.cpu_seconds,
            lambda key: ("", 0),
            lambda: 0,
            dict,
            "0",
            "observe",
        )
        metrics.collect()
        page: dict[str, float] = {}
        for family in registry.collect():
            for sample in family.samples:
                labels = ",".join(sample.labels[name] for name in sorted(sample.labels))
                if sample.value and not sample.name.endswith("_created"):
                    page[f"{sample.name}{{{labels}}}"] = sample.value
        return page

    # -- connections -------------------------------------------------------------------------

    def serve(self, handler: Handler, *connections: Socket) -> list[Socket]:
        """Serve each connection with `handler`, all at once, in a new event loop."""

        async def main() -> None:
            await asyncio.gather(*(self.run(handler, one) for one in connections))

        asyncio.run(main())
        return list(connections)

    async def run(self, handler: Handler, socket: Socket) -> None:
        """One connection from the server's side."""

        async def application(scope: Any, receive: Any, send: Any) -> None:
            socket.take(scope, receive, send)
            await handler(socket)

        await self.runtime.take(application)(
            socket.scope, socket.server_receive, socket.server_send
        )


class Socket:
    """A WebSocket as an application holds it, and the client's view of what arrived.

    `fails` raises in the server's send, `slow` makes it wait; both as a transport does.
    """

    def __init__(
        self,
        user: object = None,
        *,
        fails: BaseException | None = None,
        slow: float = 0.0,
        **scope: Any,
    ) -> None:
        self.scope: dict[str, Any] = {
            "type": "websocket",
            "path": "/ws",
            "query_string": b"",
            "headers": [],
            **scope,
        }
        if user is not None:
            self.scope["user"] = user
        self.fails = fails
        self.slow = slow
        self.arrived: list[Any] = []
        self.incoming: list[dict[str, Any]] = []

    @property
    def cell(self) -> Cell:
        cell = self.scope[CELL_KEY]
        assert type(cell) is Cell
        return cell

    # -- the server's side ------------------------------------------------------------------

    async def server_receive(self) -> dict[str, Any]:
        return self.incoming.pop(0) if self.incoming else {"type": "websocket.disconnect"}

    async def server_send(self, message: dict[str, Any]) -> None:
        if self.slow:
            await asyncio.sleep(self.slow)
        if self.fails is not None:
            raise self.fails
        if message["type"] == "websocket.send":
            text = message.get("text")
            self.arrived.append(message.get("bytes") if text is None else text)

    # -- the application's side ---------------------------------------------------------------

    def take(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        self.scope, self._receive, self._send = scope, receive, send

    async def accept(self) -> None:
        await self._send({"type": "websocket.accept"})

    async def send_text(self, text: str) -> None:
        await self._send({"type": "websocket.send", "text": text})

    async def send_bytes(self, data: bytes) -> None:
        await self._send({"type": "websocket.send", "bytes": data})

    async def receive(self) -> Any:
        return await self._receive()

    def starlette(self) -> Any:
        """The same connection as Starlette's class."""
        from starlette.websockets import WebSocket, WebSocketState

        websocket = WebSocket(self.scope, self._receive, self._send)
        websocket.client_state = websocket.application_state = WebSocketState.CONNECTED
        return websocket


def told(delivery: Delivery) -> str:
    verdict = delivery.verdict
    if verdict.rule:
        return f"{verdict.rule}:{verdict.severity}"
    return f"{verdict.verdict}:{verdict.reason}" if verdict.reason else verdict.verdict


@contextmanager
def agent(**settings: Any) -> Iterator[Agent]:
    """An agent for one test; its patches are gone afterwards."""
    made = Agent(**settings)
    try:
        yield made
    finally:
        made.remove()


def module_of(name: str, **values: Any) -> ModuleType:
    """A module that `sys.modules` knows, for classes that must be found by name."""
    module = ModuleType(name)
    vars(module).update(values)
    sys.modules[name] = module
    return module


__all__ = ["CREATE", "Agent", "Socket", "agent", "method_kind", "module_of", "told"]
