# SPDX-License-Identifier: Apache-2.0
"""The agents themselves. A real one would call a model; these think in milliseconds of sleep."""

import asyncio
import random
import uuid
from dataclasses import dataclass
from typing import Protocol

from .runs import AgentRun


@dataclass(frozen=True)
class AgentProfile:
    """A kind of agent; a stateless one remembers nothing between two runs."""

    name: str
    tool: str
    stateless: bool


PROFILES = {
    "assistant": AgentProfile("assistant", tool="calendar", stateless=False),
    "researcher": AgentProfile("researcher", tool="web_search", stateless=True),
}


class AgentObserver(Protocol):
    """Whoever wants to know how a run goes."""

    async def on_start(self, run: AgentRun) -> None: ...
    async def on_thought(self, run: AgentRun, thought: str) -> None: ...
    async def on_tool_start(self, run: AgentRun, tool: str, tool_call_id: str) -> None: ...
    async def on_tool_end(self, run: AgentRun, tool_call_id: str, result: str) -> None: ...
    async def on_finish(self, run: AgentRun, answer: str) -> None: ...


async def run_agent(profile: AgentProfile, run: AgentRun, observer: AgentObserver) -> None:
    await observer.on_start(run)
    await _work()
    await observer.on_thought(run, f"The question is: {run.prompt}")
    await _work()

    tool_call_id = str(uuid.uuid4())
    await observer.on_tool_start(run, profile.tool, tool_call_id)
    await _work()
    await observer.on_tool_end(run, tool_call_id, f"{profile.tool} found 3 entries")
    await _work()

    await observer.on_finish(run, f"Here is what I found on: {run.prompt}")


async def _work() -> None:
    await asyncio.sleep(random.uniform(0.001, 0.010))
