# SPDX-License-Identifier: Apache-2.0
"""A service whose messages name other people than their recipient, mostly on purpose.

Why it exists: crews, charts, followers and pooled messengers look like leaks. Beside each stands
the leak it looks like, behind a command of its own.
"""

from __future__ import annotations

import json
import os
from typing import Any

from fastapi import Depends, FastAPI, WebSocket, WebSocketDisconnect, WebSocketException
from starlette.requests import HTTPConnection  # noqa: TC002 (FastAPI reads annotations)

TOKENS: dict[str, str] = json.loads(os.environ["AGENT_CHAT_USERS"])
Message = dict[str, Any]

app = FastAPI()
crews: dict[str, list[str]] = {"crew-7": ["bob", "ann", "eve"]}


class ConnectionManager:
    def __init__(self) -> None:
        self.sockets: dict[str, WebSocket] = {}

    async def connect(self, websocket: WebSocket, user_id: str) -> None:
        await websocket.accept()
        self.sockets[user_id] = websocket

    async def send_to_user(self, user_id: str, message: Message) -> None:
        await self.sockets[user_id].send_json(message)

    async def send_to_thread(self, thread_id: str, message: Message) -> None:
        for user in crews[thread_id]:
            await self.send_to_user(user, message)


manager = ConnectionManager()


class Messenger:
    """Made for one user, and given to the next by the pool."""

    def __init__(self, user_id: str) -> None:
        self.user_id = user_id

    async def emit(self, message: Message) -> None:
        await manager.send_to_user(self.user_id, message)


pool: list[Messenger] = []


def borrow(user: str) -> Messenger:
    messenger = pool.pop() if pool else Messenger(user)
    messenger.user_id = user
    return messenger


async def current_user(connection: HTTPConnection) -> str:
    user = TOKENS.get(connection.query_params.get("token", ""))
    if user is None:
        raise WebSocketException(code=4401)
    return user


@app.get("/health")
async def health() -> str:
    return "ok"


class Commands:
    async def sail(self, me: str, _: Message) -> None:
        """All of the crew hear of it, and whose idea it was."""
        await manager.send_to_thread("crew-7", {"type": "sail", "user_id": me})

    async def report(self, me: str, _: Message) -> None:
        messenger = borrow(me)
        await messenger.emit({"type": "report", "text": f"for {me}"})
        pool.append(messenger)

    async def follow(self, me: str, message: Message) -> None:
        await manager.send_to_user(me, {"type": "following", "user_id": message["user_id"]})

    async def chart(self, me: str, _: Message) -> None:
        """It is Ann's, and everybody draws in it; no manager knows of it."""
        await manager.sockets[me].send_json({"type": "chart", "doc": "chart-1", "owner_id": "ann"})

    async def diary(self, me: str, _: Message) -> None:
        """Ann's, to whoever asks."""
        await manager.send_to_user(me, {"type": "diary", "user_id": "ann"})

    async def misdirected(self, me: str, _: Message) -> None:
        """For Ann, but written into the socket of whoever asks."""
        swapped, manager.sockets["ann"] = manager.sockets["ann"], manager.sockets[me]
        try:
            await manager.send_to_user("ann", {"type": "letter", "user_id": "ann", "room": "r-1"})
        finally:
            manager.sockets["ann"] = swapped


@app.websocket("/ws")
async def serve(websocket: WebSocket, current_user: str = Depends(current_user)) -> None:
    await manager.connect(websocket, current_user)
    commands = Commands()
    try:
        async for message in websocket.iter_json():
            await getattr(commands, message["do"])(current_user, message)
            await websocket.send_json({"type": "done", "user_id": current_user})
    except WebSocketDisconnect:
        pass
