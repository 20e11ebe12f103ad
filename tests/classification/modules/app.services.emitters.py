"""Emitters with a user's context, and what hands them out."""
from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from app_core import UserContext, get_websocket_manager


@dataclass(frozen=True)
class AgentEvent:  # other
    type: str
    run_id: str
    payload: dict[str, Any] = field(default_factory=dict)


class UserWebSocketEmitter:  # manager
    def __init__(self, context: UserContext, manager: Any) -> None:
        self.context = context
        self.manager = manager

    async def notify_agent_started(self, run_id: str, agent_name: str) -> None:
        await self.manager.send_to_user(
            self.context.user_id, {"type": "agent_started", "run_id": run_id, "agent": agent_name}
        )

    async def notify_tool_executing(self, run_id: str, tool: str) -> None:
        await self._send({"type": "tool_executing", "run_id": run_id, "tool": tool})

    async def _send(self, event: dict[str, Any]) -> None:
        await self.manager.send_to_user(self.context.user_id, event)


class AgentWebSocketBridge:  # manager
    """Between the agents of a run and the sockets of its user."""

    def __init__(self) -> None:
        self._runs: dict[str, str] = {}

    def register_run(self, run_id: str, user_id: str) -> None:
        self._runs[run_id] = user_id

    async def notify_agent_completed(self, run_id: str, result: Any) -> None:
        user_id = self._runs[run_id]
        await get_websocket_manager().send_to_user(user_id, {"run_id": run_id, "result": result})


class WebSocketEmitterPool:  # manager
    """Emitters that are kept for their users."""

    def __init__(self, size: int = 100) -> None:
        self.size = size
        self._emitters: dict[str, UserWebSocketEmitter] = {}
        self._lock = asyncio.Lock()

    async def acquire(self, context: UserContext) -> UserWebSocketEmitter:
        async with self._lock:
            if context.user_id not in self._emitters:
                self._emitters[context.user_id] = UserWebSocketEmitter(context, get_websocket_manager())
            return self._emitters[context.user_id]

    async def broadcast(self, event: dict[str, Any]) -> None:
        for emitter in self._emitters.values():
            await emitter._send(event)


class WebSocketEmitterFactory:  # manager
    @staticmethod
    def create_emitter(context: UserContext) -> UserWebSocketEmitter:
        return UserWebSocketEmitter(context, get_websocket_manager())


class RunState:  # other
    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.status = "pending"

    def transition(self, status: str) -> None:
        self.status = status


class EventFormatter:  # other
    def format(self, event: AgentEvent) -> str:
        return f"{event.type}:{event.run_id}"
