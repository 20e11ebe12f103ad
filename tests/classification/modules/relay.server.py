import asyncio
import json

import websockets
from websockets.asyncio.server import ServerConnection, serve


class RelayServer:  # manager
    def __init__(self):
        self.peers = {}

    async def handle(self, websocket: ServerConnection):
        self.peers[websocket.id] = websocket
        try:
            async for raw in websocket:
                await self.relay(websocket.id, json.loads(raw))
        finally:
            del self.peers[websocket.id]

    async def relay(self, sender_id, message):
        targets = [peer for key, peer in self.peers.items() if key != sender_id]
        websockets.broadcast(targets, json.dumps(message))


class WebsocketClientHandler:  # manager
    """One client of the controller, with a queue and a writer."""

    def __init__(self, server, websocket):
        self.server = server
        self.websocket = websocket
        self._to_write = asyncio.Queue(maxsize=512)
        self._writer_task = None

    async def handle_client(self):
        self._writer_task = asyncio.create_task(self._writer())
        async for raw in self.websocket:
            self._handle_incoming_message(json.loads(raw))

    def _handle_incoming_message(self, message):
        self._send_message({"message_id": message["id"], "result": None})

    def _send_message(self, message):
        self._to_write.put_nowait(json.dumps(message))

    async def _writer(self):
        while True:
            await self.websocket.send(await self._to_write.get())


class ExchangeFeed:  # other
    """A client of somebody else's socket: prices come in, nothing goes to users."""

    def __init__(self, url, on_price):
        self.url = url
        self.on_price = on_price

    async def run(self):
        async with websockets.connect(self.url) as socket:
            async for raw in socket:
                self.on_price(json.loads(raw))
