# SPDX-License-Identifier: Apache-2.0
"""What a run has cost, told in the background once the answer is out."""

import asyncio
import logging

from fastapi import WebSocket, WebSocketDisconnect

from .runs import AgentRun

logger = logging.getLogger(__name__)


class UsageReporter:
    """Sends usage summaries; nobody waits for them."""

    def __init__(self, websocket: WebSocket) -> None:
        self._current_websocket = websocket
        # asyncio keeps only weak references to tasks.

        self._tasks: set[asyncio.Task[None]] = set()

    def schedule(self, run: AgentRun) -> None:
        task = asyncio.create_task(self._report(run))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _report(self, run: AgentRun) -> None:
        await asyncio.sleep(0.002)  # the billing service would be asked here
        summary = run.message("usage_summary", tokens=len(run.prompt.split()), tool_calls=1)

        try:
            await self._current_websocket.send_json(summary)
        except (WebSocketDisconnect, RuntimeError):
            logger.debug("client gone before the usage of run %s", run.id)
