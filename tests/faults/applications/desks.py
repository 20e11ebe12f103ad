# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
"""Each person has a desk of their own, before one common manager. `/leaky`: with one drawer."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import FastAPI, WebSocket, WebSocketDisconnect

app = FastAPI()


class ConnectionManager:
    def __init__(self) -> None:
        self.connections: dict[str, WebSocket] = {}
        self.history: list[Any] = []

    async def connect(self, websocket: WebSocket, user_id: str) -> None:
        await websocket.accept()
        self.connections[user_id] = websocket

    async def send_to_user(self, user_id: str, message: dict[str, Any]) -> None:
        self.history.append(message["text"])
        await self.connections[user_id].send_json(message)


class DeskEmitter:
    """As it should be: what is common is the manager's, what is the user's is the instance's."""

    sent = {"messages": 0}  # noqa: RUF012

    def __init__(self, user_id: str, manager: ConnectionManager) -> None:
        self.user_id = user_id
        self.manager = manager
        self.drawer: list[str] = []

    async def emit(self, text: str) -> None:
        self.sent["messages"] += 1
        self.drawer.append(text)
        await self.manager.send_to_user(
            self.user_id, {"type": "echo", "user_id": self.user_id, "text": text}
        )


class LeakyDeskEmitter(DeskEmitter):
    drawers: list[str] = []  # noqa: RUF012

    async def emit(self, text: str) -> None:
        self.drawers.append(text)
        await super().emit(text)


manager = ConnectionManager()


@app.get("/health")
async def health() -> dict[str, str]:
    return {}


@app.websocket("/{kind}/{name}")
async def desk(websocket: WebSocket, kind: str, name: str):
    await manager.connect(websocket, name)
    cls = LeakyDeskEmitter if kind == "leaky" else DeskEmitter
    emitter = cls(name, manager)
    try:
        while True:
            await emitter.emit(await websocket.receive_text())
            await asyncio.sleep(0)
    except WebSocketDisconnect:
        pass
