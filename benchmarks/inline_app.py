# SPDX-License-Identifier: Apache-2.0
"""A realtime backend reduced to one send: what the benchmarks run with and without the agent.

Why it exists: the call that is measured has to be an application's, on a real Starlette
WebSocket behind a real Starlette application.

It must never import anything of the agent, nor know that it is measured: it is loaded twice,
once under a name the agent audits and once under a name it leaves alone.
"""

from __future__ import annotations

from typing import Any

from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket  # noqa: TC002 - as applications do

Payload = dict[str, Any]


class ConnectionManager:
    """Keeps one connection per user and sends to it."""

    def __init__(self) -> None:
        self.connections: dict[str, WebSocket] = {}

    async def connect(self, websocket: WebSocket, user_id: str) -> None:
        await websocket.accept()
        self.connections[user_id] = websocket

    async def send_to_user(self, user_id: str, payload: Payload) -> None:
        await self.connections[user_id].send_json(payload)


def application(manager: Any) -> Starlette:
    """The application around a manager. A user's token is the user, which will do here."""

    async def endpoint(websocket: WebSocket) -> None:
        await manager.connect(websocket, websocket.headers["authorization"])
        async for _ in websocket.iter_text():
            pass

    return Starlette(routes=[WebSocketRoute("/ws", endpoint)])
