import asyncio
from typing import AsyncGenerator

from quart import Quart, websocket

app = Quart(__name__)


class Broker:  # manager
    def __init__(self) -> None:
        self.connections = set()

    async def publish(self, message: str) -> None:
        for connection in self.connections:
            await connection.put(message)

    async def subscribe(self) -> AsyncGenerator[str, None]:
        connection = asyncio.Queue()
        self.connections.add(connection)
        try:
            while True:
                yield await connection.get()
        finally:
            self.connections.remove(connection)


@app.websocket("/ws")
async def ws():
    async for message in app.broker.subscribe():
        await websocket.send(message)
