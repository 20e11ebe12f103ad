from sanic import Sanic
from sanic.server.websockets.impl import WebsocketImplProtocol


class Feed:  # manager
    cache = {}

    def __init__(self, name: str):
        self.name = name
        self.clients = set()

    @classmethod
    def get(cls, name: str):
        return cls.cache.setdefault(name, cls(name))

    async def register(self, client: WebsocketImplProtocol):
        self.clients.add(client)

    async def unregister(self, client: WebsocketImplProtocol):
        self.clients.remove(client)

    async def send_all(self, message: str):
        for client in self.clients:
            await client.send(message)


class AppContext:  # other
    def __init__(self, app: Sanic):
        self.app = app

    def setup(self):
        self.app.ctx.started = True
