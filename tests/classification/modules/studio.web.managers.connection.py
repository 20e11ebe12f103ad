"""Runs of agents, each with a socket."""
import asyncio
from datetime import datetime, timezone

from fastapi import WebSocket, WebSocketDisconnect

from app_core import RunStore


class RunConnections:  # manager
    def __init__(self, store: RunStore):
        self.store = store
        self._connections = {}
        self._closed = set()

    async def connect(self, websocket: WebSocket, run_id: int) -> bool:
        await websocket.accept()
        self._connections[run_id] = websocket
        await self._send_message(run_id, {"type": "system", "status": "connected"})
        return True

    async def disconnect(self, run_id: int) -> None:
        self._closed.add(run_id)
        self._connections.pop(run_id, None)

    async def _send_message(self, run_id: int, message: dict) -> None:
        try:
            await self._connections[run_id].send_json(message)
        except WebSocketDisconnect:
            await self.disconnect(run_id)


class StreamSession:  # manager
    """What one browser tab is looking at."""

    def __init__(self, websocket: WebSocket, user_id: str):
        self.websocket = websocket
        self.user_id = user_id
        self.started = datetime.now(timezone.utc)

    async def push_chunk(self, text: str) -> None:
        await self.websocket.send_json({"type": "chunk", "text": text})

    async def finish(self) -> None:
        await self.websocket.send_json({"type": "end"})


class RunWorker:  # other
    """Takes runs off a queue and works on them."""

    def __init__(self, queue: asyncio.Queue, store: RunStore):
        self.queue = queue
        self.store = store

    async def run(self):
        while True:
            run_id = await self.queue.get()
            await self.store.finish(run_id)


class TaskQueue:  # other
    def __init__(self):
        self._queue = asyncio.Queue()

    async def enqueue(self, task):
        await self._queue.put(task)

    async def dequeue(self):
        return await self._queue.get()
