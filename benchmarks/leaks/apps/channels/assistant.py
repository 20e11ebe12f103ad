# SPDX-License-Identifier: Apache-2.0
"""The desk assistant: model server client, threads, and the stream of a run's events."""

import asyncio
import datetime
import uuid
from collections import defaultdict, deque

from desk import notes


class ModelConnection:
    """A keep-alive connection to the model server. Replies come in the order of the prompts."""

    def __init__(self):
        self._replies = asyncio.Queue()

    def send(self, prompt):
        reply = f"Here is what I found about: {prompt}"
        asyncio.get_running_loop().call_later(0.2, self._replies.put_nowait, reply)

    async def receive(self):
        return await self._replies.get()


class ModelPool:
    def __init__(self):
        self._idle = []

    async def complete(self, prompt):
        connection = self._idle.pop() if self._idle else ModelConnection()
        connection.send(prompt)
        reply = await connection.receive()
        self._idle.append(connection)
        return reply


model = ModelPool()

threads = {}

# what a browser session has been told, for tabs that come back
backlog = defaultdict(lambda: deque(maxlen=50))


def session_key(user, session):
    return f"{user.id}/{session}"


class Streamer:
    """Sends the events of a user's runs and remembers them for the session."""

    def __init__(self, user_id, send, log):
        self.user_id = user_id
        self.send = send
        self.log = log

    async def emit(self, kind, run_id, thread_id, **more):
        event = {"type": kind, "run_id": run_id, "thread_id": thread_id, **more}
        self.log.append(event)
        await self.send(event)


def streamer_for(user, send, log):
    return Streamer(user.id, send, log)


async def run(streamer, thread_id, text):
    run_id = uuid.uuid4().hex
    ids = (run_id, thread_id)
    try:
        await streamer.emit("agent_started", *ids)
        await streamer.emit("agent_thinking", *ids)
        answer = await model.complete(text)
        threads[thread_id]["messages"].append({"role": "assistant", "text": answer})
        await streamer.emit("agent_completed", *ids, text=answer)
    except asyncio.CancelledError:
        await streamer.emit("agent_cancelled", *ids)


_summaries = {}


async def daily_summary(user):
    """One call of the model per user and day is enough."""
    key = f"{user.id}:{datetime.date.today()}"
    if key not in _summaries:
        texts = "; ".join(note["text"] for note in notes[user.id])
        _summaries[key] = await model.complete(f"Summarise: {texts}")
    return _summaries[key]
