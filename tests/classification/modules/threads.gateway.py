"""Threads of a conversation; the id of the thread is all that the callers know."""
import asyncio
import json

from starlette.websockets import WebSocket


class ThreadGateway:  # manager
    def __init__(self):
        self._threads: dict[str, set[WebSocket]] = {}

    async def bind_thread(self, thread_id: str, websocket: WebSocket):
        self._threads.setdefault(thread_id, set()).add(websocket)

    async def send_to_thread(self, thread_id: str, message: dict):
        for websocket in self._threads.get(thread_id, ()):
            await websocket.send_text(json.dumps(message))


class ForwardingManager:  # manager
    """Adds a lock, and hands everything else on."""

    def __init__(self, inner: ThreadGateway):
        self._inner = inner
        self._lock = asyncio.Lock()

    def __getattr__(self, name):
        return getattr(self._inner, name)

    async def send_to_thread(self, thread_id: str, message: dict):
        async with self._lock:
            await self._inner.send_to_thread(thread_id, message)


class TypingIndicator:  # manager
    def __init__(self, gateway: ThreadGateway):
        self.gateway = gateway

    async def notify_typing(self, thread_id: str, user_id: str):
        await self.gateway.send_to_thread(thread_id, {"type": "typing", "user_id": user_id})


class ThreadTitle:  # other
    def __init__(self, text: str):
        self.text = text[:80]

    def __str__(self):
        return self.text
