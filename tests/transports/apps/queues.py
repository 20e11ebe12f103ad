# SPDX-License-Identifier: Apache-2.0
"""A hub and a broker that pass nothing on as it came: envelopes, one dispatcher, new text.

`DEFECT=astray`: every third message of alice's is put into bob's queue instead of hers, where
connections are looked up. No message names anybody.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from dataclasses import dataclass
from typing import Any

from fastapi import Depends, FastAPI, Header, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse

DEFECT = os.environ.get("DEFECT", "")


@dataclass
class Envelope:
    user: str
    event: str
    body: dict[str, Any]


class Looked:
    """Whose queue it is, and the defect."""

    def __init__(self) -> None:
        self.queues: dict[str, asyncio.Queue[str | None]] = {}
        self.number = 0

    def queue(self, user: str) -> asyncio.Queue[str | None]:
        self.number += 1
        if DEFECT == "astray" and user == "alice" and self.number % 3 == 0:
            user = "bob"
        return self.queues[user]


class SocketHub:
    """Sockets: an inbox of envelopes, a dispatcher, a writer for each connection."""

    def __init__(self) -> None:
        self.inbox: asyncio.Queue[Envelope] = asyncio.Queue()
        self.looked = Looked()

    async def connect(self, websocket: WebSocket, user_id: str) -> asyncio.Task[None]:
        await websocket.accept()
        queue = self.looked.queues[user_id] = asyncio.Queue()
        return asyncio.create_task(self._write(websocket, queue))

    async def _write(self, websocket: WebSocket, queue: asyncio.Queue[str | None]) -> None:
        while (frame := await queue.get()) is not None:
            await websocket.send_text(frame)
        await websocket.close()

    async def dispatch_all(self) -> None:
        while True:
            item = await self.inbox.get()
            queue = self.looked.queue(item.user)
            frame = {"type": item.event, "seq": self.looked.number, "data": item.body}
            queue.put_nowait(json.dumps(frame))

    async def send_to_user(self, user_id: str, event: str, body: dict[str, Any]) -> None:
        await self.inbox.put(Envelope(user_id, event, {"id": self.looked.number, **body}))


class StreamBroker:
    """Server-sent events: topics, and a queue for each listener."""

    def __init__(self) -> None:
        self.looked = Looked()

    def subscribe(self, user_id: str) -> asyncio.Queue[str | None]:
        return self.looked.queues.setdefault(user_id, asyncio.Queue())

    async def publish(self, channel: str, message: dict[str, Any]) -> None:
        queue = self.looked.queue(channel.removeprefix("user:"))
        queue.put_nowait(json.dumps({"n": self.looked.number, "payload": message}))


hub, broker = SocketHub(), StreamBroker()


@contextlib.asynccontextmanager
async def lifespan(_: FastAPI) -> Any:
    dispatcher = asyncio.create_task(hub.dispatch_all())
    yield
    dispatcher.cancel()


app = FastAPI(lifespan=lifespan)


def current_user(authorization: str = Header()) -> dict[str, str]:
    return {"user_id": authorization.removeprefix("Bearer ")}


USER = Depends(current_user)


@app.get("/health")
async def health() -> dict[str, bool]:
    return {"ready": True}


@app.get("/there")
async def there() -> int:
    return len(hub.looked.queues) + len(broker.looked.queues)


@app.websocket("/ws")
async def ws(websocket: WebSocket, user: dict[str, str] = USER) -> None:
    writer = await hub.connect(websocket, user["user_id"])
    with contextlib.suppress(WebSocketDisconnect):
        while True:
            await websocket.receive_text()
    await writer


@app.get("/stream")
async def stream(user: dict[str, str] = USER) -> StreamingResponse:
    queue = broker.subscribe(user["user_id"])

    async def lines() -> Any:
        while (text := await queue.get()) is not None:
            yield f"event: told\ndata: {text}\n\n"

    return StreamingResponse(lines(), media_type="text/event-stream")


@app.post("/hub/{user}")
async def to_hub(user: str, text: str) -> None:
    await hub.send_to_user(user, "told", {"text": text, "lines": [{"label": text[::-1]}]})


@app.post("/channel/{user}")
async def to_channel(user: str, text: str) -> None:
    await broker.publish(f"user:{user}", {"text": text})


@app.post("/end")
async def end() -> None:
    await asyncio.sleep(0.2)
    for queue in (*hub.looked.queues.values(), *broker.looked.queues.values()):
        queue.put_nowait(None)
