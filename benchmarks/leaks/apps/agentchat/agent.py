# SPDX-License-Identifier: Apache-2.0
"""The agent: memory, model client, tools, and the run itself."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from emitters import current_emitter, emitter_pool, send_message, send_suggestion
from runs import Run

logger = logging.getLogger(__name__)


class ModelConnection:
    """One multiplexed stream to the model server: answers come in the order of the prompts."""

    def __init__(self) -> None:
        self._prompts: asyncio.Queue[str] = asyncio.Queue()
        self._answers: asyncio.Queue[str] = asyncio.Queue()
        self._server = asyncio.create_task(self._serve())

    async def _serve(self) -> None:
        while True:
            prompt = await self._prompts.get()
            await asyncio.sleep(min(0.5, 0.01 * len(prompt.split())))
            await self._answers.put(f"You told me: {prompt}")

    async def complete(self, prompt: str) -> str:
        await self._prompts.put(prompt)
        return await self._answers.get()

    def close(self) -> None:
        self._server.cancel()


class ModelClient:
    def __init__(self) -> None:
        self._idle: list[ModelConnection] = []

    async def complete(self, prompt: str) -> str:
        connection = self._idle.pop() if self._idle else ModelConnection()
        try:
            answer = await connection.complete(prompt)
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)
        return answer


class DocumentTool:
    """Full-text search over the user's uploads."""

    def __init__(self) -> None:
        self._documents: dict[str, list[str]] = {}
        self._cache: dict[Any, list[str]] = {}

    def upload(self, user_id: str, text: str) -> None:
        self._documents.setdefault(user_id, []).append(text)
        self._cache.clear()

    def search(self, user_id: str, query: str) -> list[str]:
        key = (user_id, query)
        if key not in self._cache:
            own = self._documents.get(user_id, [])
            self._cache[key] = [text for text in own if query.lower() in text.lower()]
        return self._cache[key]


class ToolWorker:
    """Tools run one at a time, beside the runs."""

    def __init__(self) -> None:
        self._jobs: asyncio.Queue[tuple[Run, str, asyncio.Future[list[str]]]] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def run_tool(self, run: Run, query: str) -> list[str]:
        if self._task is None:
            self._task = asyncio.create_task(self._work())
        done: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
        await self._jobs.put((run, query, done))
        return await done

    async def _work(self) -> None:
        while True:
            run, query, done = await self._jobs.get()
            emitter = run.emitter
            found = documents.search(run.user_id, query)
            await emitter.emit("tool_completed", run, tool="documents", result=found)
            if not done.cancelled():
                done.set_result(found)


class ChatAgent:
    """The agent of one thread and what has been said in it."""

    def __init__(self, thread_id: str) -> None:
        self.thread_id = thread_id
        self.history: list[str] = []

    async def answer(self, text: str) -> str:
        self.history.append(text)
        return await model.complete(" / ".join(self.history[-4:]))


model = ModelClient()
documents = DocumentTool()
tools = ToolWorker()
agents: dict[str, ChatAgent] = {}
memories: dict[str, str] = {}


async def run_agent(run: Run, text: str) -> None:
    emitter = run.emitter
    current_emitter.set(emitter)
    thread_id = run.thread.thread_id
    try:
        await emitter.emit("agent_started", run, agent="assistant")
        await emitter.emit("agent_thinking", run, thought=f"About: {text}")
        if text.startswith("find "):
            query = text.removeprefix("find ")
            await emitter.emit("tool_executing", run, tool="documents", query=query)
            found = await tools.run_tool(run, query)
            answer = f"{len(found)} documents: " + "; ".join(found)
        else:
            if text.startswith("draft "):
                await emitter.emit("tool_executing", run, tool="approval")
                await run.approved.wait()
                await emitter.emit("tool_completed", run, tool="approval", result="approved")
            agent = agents.setdefault(thread_id, ChatAgent(thread_id))
            answer = await agent.answer(text)
        await emitter.emit("agent_completed", run, result=answer)
        await send_message(run.user_id, thread_id, "assistant", answer)
        if run.user_id in memories:
            hint = f"As I know about you: {memories[run.user_id]}"
            await send_suggestion(run.user_id, thread_id, hint)
    except asyncio.CancelledError:
        await emitter.emit("agent_cancelled", run)
    finally:
        emitter_pool.release(emitter)
