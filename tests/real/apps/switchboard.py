# SPDX-License-Identifier: Apache-2.0
"""A service made for being leaked from: every command says how to send, and to whom in truth.

Why it exists: the example's payloads name their owner, so a verdict that got its evidence from
somebody else's call would still be right. Here most messages name nobody: only the call says
whom they are for. And the service keeps a ledger of what it really did on each socket.

    {"way": "direct" | "queue" | "task" | "nested" | "plain", "text": ..., "wrong": bool}
    {"way": "storm", "count": N, "text": ...}

A message goes to a socket of the user who asked; a wrong one, through the defect, to one of
somebody else's. A storm goes to everybody's. Users come as in the example: AGENT_CHAT_USERS and a
token in the query.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from fastapi import Depends, FastAPI, WebSocket, WebSocketDisconnect, WebSocketException
from starlette.requests import HTTPConnection  # noqa: TC002 (FastAPI reads annotations)

TOKENS: dict[str, str] = json.loads(os.environ["AGENT_CHAT_USERS"])
Message = dict[str, Any]
CLEANS_UP_AFTER = 0.2  # so that for a while it sends to sockets whose client has gone


@dataclass
class Line:
    """What was tried for one owner on the connections of one recipient."""

    attempted: int = 0
    sent: int = 0
    sent_bytes: int = 0
    first_ns: int = 0
    last_ns: int = 0
    failures: dict[str, int] = field(default_factory=lambda: defaultdict(int))


ledger: dict[tuple[str, str], Line] = defaultdict(Line)


class ConnectionManager:
    """Sockets by user; `wrong` is the defect: the right user is named, another is served."""

    def __init__(self) -> None:
        self._sockets: dict[str, list[WebSocket]] = defaultdict(list)

    async def connect(self, websocket: WebSocket, user_id: str) -> None:
        await websocket.accept()
        self._sockets[user_id].append(websocket)

    def disconnect(self, websocket: WebSocket, user_id: str) -> None:
        self._sockets[user_id].remove(websocket)

    def pick(self, user_id: str, wrong: bool) -> tuple[str, WebSocket]:
        users = [each for each in self._sockets if (each != user_id) == wrong]
        served = random.choice([each for each in users if self._sockets[each]])
        return served, random.choice(self._sockets[served])

    async def send_to_user(self, user_id: str, message: Message, wrong: bool = False) -> None:
        await pause()
        served, websocket = self.pick(user_id, wrong)
        await deliver(websocket, user_id, served, message)

    async def notify_user(self, user_id: str, message: Message, wrong: bool = False) -> None:
        """A send inside a send, with time to be interrupted before and after."""
        await pause()
        await self.send_to_user(user_id, message, wrong)
        await pause()

    async def send_to_everybody_by_mistake(self, user_id: str, message: Message) -> None:
        for served, sockets in list(self._sockets.items()):
            for websocket in list(sockets):
                await deliver(websocket, user_id, served, message, raw=True)


class Outbox:
    """A queue with a writer task: what is sent there, nobody is inside a call any more."""

    def __init__(self, websocket: WebSocket, served: str) -> None:
        self._websocket = websocket
        self._served = served
        self._queue: asyncio.Queue[tuple[str, Message]] = asyncio.Queue()
        self.writer = asyncio.create_task(self._write())

    async def enqueue(self, user_id: str, message: Message) -> None:
        self._queue.put_nowait((user_id, message))

    async def _write(self) -> None:
        while True:
            owner, message = await self._queue.get()
            await pause()
            await deliver(self._websocket, owner, self._served, message)


async def deliver(
    websocket: WebSocket, owner: str, served: str, message: Message, raw: bool = False
) -> None:
    """The one place that sends; it writes down what came of it.

    Raw is past Starlette, which after one failure does not even try any more.
    """
    text = json.dumps(message, separators=(",", ":"), ensure_ascii=False)
    line = ledger[owner, served]
    line.attempted += 1
    line.last_ns = time.time_ns()
    line.first_ns = line.first_ns or line.last_ns
    try:
        if raw:
            await websocket._send({"type": "websocket.send", "text": text})
        else:
            await websocket.send_json(message)
    except (WebSocketDisconnect, RuntimeError, OSError) as error:
        line.failures[type(error).__name__] += 1
    else:
        line.sent += 1
        line.sent_bytes += len(text)


async def pause() -> None:
    await asyncio.sleep(random.choice((0, 0, 0.0005, 0.002)))


manager = ConnectionManager()
outboxes: dict[str, list[Outbox]] = defaultdict(list)
app = FastAPI()


async def current_user(connection: HTTPConnection) -> str:
    user = TOKENS.get(connection.query_params.get("token", ""))
    if user is None:
        raise WebSocketException(code=4401)
    return user


@app.get("/health")
async def health() -> str:
    return "ok"


@app.get("/ledger")
async def read_ledger() -> list[dict[str, Any]]:
    return [
        {"owner": owner, "recipient": served, **vars(line)}
        for (owner, served), line in ledger.items()
    ]


async def run(user: str, command: Message) -> None:
    way, wrong = command["way"], bool(command.get("wrong"))
    message: Message = {"type": "note", "text": command["text"]}
    if way == "direct":
        await manager.send_to_user(user, message, wrong)
    elif way == "nested":
        await manager.notify_user(user, message, wrong)
    elif way == "task":
        # The application forgets about it: the send happens after the call that began it.
        background.add(asyncio.create_task(manager.send_to_user(user, message, wrong)))
    elif way == "queue":
        users = [each for each in outboxes if (each != user) == wrong and outboxes[each]]
        await random.choice(outboxes[random.choice(users)]).enqueue(user, message)
    elif way == "plain":
        # No manager: only the payload says whose it is.
        served, websocket = manager.pick(user, wrong)
        await deliver(websocket, user, served, {**message, "user_id": user})
    elif way == "storm":
        for number in range(int(command["count"])):
            storm = {**message, "user_id": user, "number": number}
            await manager.send_to_everybody_by_mistake(user, storm)
            if number % 20 == 0:
                await asyncio.sleep(0)
        await deliver_end(user)


background: set[asyncio.Task[None]] = set()


async def deliver_end(user: str) -> None:
    await manager.send_to_user(user, {"type": "end", "text": "", "user_id": user})


@app.websocket("/ws")
async def switch(websocket: WebSocket, current_user: str = Depends(current_user)) -> None:
    await manager.connect(websocket, current_user)
    outbox = Outbox(websocket, current_user)
    outboxes[current_user].append(outbox)
    await websocket.send_json({"type": "welcome", "user_id": current_user})
    try:
        async for command in websocket.iter_json():
            background.add(asyncio.create_task(run(current_user, command)))
    except WebSocketDisconnect:
        pass
    finally:
        outbox.writer.cancel()
        await asyncio.sleep(CLEANS_UP_AFTER)
        manager.disconnect(websocket, current_user)
        outboxes[current_user].remove(outbox)
