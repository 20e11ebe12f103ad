# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.websockets import WebSocket

logger = logging.getLogger(__name__)

Handler = Callable[[dict[str, Any]], Awaitable[None]]


class MessageRouter:
    """Client messages to their handlers, by type."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}

    def add_handler(self, message_type: str, handler: Handler) -> None:
        self._handlers[message_type] = handler

    async def route_message(
        self, user_id: str, websocket: WebSocket, message: dict[str, Any]
    ) -> None:
        handler = self._handlers.get(message.get("type", ""))
        if handler is None:
            logger.warning("no handler for %r of %s", message.get("type"), user_id)
            await websocket.send_json({"type": "error", "message": "unknown message type"})
            return
        await handler(message)
