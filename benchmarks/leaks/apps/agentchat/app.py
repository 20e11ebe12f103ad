# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from agent import documents, memories, run_agent
from auth import UserExecutionContext, authenticate, request_user
from emitters import create_agent_bridge, get_emitter, send_message
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from managers import Notifier, create_user_manager, get_websocket_manager
from router import MessageRouter
from runs import Run, registry
from threads import Thread, threads

notifier = Notifier(get_websocket_manager())
executor = ThreadPoolExecutor(2, thread_name_prefix="jobs")


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    notifier.start(asyncio.get_running_loop())
    yield
    executor.shutdown(wait=False)


app = FastAPI(title="Agent chat", lifespan=lifespan)


def export_thread(user_id: str, job_id: str, thread: Thread) -> None:
    """Runs in a thread: rendering takes a while."""
    progress = {"type": "job_progress", "job_id": job_id}
    for percent in (30, 60, 90):
        notifier.notify({**progress, "percent": percent}, user_id)
    lines = [f"{message['role']}: {message['content']}" for message in thread.messages]
    notifier.notify({"type": "job_done", "job_id": job_id, "document": lines}, user_id)


class ChatSession:
    """One connection of one user."""

    def __init__(self, context: UserExecutionContext, version: int) -> None:
        self.context = context
        self.version = version
        self.manager = create_user_manager(context)

    def register(self, router: MessageRouter) -> None:
        router.add_handler("chat", self.chat)
        router.add_handler("approve", self.approve)
        router.add_handler("stop_run", self.stop_run)
        router.add_handler("resume_run", self.resume_run)
        router.add_handler("watch_run", self.watch_run)
        router.add_handler("create_thread", self.create_thread)
        router.add_handler("get_history", self.get_history)
        router.add_handler("upload", self.upload)
        router.add_handler("remember", self.remember)
        router.add_handler("export", self.export)

    async def error(self, text: str) -> None:
        await self.manager.send_event({"type": "error", "message": text})

    async def chat(self, message: dict[str, Any]) -> None:
        user_id = self.context.user_id
        thread = threads.default_for(user_id)
        if "thread_id" in message:
            found = threads.get_for_user(message["thread_id"], user_id)
            if found is None:
                await self.error("no such thread")
                return
            thread = found
        await send_message(user_id, thread.thread_id, user_id, message["text"])
        emitter = (
            await create_agent_bridge(self.context)
            if self.version == 2
            else get_emitter(self.context)
        )
        run_id = message.get("run_id") or f"run_{uuid.uuid4().hex[:16]}"
        run = Run(run_id, user_id, thread, emitter)
        registry.add(run)
        run.task = asyncio.create_task(run_agent(run, message["text"]))

    async def approve(self, message: dict[str, Any]) -> None:
        run = registry.latest(self.context.user_id, message["run_id"])
        if run is not None:
            run.approved.set()

    async def stop_run(self, message: dict[str, Any]) -> None:
        run = registry.latest(self.context.user_id, message["run_id"])
        if run is not None and run.task is not None:
            run.task.cancel()

    async def resume_run(self, message: dict[str, Any]) -> None:
        """What the client missed while it was away."""
        events = registry.events(self.context.user_id, message["run_id"])
        for event in events[message.get("after", 0) :]:
            await self.manager.send_event({**event, "replayed": True})

    async def watch_run(self, message: dict[str, Any]) -> None:
        """The support desk looks over a user's shoulder."""
        if "support" not in self.context.roles and message["user_id"] != self.context.user_id:
            await self.error("not allowed")
            return
        run = registry.latest(message["user_id"], message["run_id"])
        if run is None:
            await self.error("no such run")
            return
        for event in run.events:
            await self.manager.send_event(event)
        run.viewers.add(self.context.user_id)

    async def create_thread(self, message: dict[str, Any]) -> None:
        members = [self.context.user_id, *message.get("members", [])]
        thread = threads.create(message["title"], members)
        created = {
            "type": "thread_created",
            "thread_id": thread.thread_id,
            "title": thread.title,
            "created_by": self.context.user_id,
            "members": members,
        }
        await get_websocket_manager().send_to_thread(thread.thread_id, created)

    async def get_history(self, message: dict[str, Any]) -> None:
        thread = threads.get_for_user(message["thread_id"], self.context.user_id)
        if thread is None:
            await self.error("no such thread")
            return
        history = {
            "type": "thread_history",
            "thread_id": thread.thread_id,
            "messages": thread.messages,
        }
        await self.manager.send_event(history)

    async def upload(self, message: dict[str, Any]) -> None:
        documents.upload(self.context.user_id, message["text"])
        await self.manager.send_event({"type": "uploaded", "length": len(message["text"])})

    async def remember(self, message: dict[str, Any]) -> None:
        memories[self.context.user_id] = message["text"]
        await self.manager.send_event({"type": "remembered"})

    async def export(self, message: dict[str, Any]) -> None:
        thread = threads.default_for(self.context.user_id)
        job_id = f"job_{uuid.uuid4().hex[:16]}"
        await self.manager.send_event({"type": "job_started", "job_id": job_id})
        loop = asyncio.get_running_loop()
        loop.run_in_executor(executor, export_thread, self.context.user_id, job_id, thread)


@app.websocket("/ws/chat")
async def chat_endpoint(websocket: WebSocket, v: int = 1) -> None:
    context, subprotocol = await authenticate(websocket)
    if context is None:
        await websocket.close(4401)
        return
    request_user.set(context.user_id)
    manager = get_websocket_manager()
    connection_id = await manager.add_connection(context.user_id, websocket, subprotocol)
    session = ChatSession(context, v)
    router = MessageRouter()
    session.register(router)
    await websocket.send_json(
        {
            "type": "session_ready",
            "user_id": context.user_id,
            "connection_id": connection_id,
            "thread_id": threads.default_for(context.user_id).thread_id,
        }
    )
    try:
        while True:
            message = await websocket.receive_json()
            await router.route_message(context.user_id, websocket, message)
    except WebSocketDisconnect:
        pass
    finally:
        manager.remove_connection(context.user_id, connection_id)
