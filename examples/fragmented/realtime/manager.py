# SPDX-License-Identifier: Apache-2.0
"""The first manager."""

from fastapi import WebSocket


class WebSocketManager:
    """Which socket each user has, and what is sent there."""

    def __init__(self) -> None:
        self._sockets: dict[str, WebSocket] = {}

    def connect(self, user_id: str, websocket: WebSocket) -> None:
        self._sockets[user_id] = websocket

    def disconnect(self, user_id: str) -> None:
        self._sockets.pop(user_id, None)

    async def send_to_user(self, user_id: str, event: str, run_id: str) -> None:
        websocket = self._sockets.get(user_id)
        if websocket is not None:
            await websocket.send_json({"type": event, "run_id": run_id, "user_id": user_id})


manager = WebSocketManager()
