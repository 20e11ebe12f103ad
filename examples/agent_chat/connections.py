# SPDX-License-Identifier: Apache-2.0
"""Live connections: who is connected where, and how a message reaches one user."""

import itertools
import logging
from collections.abc import Iterable

from fastapi import WebSocket, WebSocketDisconnect

from .runs import Message

logger = logging.getLogger(__name__)


class RouteTable:
    """Which sockets a user has open: one connection id per browser tab."""

    def __init__(self) -> None:
        self._ids = itertools.count()
        self._sockets: dict[int, WebSocket] = {}
        self._ids_of_user: dict[str, set[int]] = {}

    def new_id(self) -> int:
        return next(self._ids)

    def add(self, user_id: str, websocket: WebSocket) -> int:
        connection_id = self.new_id()
        self._sockets[connection_id] = websocket
        self._ids_of_user.setdefault(user_id, set()).add(connection_id)

        return connection_id

    def remove(self, user_id: str, connection_id: int) -> None:
        self._sockets.pop(connection_id, None)
        ids = self._ids_of_user.get(user_id, set())
        ids.discard(connection_id)

        if not ids:
            self._ids_of_user.pop(user_id, None)

    def is_connected(self, user_id: str) -> bool:
        return user_id in self._ids_of_user

    def sockets_of(self, user_id: str) -> list[WebSocket]:
        ids = self._ids_of_user.get(user_id, ())

        return [self._sockets[each] for each in ids if each in self._sockets]

    def all_sockets(self) -> list[WebSocket]:
        return list(self._sockets.values())


class ConnectionManager:
    """Accepts connections and delivers messages to users."""

    def __init__(self, routes: RouteTable) -> None:
        self.routes = routes

    async def connect(self, websocket: WebSocket, user_id: str) -> int:
        await websocket.accept()

        return self.routes.add(user_id, websocket)

    def disconnect(self, user_id: str, connection_id: int) -> None:
        self.routes.remove(user_id, connection_id)

    async def send_to_user(self, user_id: str, message: Message) -> int:
        """Deliver to every tab of this user; answers how many took it."""
        return await self._deliver(self.routes.sockets_of(user_id), message)

    async def broadcast(self, message: Message) -> int:
        return await self._deliver(self.routes.all_sockets(), message)

    async def _deliver(self, sockets: Iterable[WebSocket], message: Message) -> int:
        delivered = 0

        for websocket in sockets:
            try:
                await websocket.send_json(message)
                delivered += 1

            except (WebSocketDisconnect, RuntimeError):
                # The client is gone; its own endpoint is about to clean up.

                logger.debug("client gone while sending %s", message["type"])

        return delivered
