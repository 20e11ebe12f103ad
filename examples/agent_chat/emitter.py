# SPDX-License-Identifier: Apache-2.0
"""The five events a user sees of an agent run."""

from typing import Any

from .connections import ConnectionManager
from .outbox import OutboxRegistry
from .runs import AgentRun


class AgentEventEmitter:
    """Tells one user what one agent is doing."""

    def __init__(self, user_id: str, manager: ConnectionManager, outboxes: OutboxRegistry) -> None:
        self.user_id = user_id
        self._manager = manager
        self._outboxes = outboxes

    async def emit(self, event: str, run: AgentRun, **data: Any) -> None:
        await self._manager.send_to_user(self.user_id, run.message(event, **data))

    async def agent_started(self, run: AgentRun, agent: str) -> None:
        await self.emit("agent_started", run, agent=agent)

    async def agent_thinking(self, run: AgentRun, thought: str) -> None:
        await self.emit("agent_thinking", run, text=thought)

    async def tool_executing(self, run: AgentRun, tool: str, tool_call_id: str) -> None:
        await self.emit("tool_executing", run, tool=tool, tool_call_id=tool_call_id)

    async def tool_completed(self, run: AgentRun, tool_call_id: str, result: str) -> None:
        message = run.message("tool_completed", tool_call_id=tool_call_id, result=result)
        await self._outboxes.enqueue(run, message)

    async def agent_completed(self, run: AgentRun, answer: str) -> None:
        await self.emit("agent_completed", run, text=answer)
