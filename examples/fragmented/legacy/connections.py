# SPDX-License-Identifier: Apache-2.0
"""The tutorial's manager, grown."""

from fastapi import WebSocket


class ConnectionManager:
    """All sockets, in the order they came."""

    def __init__(self) -> None:
        self.connections: list[tuple[str, WebSocket]] = []

    def connect(self, websocket: WebSocket, user_id: str) -> None:
        self.connections.append((user_id, websocket))

    def disconnect(self, user_id: str) -> None:
        self.connections = [one for one in self.connections if one[0] != user_id]

    async def send_personal_message(self, message: dict[str, str], user_id: str) -> None:
        for name, websocket in self.connections:
            if name == user_id:
                await websocket.send_json(message)


connection_manager = ConnectionManager()
