"""Updates of a page that wait for the next flush."""
import asyncio
from collections import deque

import socketio

sio = socketio.AsyncServer()


class Outbox:  # manager
    def __init__(self, client):
        self.client = client
        self.messages = deque()

    def enqueue_update(self, element):
        self.messages.append(("update", element.to_dict(), self.client.id))

    def enqueue_message(self, message_type, data, target_id):
        self.messages.append((message_type, data, target_id))

    async def _emit(self, message_type, data, target_id):
        await sio.emit(message_type, data, room=target_id)

    async def loop(self):
        while True:
            while self.messages:
                await self._emit(*self.messages.popleft())
            await asyncio.sleep(0.01)


class SessionEmitter:  # manager
    """The sid of one session behind every event."""

    def __init__(self, sid, emit_fn):
        self.sid = sid
        self.emit_fn = emit_fn

    def emit(self, event, data):
        return self.emit_fn(event, data, to=self.sid)

    async def send_step(self, step):
        await self.emit("new_step", step)

    async def ask_user(self, spec):
        return await self.emit("ask", spec)


class Element:  # other
    def __init__(self, tag):
        self.tag = tag
        self.children = []

    def to_dict(self):
        return {"tag": self.tag, "children": [child.to_dict() for child in self.children]}


class Binding:  # other
    def __init__(self, source, target):
        self.source = source
        self.target = target

    def propagate(self):
        self.target.value = self.source.value
