# SPDX-License-Identifier: Apache-2.0
"""The hub: everything that goes to a browser passes through one inbox and one dispatcher.

Producers (socket handlers, the matching engine, the scheduler, worker threads) put envelopes into
the inbox; the dispatcher finds the sessions an envelope is for and fills their queues; every
session has a writer that empties its own queue.
"""

import asyncio
import itertools
import json
import logging
from collections import defaultdict
from dataclasses import dataclass

from starlette.websockets import WebSocket

from traders import Trader, current_trader

log = logging.getLogger("desk.hub")


@dataclass(slots=True)
class Envelope:
    scope: str  # trader | tenant | topic | all
    target: str | None
    event: str
    body: dict


class Session:
    """One browser tab."""

    def __init__(
        self,
        websocket: WebSocket,
        trader: Trader,
        device: str,
        queue: asyncio.Queue | None = None,
        held: list[str] | None = None,
    ):
        self.websocket = websocket
        self.trader = trader
        self.device = device
        self.queue: asyncio.Queue[str] = queue or asyncio.Queue()
        self.held = held if held is not None else []
        self.paused = False
        self.topics: set[str] = set()

    def deliver(self, frame: str) -> None:
        if self.paused:
            self.held.append(frame)  # tab is in the background
        else:
            self.queue.put_nowait(frame)

    def reply(self, event: str, **body) -> None:
        """Answer to this tab's own request; not held back."""
        self.queue.put_nowait(json.dumps({"type": event, "data": body}))

    def resume(self) -> None:
        self.paused = False
        while self.held:
            self.queue.put_nowait(self.held.pop(0))

    async def write(self) -> None:
        while True:
            frame = await self.queue.get()
            await self.websocket.send_text(frame)


class Hub:
    def __init__(self) -> None:
        self.inbox: asyncio.Queue[Envelope] = asyncio.Queue()
        self.sessions: set[Session] = set()
        self.by_trader: dict[str, set[Session]] = defaultdict(set)
        self.topics: dict[str, set[Session]] = defaultdict(set)
        self.parked: dict[object, Session] = {}
        self._seq = itertools.count(1)

    # -- sessions ------------------------------------------------------------------------------

    @staticmethod
    def _parking(trader: Trader, device: str) -> object:
        return (trader.id, device)

    def attach(self, websocket: WebSocket, trader: Trader, device: str) -> Session:
        """A new session; if the same device was here a moment ago, with what it missed."""
        old = self.parked.pop(self._parking(trader, device), None)
        if old is not None:
            self.by_trader[old.trader.id].discard(old)
        session = Session(websocket, trader, device, queue=old.queue if old else None)
        self.sessions.add(session)
        self.by_trader[trader.id].add(session)
        return session

    def detach(self, session: Session) -> None:
        self.sessions.discard(session)
        for topic in session.topics:
            self.topics[topic].discard(session)
        self.by_trader[session.trader.id].discard(session)
        if not self.by_trader[session.trader.id]:
            # last tab is gone: keep collecting for a reconnect
            session.paused = False
            self.by_trader[session.trader.id].add(session)
            self.parked[self._parking(session.trader, session.device)] = session

    def join(self, session: Session, topic: str) -> None:
        session.topics.add(topic)
        self.topics[topic].add(session)

    # -- producers -----------------------------------------------------------------------------

    async def emit(self, event: str, body: dict, to: str | None = None) -> None:
        """To one trader: `to`, else whoever we are working for; from nowhere, to everybody."""
        to = to or current_trader.get()
        await self.inbox.put(Envelope("trader" if to else "all", to, event, body))

    async def publish(self, topic: str, event: str, body: dict) -> None:
        await self.inbox.put(Envelope("topic", topic, event, body))

    async def announce(self, tenant: str, event: str, body: dict) -> None:
        await self.inbox.put(Envelope("tenant", tenant, event, body))

    # -- dispatcher ----------------------------------------------------------------------------

    def audience(self, envelope: Envelope) -> list[Session]:
        match envelope.scope:
            case "trader":
                return list(self.by_trader.get(envelope.target, ()))
            case "tenant":
                return [s for s in self.sessions if s.trader.tenant == envelope.target]
            case "topic":
                return list(self.topics.get(envelope.target, ()))
            case _:
                return list(self.sessions)

    async def dispatch(self) -> None:
        while True:
            envelope = await self.inbox.get()
            frame = json.dumps(
                {"type": envelope.event, "seq": next(self._seq), "data": envelope.body}
            )
            for session in self.audience(envelope):
                session.deliver(frame)
