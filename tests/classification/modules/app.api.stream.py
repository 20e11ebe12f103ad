"""Progress over SSE, next to the routes."""
import asyncio
from typing import AsyncIterator, Dict

from fastapi import APIRouter, Request
from sse_starlette.sse import EventSourceResponse

router = APIRouter()


class EventManager:  # manager
    def __init__(self) -> None:
        self.listeners: Dict[str, asyncio.Queue] = {}

    async def listen(self, user_id: str) -> AsyncIterator[dict]:
        queue = self.listeners.setdefault(user_id, asyncio.Queue())
        while True:
            yield await queue.get()

    async def push(self, user_id: str, event: str, data: dict) -> None:
        if user_id in self.listeners:
            await self.listeners[user_id].put({"event": event, "data": data})


class ProgressReporter:  # manager
    """Of one task, for the user who began it."""

    def __init__(self, events: EventManager, user_id: str, task_id: str) -> None:
        self.events = events
        self.user_id = user_id
        self.task_id = task_id

    async def send_progress_update(self, percent: int) -> None:
        await self.events.push(self.user_id, "progress", {"task_id": self.task_id, "percent": percent})


class Pagination:  # other
    def __init__(self, request: Request, size: int = 50) -> None:
        self.page = int(request.query_params.get("page", 1))
        self.size = size

    def slice(self, rows: list) -> list:
        return rows[(self.page - 1) * self.size : self.page * self.size]


manager = EventManager()


@router.get("/stream/{user_id}")
async def stream(user_id: str):
    return EventSourceResponse(manager.listen(user_id))
