"""A production style manager with metadata, and the per-user variant."""
from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any

from app_core import models

if TYPE_CHECKING:
    from fastapi import WebSocket


class WSConnection:  # manager
    """One socket with what is known of it."""

    def __init__(self, websocket: WebSocket, user_id: str):
        self.id = uuid.uuid4().hex
        self.websocket = websocket
        self.user_id = user_id
        self.last_seen = time.time()

    async def send(self, message: dict[str, Any]) -> None:
        await self.websocket.send_json(message)

    async def close(self, code: int = 1000) -> None:
        await self.websocket.close(code)


class UnifiedWebSocketManager:  # manager
    def __init__(self) -> None:
        self._connections: dict[str, WSConnection] = {}

    async def register_connection(self, connection_id: str, user_id: str, ws: WebSocket) -> None:
        self._connections[connection_id] = WSConnection(ws, user_id)

    async def unregister_connection(self, connection_id: str) -> None:
        self._connections.pop(connection_id, None)

    async def emit_to_user(self, user_id: str, event: str, data: dict[str, Any]) -> int:
        sent = 0
        for connection in self._connections.values():
            if connection.user_id == user_id:
                await connection.send({"type": event, "data": data})
                sent += 1
        return sent

    async def emit_critical_event(self, user_id: str, event_type: str, data: dict[str, Any]) -> None:
        await self.emit_to_user(user_id, event_type, data)


class IsolatedManager(UnifiedWebSocketManager):  # manager
    """For one user."""

    def __init__(self, user_context: Any) -> None:
        super().__init__()
        self.user_context = user_context

    async def emit_critical_event(self, event_type: str, data: dict[str, Any]) -> None:
        await self.emit_to_user(self.user_context.user_id, event_type, data)


class ConnectionPoolSettings:  # other
    max_connections = 100
    idle_seconds = 300.0

    def validate(self) -> None:
        if self.max_connections < 1:
            raise ValueError("max_connections")
