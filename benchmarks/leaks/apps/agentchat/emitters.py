# SPDX-License-Identifier: Apache-2.0
"""The events of a run, for both generations of clients.

v1 (mobile, CLI): snake_case, pooled emitters. v2 (web): camelCase, one bridge per user.
"""

from __future__ import annotations

import time
from contextvars import ContextVar
from typing import Any, Protocol

from auth import UserExecutionContext
from managers import (
    IsolatedWebSocketManager,
    UnifiedWebSocketManager,
    create_user_manager,
    get_websocket_manager,
)
from runs import Run
from threads import threads


class Emitter(Protocol):
    async def emit(self, name: str, run: Run, **data: Any) -> None: ...


current_emitter: ContextVar[Emitter] = ContextVar("current_emitter")


async def _watchers(run: Run, event: dict[str, Any]) -> None:
    for viewer in run.viewers:
        await get_websocket_manager().send_to_user(viewer, event)


class UserEmitter:
    def __init__(self, user_id: str, manager: UnifiedWebSocketManager) -> None:
        self.user_id = user_id
        self.manager = manager

    async def emit(self, name: str, run: Run, **data: Any) -> None:
        event = {
            "type": name,
            "run_id": run.run_id,
            "thread_id": run.thread.thread_id,
            "timestamp": time.time(),
            "data": data,
        }
        run.events.append(event)
        if run.thread.shared:
            await self.manager.send_to_thread(run.thread.thread_id, event)
        else:
            await self.manager.send_to_user(self.user_id, event)
        await _watchers(run, event)


class EmitterPool:
    """Emitters are reused: creating one used to open a Redis channel."""

    def __init__(self) -> None:
        self._idle: list[UserEmitter] = []

    def acquire(self, user_id: str) -> UserEmitter:
        if self._idle:
            emitter = self._idle.pop()
            emitter.user_id = user_id
            return emitter
        return UserEmitter(user_id, get_websocket_manager())

    def release(self, emitter: Emitter) -> None:
        if isinstance(emitter, UserEmitter) and emitter not in self._idle:
            self._idle.append(emitter)


class AgentWebSocketBridge:
    def __init__(self, context: UserExecutionContext, manager: IsolatedWebSocketManager) -> None:
        self.context = context
        self.manager = manager

    async def emit(self, name: str, run: Run, **data: Any) -> None:
        event: dict[str, Any] = {
            "event": name,
            "runId": run.run_id,
            "threadId": run.thread.thread_id,
            "payload": data,
        }
        if name in ("agent_started", "agent_completed"):
            event["userId"] = run.user_id
        run.events.append(event)
        if run.thread.shared:
            await get_websocket_manager().send_to_thread(run.thread.thread_id, event)
        else:
            await self.manager.send_event(event)
        await _watchers(run, event)


emitter_pool = EmitterPool()
_bridges: dict[str, AgentWebSocketBridge] = {}


def get_emitter(context: UserExecutionContext) -> UserEmitter:
    return emitter_pool.acquire(context.user_id)


async def create_agent_bridge(context: UserExecutionContext) -> AgentWebSocketBridge:
    """The user's bridge; their devices share it."""
    if context.user_id not in _bridges:
        _bridges[context.user_id] = AgentWebSocketBridge(context, create_user_manager(context))
    return _bridges[context.user_id]


async def send_suggestion(user_id: str, thread_id: str, text: str) -> None:
    """A hint for whoever asked, made from what they had us remember."""
    suggestion = {"type": "suggestion", "thread_id": thread_id, "user_id": user_id, "text": text}
    await get_websocket_manager().send_to_user(user_id, suggestion)


async def send_message(user_id: str, thread_id: str, author: str, text: str) -> None:
    """A line of a thread, by a person or by the assistant."""
    role = "assistant" if author == "assistant" else "user"
    message = {
        "type": "thread_message",
        "thread_id": thread_id,
        "user_id": author,
        "author": {"id": author, "role": role},
        "content": text,
    }
    thread = threads.get(thread_id)
    if thread is not None:
        thread.messages.append({"role": role, "content": text})
    if thread is not None and thread.shared:
        await get_websocket_manager().send_to_thread(thread_id, message)
    else:
        await get_websocket_manager().send_to_user(user_id, message)
