# SPDX-License-Identifier: Apache-2.0
"""Briefcase: keep documents, ask about them, and hear of what happens to your account."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import store
from accounts import Authentication, User, current_user
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

HOOK_KEY = os.environ.get("HOOK_KEY", "billing-to-briefcase")
Listener = Callable[[dict[str, Any]], Awaitable[None]]


class Feeds:
    """Who listens for which user, over WebSocket or server-sent events."""

    def __init__(self) -> None:
        self.listeners: dict[str, list[Listener]] = defaultdict(list)

    @contextlib.contextmanager
    def listening(self, user: User, listener: Listener) -> Any:
        self.listeners[user.id].append(listener)
        try:
            yield
        finally:
            self.listeners[user.id].remove(listener)
            if not self.listeners[user.id]:
                del self.listeners[user.id]

    async def push(self, user: User, message: dict[str, Any]) -> None:
        for listener in list(self.listeners.get(user.id, ())):
            await listener(message)

    async def presence(self) -> None:
        message = {"kind": "presence", "online": list(self.listeners)}
        for listener in [one for some in self.listeners.values() for one in some]:
            with contextlib.suppress(RuntimeError, WebSocketDisconnect):
                await listener(message)


feeds = Feeds()


async def watch_inbox(user: User, listener: Listener) -> None:
    while True:
        await listener(await store.next_in_inbox(user.id))


async def work_on_hooks() -> None:
    """Hooks of the billing service name the customer; their inbox gets the news."""
    while True:
        hook = await store.next_hook()
        news = {"kind": "news", "event": hook["event"], "customer": hook["customer"]}
        await store.deliver(hook["customer"], {**news, "text": hook["text"]})


async def show_history(user: User, socket: WebSocket) -> None:
    await socket.send_json({"kind": "loading", "what": "history"})
    text = await store.history(user.id)
    await socket.send_json({"kind": "history", "lines": text.splitlines()})


async def switch(phase: str, socket: WebSocket) -> None:
    """The operators' switch-over: writes wait between its begin and its end."""
    if phase == "begin":
        await store.hold_writes(20)
    else:
        await store.resume_writes()
    await socket.send_json({"kind": "switch", "phase": phase})


async def live(socket: WebSocket) -> None:
    await socket.accept()
    user = current_user.get()
    assert user is not None
    task: asyncio.Task[None] | None = None
    with feeds.listening(user, socket.send_json):
        inbox = asyncio.create_task(watch_inbox(user, socket.send_json))
        await feeds.presence()
        try:
            async for message in socket.iter_json():
                match message:
                    case {"do": "note", "text": str(text)}:
                        await store.remember(user.id, text)
                        await socket.send_json({"kind": "noted"})
                    case {"do": "history"}:
                        task = asyncio.create_task(show_history(user, socket))
                    case {"do": "switch", "phase": str(phase)} if user.role == "admin":
                        await switch(phase, socket)
                    case {"do": "ping"}:
                        await socket.send_json({"kind": "pong"})
                    case {"do": "stop"}:
                        if task is not None:
                            task.cancel()
                            await asyncio.wait([task])
                        await socket.send_json({"kind": "stopped"})
                    case {"do": "open", "document": int(number)}:
                        await socket.send_json(await opened(user, number))
                    case _:
                        await socket.send_json({"kind": "error", "error": "what?"})
        finally:
            tasks = [one for one in (task, inbox) if one is not None]
            for one in tasks:
                one.cancel()
            await asyncio.wait(tasks)
    await feeds.presence()


async def opened(user: User, number: int) -> dict[str, Any]:
    """A document; what the old system has brought in knows its owner by number or in capitals."""
    found = await store.document(number)
    if found.get("owner", "").lower() not in (user.id, str(user.number)):
        return {"kind": "error", "error": "no such document"}
    about = {"kind": "document", "document_id": number, "owner_id": found["owner"]}
    return {**about, "user_id": user.number, "text": found["text"][:400]}


async def events(request: Request) -> Response:
    user = current_user.get()
    assert user is not None
    queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def stream() -> AsyncIterator[str]:
        with feeds.listening(user, queue.put):
            yield 'data: {"kind": "open"}\n\n'
            while True:
                yield f"data: {json.dumps(await queue.get())}\n\n"

    return StreamingResponse(stream(), media_type="text/event-stream")


async def upload(request: Request) -> Response:
    user: User = request.scope["user"]
    owner = request.query_params.get("owner", user.id)  # imports keep the old spelling
    if owner.lower() not in (user.id, str(user.number)):
        return JSONResponse({"error": "not yours"}, 403)
    count = await store.client.incr(f"uploads:{user.id}")
    if count > 1000:
        return JSONResponse({"error": "quota"}, 429)
    text = (await request.body()).decode()
    number = await store.save_document({"owner": owner, "text": text})
    return JSONResponse({"document": number})


async def ask(request: Request) -> Response:
    """The question is answered on the asker's feed."""
    question = (await request.json())["text"]
    asked_by = request.scope["user"].id
    await store.remember(asked_by, question)
    answer = f"I have read your documents. On '{question}' they say nothing."
    user = current_user.get()
    assert user is not None
    await feeds.push(user, {"kind": "answer", "asked_by": asked_by, "text": answer})
    return JSONResponse({"asked": True})


async def billing_hook(request: Request) -> Response:
    if request.headers.get("x-hook-key") != HOOK_KEY:
        return JSONResponse({"error": "key"}, 403)
    await store.queue_hook(await request.json())
    return JSONResponse({"queued": True})


@contextlib.asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with store.running():
        worker = asyncio.create_task(work_on_hooks())
        yield
        worker.cancel()
        await asyncio.wait([worker])


app = Starlette(
    lifespan=lifespan,
    middleware=[Middleware(Authentication)],
    routes=[
        WebSocketRoute("/live", live),
        Route("/events", events),
        Route("/documents", upload, methods=["POST"]),
        Route("/questions", ask, methods=["POST"]),
        Route("/hooks/billing", billing_hook, methods=["POST"]),
    ],
)
