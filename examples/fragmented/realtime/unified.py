# SPDX-License-Identifier: Apache-2.0
"""The manager that was to replace the others."""

from fastapi import WebSocket


class UnifiedWebSocketManager:
    """Like WebSocketManager, but the message comes first."""

    def __init__(self) -> None:
        self.active_connections: dict[str, WebSocket] = {}

    async def connect(self, websocket: WebSocket, user_id: str) -> None:
        self.active_connections[user_id] = websocket

    async def disconnect(self, user_id: str) -> None:
        self.active_connections.pop(user_id, None)

    async def send_to_user(self, event: str, run_id: str, user_id: str) -> None:
        if user_id in self.active_connections:
            message = {"event": event, "data": {"run_id": run_id}, "timestamp": 0}
            await self.active_connections[user_id].send_json(message)


unified_manager = UnifiedWebSocketManager()
