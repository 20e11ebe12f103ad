# SPDX-License-Identifier: Apache-2.0
"""Live connections: the one place that keeps them, and the one way to reach a user."""

from functools import cache

from fastapi import WebSocket


class ConnectionManager:
    """Which socket each user has, and what is sent there."""

    def __init__(self) -> None:
        self._sockets: dict[str, WebSocket] = {}

    async def connect(self, websocket: WebSocket, user_id: str) -> None:
        await websocket.accept()
        self._sockets[user_id] = websocket

    def disconnect(self, user_id: str) -> None:
        self._sockets.pop(user_id, None)

    async def send_to_user(self, user_id: str, event: str, run_id: str) -> None:
        websocket = self._sockets.get(user_id)
        if websocket is not None:
            await websocket.send_json({"type": event, "run_id": run_id, "user_id": user_id})

    async def broadcast(self, text: str) -> int:
        for websocket in list(self._sockets.values()):
            await websocket.send_json({"type": "notice", "text": text})
        return len(self._sockets)


@cache
def get_manager() -> ConnectionManager:
    """The manager."""
    return ConnectionManager()
