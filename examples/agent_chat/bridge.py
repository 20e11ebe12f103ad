# SPDX-License-Identifier: Apache-2.0
"""Between the agents, which know nothing of sockets, and the user, who sees only events."""

import asyncio
import logging

from .agent import PROFILES, AgentProfile, run_agent
from .auth import User
from .emitter import AgentEventEmitter
from .outbox import Outbox
from .runs import AgentRun, Message
from .services import Services
from .usage import UsageReporter

logger = logging.getLogger(__name__)


class RunEvents:
    """The observer of one run: hands every step of the agent to an emitter."""

    def __init__(self, emitter: AgentEventEmitter, profile: AgentProfile) -> None:
        self._emitter = emitter
        self._profile = profile

    async def on_start(self, run: AgentRun) -> None:
        await self._emitter.agent_started(run, self._profile.name)

    async def on_thought(self, run: AgentRun, thought: str) -> None:
        await self._emitter.agent_thinking(run, thought)

    async def on_tool_start(self, run: AgentRun, tool: str, tool_call_id: str) -> None:
        await self._emitter.tool_executing(run, tool, tool_call_id)

    async def on_tool_end(self, run: AgentRun, tool_call_id: str, result: str) -> None:
        await self._emitter.tool_completed(run, tool_call_id, result)

    async def on_finish(self, run: AgentRun, answer: str) -> None:
        await self._emitter.agent_completed(run, answer)


class AgentWebSocketBridge:
    """Starts the runs one connection asks for, and ends them with it."""

    def __init__(
        self, user: User, outbox: Outbox, reporter: UsageReporter, services: Services
    ) -> None:
        self._user = user
        self._outbox = outbox
        self._reporter = reporter
        self._services = services
        self._started = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def handle_message(self, message: Message) -> None:
        """Take one message of the client; a run goes on while the next one is read."""
        if message.get("type") != "user_message":
            logger.info("ignored a message of type %r", message.get("type"))
            return

        self._started += 1
        run = AgentRun(self._user.id, self._started, prompt=str(message.get("text", "")))
        profile = PROFILES.get(str(message.get("agent")), PROFILES["assistant"])
        task = asyncio.create_task(self._run(profile, run))
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    async def close(self) -> None:
        tasks = list(self._tasks)

        for task in tasks:
            task.cancel()

        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, profile: AgentProfile, run: AgentRun) -> None:
        emitter = self._services.emitters.emitter_for(run.user_id, profile)
        self._services.outboxes.assign(run, self._outbox)

        try:
            await run_agent(profile, run, RunEvents(emitter, profile))
        finally:
            self._services.outboxes.release(run)

        self._reporter.schedule(run)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)

        if not task.cancelled() and (error := task.exception()):
            logger.error("an agent run failed", exc_info=error)
