# SPDX-License-Identifier: Apache-2.0
"""A service whose messages name nobody: runs, threads, tasks and content tell whose they are.

Why it exists: each command does one thing right or wrong that only this evidence can show. What
a client is told is the user whose data each frame holds ("of"), in words the agent does not know.
"""

from __future__ import annotations

import asyncio
import json
import os
from itertools import count
from typing import Any

from fastapi import Depends, FastAPI, WebSocket, WebSocketDisconnect, WebSocketException
from starlette.requests import HTTPConnection  # noqa: TC002 (FastAPI reads annotations)

TOKENS: dict[str, str] = json.loads(os.environ["AGENT_CHAT_USERS"])
Message = dict[str, Any]

app = FastAPI()
sockets: dict[str, WebSocket] = {}
runs = count(1)  # guessable, as many are
threads: dict[str, str] = {}  # thread -> whose it is; nobody checks
memory: list[str] = []  # a cache that everybody shares
background: set[asyncio.Task[None]] = set()


class ConnectionManager:
    async def connect(self, websocket: WebSocket, user_id: str) -> None:
        await websocket.accept()
        sockets[user_id] = websocket

    async def send_to_user(self, user_id: str, message: Message) -> None:
        await sockets[user_id].send_json(message)

    async def send_event(self, message: Message, websocket: WebSocket) -> None:
        await websocket.send_json(message)

    async def broadcast(self, message: Message) -> None:
        for websocket in list(sockets.values()):
            await websocket.send_json(message)


manager = ConnectionManager()


async def current_user(connection: HTTPConnection) -> str:
    user = TOKENS.get(connection.query_params.get("token", ""))
    if user is None:
        raise WebSocketException(code=4401)
    return user


@app.get("/health")
async def health() -> str:
    return "ok"


class Commands:
    """What a client may ask of the service; `to` is another user."""

    async def run(self, me: str, to: str, _: Message) -> None:
        """A run of mine, begun by name; a later event goes wherever `to` says."""
        run_id = f"run-{next(runs)}"
        await manager.send_to_user(me, {"type": "started", "run_id": run_id, "of": me})
        await manager.send_event({"type": "step", "run_id": run_id, "of": me}, sockets[to or me])

    async def open(self, me: str, _: str, message: Message) -> None:
        """The thread the client asks for, whoever's it is."""
        thread = message["thread_id"]
        owner = threads.setdefault(thread, me)
        text = {"type": "history", "thread_id": thread, "of": owner}
        await sockets[me].send_json(text)

    async def echo(self, me: str, _: str, message: Message) -> None:
        for run_id in message["runs"]:
            await manager.send_to_user(me, {"type": "unknown", "run_id": run_id, "of": me})

    async def claim(self, me: str, _: str, message: Message) -> None:
        """Nothing: the client only names something."""

    async def result(self, me: str, to: str, _: Message) -> None:
        """What was worked out for me goes to whoever is in `to`: nobody is named."""
        await sockets[to].send_json({"type": "result", "of": me})

    async def work(self, me: str, to: str, _: Message) -> None:
        """The same from a task that goes on by itself."""
        task = asyncio.create_task(self.result(me, to, {}))
        background.add(task)
        await task

    async def dm(self, me: str, to: str, _: Message) -> None:
        await manager.send_to_user(to, {"type": "dm", "of": to})

    async def say(self, me: str, to: str, _: Message) -> None:
        """Without a manager, but it says who speaks."""
        await sockets[to].send_json({"type": "dm", "from": me, "conversation_id": "c-1", "of": to})

    async def all(self, me: str, _: str, __: Message) -> None:
        await manager.broadcast({"type": "joined", "of": "all"})

    async def remember(self, me: str, _: str, message: Message) -> None:
        memory[:] = [message["text"], me]

    async def recall(self, me: str, _: str, __: Message) -> None:
        text, owner = memory
        await manager.send_to_user(me, {"type": "answer", "text": text, "user_id": me, "of": owner})

    async def recall_raw(self, me: str, _: str, __: Message) -> None:
        await sockets[me].send_bytes(
            b"\x00\xff" + memory[0].encode() + b"\x00" + memory[1].encode()
        )


@app.websocket("/ws")
async def serve(websocket: WebSocket, current_user: str = Depends(current_user)) -> None:
    await manager.connect(websocket, current_user)
    commands = Commands()
    try:
        async for message in websocket.iter_json():
            done = getattr(commands, message["do"])
            await done(current_user, message.get("to", ""), message)
            if message["do"] != "work":
                await websocket.send_json({"type": "done", "user_id": current_user, "of": "all"})
    except WebSocketDisconnect:
        pass
    finally:
        sockets.pop(current_user, None)
