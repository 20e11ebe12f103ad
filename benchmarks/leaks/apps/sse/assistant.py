# SPDX-License-Identifier: Apache-2.0
"""Questions to the assistant, in threads; quick answers and summaries besides."""

import asyncio
import re
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from fastapi import HTTPException

from accounts import User


@dataclass
class Thread:
    owner: str
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    messages: list[str] = field(default_factory=list)


class Threads:
    def __init__(self) -> None:
        self._all: dict[str, Thread] = {}

    def create(self, user: User) -> Thread:
        thread = Thread(user.email)
        self._all[thread.id] = thread
        return thread

    def get(self, thread_id: str) -> Thread:
        thread = self._all.get(thread_id)
        if thread is None:
            raise HTTPException(404, "no such thread")
        return thread

    def owned(self, thread_id: str, user: User) -> Thread:
        thread = self.get(thread_id)
        if thread.owner != user.email:
            raise HTTPException(404, "no such thread")
        return thread


@dataclass
class Question:
    text: str
    thread: Thread
    review: bool = False
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:16])
    approved: asyncio.Event = field(default_factory=asyncio.Event)


class EchoModel:
    """Development model: reads back what it was given, piece by piece."""

    async def stream(self, messages: list[str]) -> AsyncIterator[str]:
        yield f"You have told me {len(messages)} things. "
        for message in messages:
            await asyncio.sleep(0)
            yield f"{message}. "

    async def summarise(self, text: str) -> str:
        await asyncio.sleep(len(text) / 5000)  # longer texts take longer
        return f"In short: {text.strip().splitlines()[0]}"


class Assistant:
    def __init__(self, model: EchoModel) -> None:
        self.model = model
        self.open: dict[str, Question] = {}

    async def answer(self, question: Question) -> AsyncIterator[dict]:
        self.open[question.id] = question
        yield {"type": "answer.started", "question_id": question.id}
        if question.review:
            yield {"type": "answer.approval", "question_id": question.id}
            await question.approved.wait()
        messages = question.thread.messages
        messages.append(question.text)
        async for piece in self.model.stream(list(messages)):
            yield {"type": "answer.delta", "question_id": question.id, "text": piece}
        yield {
            "type": "answer.done",
            "question_id": question.id,
            "thread_id": question.thread.id,
        }
        self.open.pop(question.id, None)


class QuickAnswers:
    """One-liners from a user's own notes, remembered for when they are asked again."""

    def __init__(self) -> None:
        self.notes: dict[str, list[str]] = {}
        self._known: dict[object, str] = {}

    def add(self, user: User, text: str) -> None:
        self.notes.setdefault(user.email, []).append(text)

    def answer(self, user: User, question: str) -> str:
        words = tuple(sorted(re.findall(r"\w+", question.casefold())))
        key = (user.email, words)
        if key not in self._known:
            notes = self.notes.get(user.email, ["nothing yet"])
            self._known[key] = "From your notes: " + " | ".join(notes)
        return self._known[key]


class SummaryBatcher:
    """The model is cheaper by the batch: collects texts for a moment, then sends them together."""

    size = 2
    patience = 0.8

    def __init__(self, model: EchoModel) -> None:
        self.model = model
        self._waiting: list[tuple[str, asyncio.Future[str]]] = []
        self._timer: asyncio.TimerHandle | None = None

    async def summarise(self, text: str) -> str:
        loop = asyncio.get_running_loop()
        result: asyncio.Future[str] = loop.create_future()
        self._waiting.append((text, result))
        if len(self._waiting) >= self.size:
            self._flush()
        elif self._timer is None:
            self._timer = loop.call_later(self.patience, self._flush)
        return await result

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        batch, self._waiting = self._waiting, []
        if batch:
            self._running = asyncio.ensure_future(self._run(batch))

    async def _run(self, batch: list[tuple[str, asyncio.Future[str]]]) -> None:
        calls = [self.model.summarise(text) for text, _ in batch]
        summaries = await asyncio.gather(*calls)
        for (_, result), summary in zip(batch, summaries, strict=True):
            if not result.done():
                result.set_result(summary)
