# SPDX-License-Identifier: Apache-2.0
from typing import Dict, List, Optional, Set

from fastapi import WebSocket, WebSocketDisconnect


class ConnectionManager:
    def __init__(self):
        # one user can have several tabs open
        self.active_connections: Dict[int, List[WebSocket]] = {}
        self.rooms: Dict[str, Set[int]] = {}

    async def connect(self, websocket: WebSocket, user_id: int):
        await websocket.accept()
        self.active_connections.setdefault(user_id, []).append(websocket)

    def disconnect(self, websocket: WebSocket, user_id: int):
        connections = self.active_connections.get(user_id, [])
        if websocket in connections:
            connections.remove(websocket)
        if not connections:
            self.active_connections.pop(user_id, None)
            for members in self.rooms.values():
                members.discard(user_id)

    def is_online(self, user_id: int) -> bool:
        return user_id in self.active_connections

    def join(self, room: str, user_id: int):
        self.rooms.setdefault(room, set()).add(user_id)

    def leave(self, room: str, user_id: int):
        self.rooms.get(room, set()).discard(user_id)

    async def send_personal_message(self, message: dict, user_id: int):
        for connection in list(self.active_connections.get(user_id, [])):
            await self._send(connection, message)

    async def broadcast(self, message: dict, exclude: Optional[int] = None):
        for user_id, connections in list(self.active_connections.items()):
            if user_id == exclude:
                continue
            for connection in list(connections):
                await self._send(connection, message)

    async def broadcast_to_room(self, room: str, message: dict, exclude: Optional[int] = None):
        for member in list(self.rooms.get(room, ())):
            if member != exclude:
                for connection in list(self.active_connections.get(member, [])):
                    await self._send(connection, message)

    async def _send(self, connection: WebSocket, message: dict):
        try:
            await connection.send_json(message)
        except (WebSocketDisconnect, RuntimeError):
            pass  # the endpoint cleans up


manager = ConnectionManager()


def room_members(room: str) -> List[int]:
    return sorted(manager.rooms.get(room, ()))
