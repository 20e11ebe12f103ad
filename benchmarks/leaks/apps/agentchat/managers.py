# SPDX-License-Identifier: Apache-2.0
"""Connections: the unified manager, and the per-user and per-thread views of it."""

from __future__ import annotations

import asyncio
import logging
import uuid
from typing import Any, Protocol

from auth import UserExecutionContext
from starlette.websockets import WebSocket, WebSocketDisconnect
from threads import threads

logger = logging.getLogger(__name__)


class WebSocketManagerProtocol(Protocol):
    async def send_event(self, event: dict[str, Any]) -> int: ...


class UnifiedWebSocketManager:
    """All connections of this process."""

    def __init__(self) -> None:
        self._connections: dict[str, dict[str, WebSocket]] = {}

    async def add_connection(
        self, user_id: str, websocket: WebSocket, subprotocol: str | None = None
    ) -> str:
        await websocket.accept(subprotocol=subprotocol)
        connection_id = f"conn_{uuid.uuid4().hex[:12]}"
        self._connections.setdefault(user_id, {})[connection_id] = websocket
        return connection_id

    def remove_connection(self, user_id: str, connection_id: str) -> None:
        connections = self._connections.get(user_id, {})
        connections.pop(connection_id, None)
        if not connections:
            self._connections.pop(user_id, None)

    async def send_to_user(self, user_id: str, event: dict[str, Any]) -> int:
        """Number of connections the event was written to."""
        sent = 0
        for connection_id, websocket in list(self._connections.get(user_id, {}).items()):
            try:
                await websocket.send_json(event)
                sent += 1
            except (RuntimeError, WebSocketDisconnect):
                self.remove_connection(user_id, connection_id)
        return sent

    async def send_to_thread(self, thread_id: str, event: dict[str, Any]) -> int:
        """To everybody who takes part in the thread."""
        sent = 0
        for member in threads.members(thread_id):
            sent += await self.send_to_user(member, event)
        return sent

    async def broadcast(self, event: dict[str, Any]) -> int:
        sent = 0
        for user_id in list(self._connections):
            sent += await self.send_to_user(user_id, event)
        return sent


class IsolatedWebSocketManager:
    """What one user's code may see of the manager: only that user."""

    def __init__(self, context: UserExecutionContext, manager: UnifiedWebSocketManager) -> None:
        self.context = context
        self._manager = manager

    async def send_event(self, event: dict[str, Any]) -> int:
        sent = await self._manager.send_to_user(self.context.user_id, event)
        if not sent:
            logger.info("nobody there for %s", event.get("type") or event.get("event"))
        return sent


class Notifier:
    """Events that come from worker threads."""

    def __init__(self, manager: UnifiedWebSocketManager) -> None:
        self._manager = manager
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def notify(self, event: dict[str, Any], user_id: str | None = None) -> None:
        """Without a user the event is for all, e.g. maintenance."""
        assert self._loop is not None
        sending = (
            self._manager.send_to_user(user_id, event)
            if user_id is not None
            else self._manager.broadcast(event)
        )
        asyncio.run_coroutine_threadsafe(sending, self._loop).result(5)


_manager: UnifiedWebSocketManager | None = None


def get_websocket_manager() -> UnifiedWebSocketManager:
    global _manager
    if _manager is None:
        _manager = UnifiedWebSocketManager()
    return _manager


def create_user_manager(context: UserExecutionContext) -> IsolatedWebSocketManager:
    """A new one for each session."""
    return IsolatedWebSocketManager(context, get_websocket_manager())
