# SPDX-License-Identifier: Apache-2.0
"""An application with every shape of response a WebSocket service gives, written as teams do.

It knows nothing of any agent. Each route is one shape; what a route answers depends on
nothing but the route and what the client sent.
"""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

from fastapi import Depends, FastAPI, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse

UNICODE = "Zoë, Łukasz, 日本語, עברית, 👩‍👩‍👧‍👦 and \u0000 \u2028 \ufeff"
LARGE = 2 * 1024 * 1024


class ConnectionManager:
    """The usual first manager."""

    def __init__(self) -> None:
        self.active: dict[str, list[WebSocket]] = {}

    async def connect(self, websocket: WebSocket, user_id: str) -> None:
        await websocket.accept()
        self.active.setdefault(user_id, []).append(websocket)

    def disconnect(self, websocket: WebSocket, user_id: str) -> None:
        self.active[user_id].remove(websocket)

    async def send_personal_message(self, message: str, websocket: WebSocket) -> None:
        await websocket.send_text(message)

    async def send_to_user(self, user_id: str, message: dict[str, Any]) -> int:
        for websocket in self.active[user_id]:
            await websocket.send_json(message)
        return len(self.active[user_id])

    async def broadcast(self, message: str) -> None:
        for sockets in self.active.values():
            for websocket in sockets:
                await websocket.send_text(message)


class LoudManager(ConnectionManager):
    async def send_to_user(self, user_id: str, message: dict[str, Any]) -> int:
        return await super().send_to_user(user_id, {**message, "loud": True})


class EventEmitter:
    """Built per user; sends from tasks and through a queue."""

    def __init__(self, user_id: str, websocket: WebSocket) -> None:
        self.user_id, self.websocket = user_id, websocket
        self.queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

    def emit(self, event: str, data: dict[str, Any]) -> None:
        self.queue.put_nowait({"type": event, "user_id": self.user_id, "data": data})

    async def drain(self) -> None:
        while (item := await self.queue.get()) is not None:
            await self.websocket.send_json(item)

    async def send_later(self, number: int) -> asyncio.Task[None]:
        return asyncio.create_task(self.websocket.send_text(f"later {number}"))


class Splitting:
    """A middleware that sends every long text of one route in pieces."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "websocket" or scope["path"] != "/split":
            await self.app(scope, receive, send)
            return

        async def pieces(message: Any) -> None:
            text = message.get("text") or ""
            if message["type"] != "websocket.send" or len(text) <= 10:
                await send(message)
                return
            for begin in range(0, len(text), 10):
                await send({**message, "text": text[begin : begin + 10]})

        await self.app(scope, receive, pieces)


app = FastAPI()
manager = ConnectionManager()
loud = LoudManager()


@app.websocket("/text")
async def text(websocket: WebSocket) -> None:
    await websocket.accept()
    for part in ("hello", "", " ", "{", '{"user_id": "bob"}', UNICODE):
        await websocket.send_text(part)
    await websocket.close()


@app.websocket("/bytes")
async def binary(websocket: WebSocket) -> None:
    await websocket.accept()
    for part in (b"hello", b"", b"\x00\xff\xfe", bytes(range(256)), UNICODE.encode()):
        await websocket.send_bytes(part)
    await websocket.close()


@app.websocket("/json")
async def as_json(websocket: WebSocket) -> None:
    await websocket.accept()
    for part in ({"b": 1, "a": UNICODE}, [1, None, 1.5, float("inf")], "text", 5, None, {}):
        await websocket.send_json(part)
        await websocket.send_json(part, mode="binary")
    await websocket.close()


@app.websocket("/large")
async def large(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text("x" * LARGE)
    await websocket.send_bytes(random.Random(1).randbytes(LARGE))
    await websocket.send_json({"user_id": "alice", "rows": ["ä" * 100] * 5000})
    await websocket.close()


@app.websocket("/many")
async def many(websocket: WebSocket) -> None:
    await websocket.accept()
    for number in range(500):
        await websocket.send_text(str(number))
    await websocket.close()


@app.websocket("/echo")
async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    try:
        while True:
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                break
            await websocket.send({**message, "type": "websocket.send"})
    except WebSocketDisconnect:
        pass


@app.websocket("/split")
async def split(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text("0123456789" * 5 + "end")
    await websocket.close()


@app.websocket("/close/{code}")
async def close(websocket: WebSocket, code: int, reason: str = "") -> None:
    await websocket.accept()
    await websocket.send_text("last words")
    await websocket.close(code, reason)


@app.websocket("/refuse")
async def refuse(websocket: WebSocket) -> None:
    await websocket.close(4001)


@app.websocket("/deny")
async def deny(websocket: WebSocket) -> None:
    answer = JSONResponse({"why": "not today"}, 429, headers={"retry-after": "5"})
    await websocket.send_denial_response(answer)


@app.websocket("/raise/before")
async def raise_before(websocket: WebSocket) -> None:
    raise RuntimeError("before it was accepted")


@app.websocket("/raise/after")
async def raise_after(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text("so far")
    raise RuntimeError("after it was accepted")


@app.websocket("/raise/manager")
async def raise_in_manager(websocket: WebSocket) -> None:
    await manager.connect(websocket, "raising")
    try:
        await manager.send_to_user("raising", {"not": {"json", "able"}})
    except TypeError as error:
        await websocket.send_text(f"{type(error).__name__}: {error}")
    try:
        await manager.send_to_user("nobody", {})
    except KeyError as error:
        await websocket.send_text(f"{type(error).__name__}: {error}")
    await websocket.close()
    try:
        await manager.send_personal_message("too late", websocket)
    except RuntimeError:
        manager.disconnect(websocket, "raising")


@app.websocket("/subprotocol")
async def subprotocol(websocket: WebSocket) -> None:
    await websocket.accept("chat.v2", headers=[(b"x-served-by", b"shapes")])
    await websocket.send_text(str(websocket.scope["subprotocols"]))
    await websocket.close()


@app.websocket("/managed/{user_id}")
async def managed(websocket: WebSocket, user_id: str) -> None:
    await manager.connect(websocket, user_id)
    await manager.send_personal_message("hi", websocket)
    count = await manager.send_to_user(user_id, {"type": "ping", "user_id": "someone else"})
    await manager.broadcast(f"{count} here")
    loud.active[user_id] = [websocket]
    await loud.send_to_user(user_id, {"type": "message", "text": UNICODE})
    emitter = EventEmitter(user_id, websocket)
    writer = asyncio.create_task(emitter.drain())
    for number in range(5):
        emitter.emit("notification", {"n": number})
    emitter.queue.put_nowait(None)
    await writer
    for number in range(3):
        await (await emitter.send_later(number))
    manager.disconnect(websocket, user_id)
    await websocket.close(4000, "served")


@app.websocket("/scope/{item}")
async def scope(websocket: WebSocket, item: str) -> None:
    """What a handler can see of its connection; a key of the agent's is its only trace."""
    await websocket.accept()
    seen = {key for key in websocket.scope if not key.startswith("ws_audit")}
    await websocket.send_json(sorted(seen))
    await websocket.send_json([websocket.url.path, dict(websocket.query_params), item])
    await websocket.close()


def current_user(websocket: WebSocket) -> dict[str, str]:
    return {"id": websocket.query_params.get("as", "nobody")}


@app.websocket("/dependency")
async def dependency(websocket: WebSocket, user: Any = Depends(current_user)) -> None:  # noqa: B008
    await websocket.accept()
    await websocket.send_json(user)
    await websocket.close()


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "up"}


@app.post("/post")
async def post(request: Request) -> PlainTextResponse:
    body = await request.body()
    return PlainTextResponse(body[::-1], headers={"x-length": str(len(body))})


@app.get("/stream")
async def stream() -> StreamingResponse:
    async def parts() -> Any:
        for number in range(20):
            yield json.dumps({"n": number}) + "\n"
            await asyncio.sleep(0)

    return StreamingResponse(parts(), media_type="application/x-ndjson")


@app.get("/raise")
async def raise_http() -> None:
    raise RuntimeError("an error of the application")


app.add_middleware(Splitting)
