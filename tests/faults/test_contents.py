# SPDX-License-Identifier: Apache-2.0
"""Deliveries that have only their words in common with the call they come from.

Hubs here never pass an object on: they wrap, number and make text in a dispatcher of their own,
and a writer for each connection sends it.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.harness import Agent, Socket, agent
from ws_audit.model import OK

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator


@dataclass
class Envelope:
    user: str
    event: str
    body: Any


@dataclass
class Slotted:
    __slots__ = ("text", "title")
    title: str
    text: str


class Hub:
    """One inbox, one dispatcher, a queue and a writer for each connection; `astray` misleads."""

    def __init__(self) -> None:
        self.sockets: dict[str, Any] = {}
        self.inbox: asyncio.Queue[Any] = asyncio.Queue()
        self.queues: dict[str, asyncio.Queue[str]] = {}
        self.tasks: list[asyncio.Task[None]] = []
        self.astray: dict[str, list[str]] = {}
        self.number = 0

    def start(self) -> None:
        self.tasks.append(asyncio.create_task(self._route()))

    async def connect(self, websocket: Any, user_id: str) -> None:
        self.sockets[user_id] = websocket
        self.queues[user_id] = asyncio.Queue()
        self.tasks.append(asyncio.create_task(self._write(user_id)))

    async def _route(self) -> None:
        while True:
            users, event, body = await self.inbox.get()
            self.number += 1
            for user in users:
                frame = json.dumps({"type": event, "seq": self.number, "data": body}, default=vars)
                for name in self.astray.get(user, [user]):
                    self.queues[name].put_nowait(frame)
            self.inbox.task_done()

    async def _write(self, user_id: str) -> None:
        while True:
            frame = await self.queues[user_id].get()
            await self.sockets[user_id].send_text(frame)
            self.queues[user_id].task_done()

    async def send_to_user(self, user_id: str, message: dict[str, Any]) -> None:
        self.inbox.put_nowait(([user_id], "told", {"id": self.number, **message}))

    async def emit(self, user_id: str, event: str, body: dict[str, Any]) -> None:
        self.inbox.put_nowait(([user_id], event, dict(body)))

    async def push(self, user_id: str, envelope: Envelope) -> None:
        self.inbox.put_nowait(([user_id], envelope.event, envelope.body))

    async def notify(self, user_id: str, event: str, **fields: Any) -> None:
        self.inbox.put_nowait(([user_id], event, {**fields, "at": 7.5}))

    async def deliver(self, user_id: str, message: Any) -> None:
        body = {name: getattr(message, name) for name in message.__slots__}
        self.inbox.put_nowait(([user_id], "slots", body))

    async def publish(self, message: dict[str, Any]) -> None:
        self.inbox.put_nowait((list(self.sockets), "all", dict(message)))

    async def settle(self) -> None:
        await asyncio.sleep(0)
        await self.inbox.join()
        for queue in self.queues.values():
            await queue.join()

    def stop(self) -> None:
        for task in self.tasks:
            task.cancel()


class Notifier:
    """Per user; what it says goes through the hub's `publish`."""

    def __init__(self, hub: Hub, user_id: str) -> None:
        self.hub = hub
        self.user_id = user_id

    async def send(self, event: str, **fields: Any) -> None:
        await self.hub.push(self.user_id, Envelope(self.user_id, event, {"v": 1, **fields}))


@pytest.fixture
def audited() -> Iterator[Agent]:
    with agent() as made:
        made.patch(Hub, Notifier)
        yield made


def serve(
    hub: Hub, audited: Agent, script: Callable[[], Awaitable[None]], users: str = "ab"
) -> dict[str, Socket]:
    """Connect each user, each in a task of its own, and run the script in another."""
    sockets = {user: Socket() for user in users}

    async def main() -> None:
        hub.start()
        over = asyncio.Event()

        async def handler(user: str, socket: Socket) -> None:
            await hub.connect(socket, user)
            await over.wait()

        tasks = [
            asyncio.create_task(audited.run(lambda one, u=user: handler(u, one), socket))  # type: ignore[misc]
            for user, socket in sockets.items()
        ]
        while len(hub.sockets) < len(users):  # noqa: ASYNC110
            await asyncio.sleep(0)
        try:
            await script()
            await hub.settle()
        finally:
            over.set()
            await asyncio.gather(*tasks)
            hub.stop()

    asyncio.run(main())
    return sockets


def joined(audited: Agent) -> list[str]:
    return [one.manager.rpartition(":")[2] for one in audited.frames()]


INVOICE = {"title": "Invoice 2024-117 is due", "lines": [{"text": "Two chairs, oak", "price": 310}]}

WAYS: dict[str, Callable[[Hub, str], Awaitable[None]]] = {
    "spread": lambda hub, user: hub.send_to_user(user, dict(INVOICE)),
    "pair": lambda hub, user: hub.emit(user, "invoice", dict(INVOICE)),
    "envelope": lambda hub, user: hub.push(user, Envelope(user, "invoice", dict(INVOICE))),
    "keywords": lambda hub, user: hub.notify(user, "invoice", **INVOICE),
    "slots": lambda hub, user: hub.deliver(user, Slotted("Reminder", "Invoice 2024-117 is due")),
    "nested": lambda hub, user: Notifier(hub, user).send("invoice", **INVOICE),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_becomes_new_text_joins_its_call(audited: Agent, way: str) -> None:
    hub = Hub()
    serve(hub, audited, lambda: WAYS[way](hub, "a"))
    assert audited.verdicts() == ["match"]
    assert joined(audited) == ["Notifier" if way == "nested" else "Hub"]
    assert {key[-1]: n for key, n in audited.counted("sent").items()} == {OK: 1}


@pytest.mark.parametrize("way", WAYS)
def test_what_becomes_new_text_and_goes_astray_is_found(audited: Agent, way: str) -> None:
    hub = Hub()
    hub.astray["a"] = ["b"]
    serve(hub, audited, lambda: WAYS[way](hub, "a"))
    # A per-user object said it as well, when it was made: two witnesses.
    severity = "confirmed" if way == "nested" else "probable"
    assert audited.verdicts() == [f"argument_vs_connection:{severity}"]
