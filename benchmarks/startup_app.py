# SPDX-License-Identifier: Apache-2.0
"""A small realtime application whose start-up is measured: one route, one manager, one socket.

It must never import anything of an agent: which ones are there is read from `sys.modules`.
"""

from __future__ import annotations

import sys

from fastapi import FastAPI, WebSocket

AGENTS = ("ws_audit.runtime", "opentelemetry.instrumentation.fastapi", "ddtrace")


class ConnectionManager:
    """Keeps one connection per user and sends to it."""

    def __init__(self) -> None:
        self.connections: dict[str, WebSocket] = {}

    async def connect(self, websocket: WebSocket, user_id: str) -> None:
        await websocket.accept()
        self.connections[user_id] = websocket

    async def send_to_user(self, user_id: str, payload: dict[str, str]) -> None:
        await self.connections[user_id].send_json(payload)


manager = ConnectionManager()
app = FastAPI()


@app.get("/agents")
async def agents() -> list[str]:
    """Which agents are in this process."""
    return [name for name in AGENTS if name in sys.modules]


@app.websocket("/ws/{user_id}")
async def endpoint(websocket: WebSocket, user_id: str) -> None:
    await manager.connect(websocket, user_id)
    await manager.send_to_user(user_id, {"user_id": user_id})
