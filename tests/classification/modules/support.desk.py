"""Agents and customers, with a queue between manager and socket."""
import asyncio
from typing import NamedTuple

from starlette.websockets import WebSocket, WebSocketDisconnect


class QueuedConnection:  # manager
    def __init__(self, websocket: WebSocket, customer_id: str):
        self.websocket = websocket
        self.customer_id = customer_id
        self.outgoing = asyncio.Queue()

    def enqueue(self, message: dict):
        self.outgoing.put_nowait(message)

    async def writer(self):
        while True:
            await self.websocket.send_json(await self.outgoing.get())


class DeskManager:  # manager
    def __init__(self):
        self.lines: dict[str, QueuedConnection] = {}

    async def attach(self, customer_id: str, websocket: WebSocket):
        self.lines[customer_id] = QueuedConnection(websocket, customer_id)

    async def detach(self, customer_id: str):
        self.lines.pop(customer_id, None)

    def deliver(self, customer_id: str, message: dict):
        self.lines[customer_id].enqueue(message)


class Tuple(NamedTuple):  # other
    connection_id: str
    user_id: str
    since: float


class DeskClosed(Exception):  # other
    def notify(self):
        return "closed"


class BusinessHours:  # other
    def __init__(self, first: int, last: int):
        self.first, self.last = first, last

    def open(self, hour: int) -> bool:
        return self.first <= hour < self.last
