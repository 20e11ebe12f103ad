"""By user, with rooms on top."""
import asyncio
import logging
from collections import defaultdict
from dataclasses import dataclass
from enum import Enum
from typing import Any, Dict, Optional, Set

from fastapi import WebSocket
from starlette.websockets import WebSocketState

logger = logging.getLogger(__name__)


class Channel(str, Enum):  # other
    CHAT = "chat"
    ALERTS = "alerts"


@dataclass
class ConnectionInfo:  # other
    connection_id: str
    user_id: str
    connected_at: float


class WebSocketManager:  # manager
    _instance: Optional["WebSocketManager"] = None

    def __new__(cls):
        if cls._instance is None:
            cls._instance = super().__new__(cls)
        return cls._instance

    def __init__(self):
        self.connections: Dict[str, Set[WebSocket]] = defaultdict(set)

    async def add_connection(self, user_id: str, ws: WebSocket) -> None:
        self.connections[user_id].add(ws)

    async def remove_connection(self, user_id: str, ws: WebSocket) -> None:
        self.connections[user_id].discard(ws)

    async def send_to_user(self, user_id: str, payload: Dict[str, Any]) -> bool:
        for ws in list(self.connections.get(user_id, ())):
            if ws.client_state is WebSocketState.CONNECTED:
                await ws.send_json(payload)
        return True


class RoomManager:  # manager
    def __init__(self, sockets: WebSocketManager):
        self.sockets = sockets
        self.members: Dict[str, Set[str]] = defaultdict(set)

    def join(self, room: str, user_id: str) -> None:
        self.members[room].add(user_id)

    def leave(self, room: str, user_id: str) -> None:
        self.members[room].discard(user_id)

    async def broadcast_to_room(self, room: str, payload: Dict[str, Any], exclude_user: str = ""):
        for user_id in self.members[room]:
            if user_id != exclude_user:
                await self.sockets.send_to_user(user_id, payload)


class Heartbeat:  # other
    """Watches how long a worker has been silent; speaks to nobody."""

    def __init__(self, interval: float = 30.0):
        self.interval = interval
        self._task: Optional[asyncio.Task] = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self.interval)
            logger.debug("alive")
