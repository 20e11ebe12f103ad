# SPDX-License-Identifier: Apache-2.0
"""Queued delivery: tool results can be large, and a run must not wait until they are sent."""

import asyncio
import logging
from collections.abc import Hashable

from fastapi import WebSocket, WebSocketDisconnect

from .runs import AgentRun, Message

logger = logging.getLogger(__name__)


class Outbox:
    """The queue of one connection, emptied by a writer task."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self._queue: asyncio.Queue[Message] = asyncio.Queue(maxsize=100)
        self._writer = asyncio.create_task(self._write())

    async def enqueue(self, message: Message) -> None:
        # Nobody empties the queue of a client that is gone: waiting for room there never ends.

        if not self._writer.done():
            await self._queue.put(message)

    def close(self) -> None:
        self._writer.cancel()

    async def _write(self) -> None:
        while True:
            message = await self._queue.get()

            try:
                await self._websocket.send_json(message)
            except (WebSocketDisconnect, RuntimeError):
                logger.debug("client gone with %d messages queued", self._queue.qsize())
                return


class OutboxRegistry:
    """Which outbox the results of a run go to: that of the tab which asked."""

    def __init__(self) -> None:
        self._outboxes: dict[Hashable, Outbox] = {}

    def key(self, run: AgentRun) -> Hashable:
        return run.id

    def assign(self, run: AgentRun, outbox: Outbox) -> None:
        self._outboxes[self.key(run)] = outbox

    def release(self, run: AgentRun) -> None:
        self._outboxes.pop(self.key(run), None)

    async def enqueue(self, run: AgentRun, message: Message) -> None:
        outbox = self._outboxes.get(self.key(run))

        if outbox is None:
            logger.warning("no outbox for run %s", run.id)
            return

        await outbox.enqueue(message)
