"""Server-sent events without any framework in sight: the endpoint lies elsewhere."""
import asyncio
import json
from collections import defaultdict


class SSEManager:  # manager
    def __init__(self):
        self._queues = defaultdict(list)

    def subscribe(self, user_id: str) -> asyncio.Queue:
        queue = asyncio.Queue()
        self._queues[user_id].append(queue)
        return queue

    def unsubscribe(self, user_id: str, queue: asyncio.Queue) -> None:
        self._queues[user_id].remove(queue)

    async def publish(self, user_id: str, event: dict) -> None:
        for queue in self._queues[user_id]:
            await queue.put(json.dumps(event))


class Broadcaster:  # manager
    def __init__(self):
        self.subscribers = set()

    async def subscribe(self):
        queue = asyncio.Queue(maxsize=100)
        self.subscribers.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self.subscribers.discard(queue)

    async def publish(self, event: dict):
        for queue in self.subscribers:
            queue.put_nowait(event)


class SSEMessage:  # other
    def __init__(self, data, event=None, retry=None):
        self.data = data
        self.event = event
        self.retry = retry

    def encode(self) -> str:
        head = f"event: {self.event}\n" if self.event else ""
        return f"{head}data: {json.dumps(self.data)}\n\n"
