from aiohttp import WSMsgType, web


class WebSocketHub:  # manager
    def __init__(self):
        self.sockets = {}

    async def handler(self, request):
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        self.sockets[request["user"]] = ws
        async for message in ws:
            if message.type == WSMsgType.TEXT:
                await self.publish(message.data)
        return ws

    async def publish(self, text):
        for ws in self.sockets.values():
            await ws.send_str(text)


class ClientRegistry:  # manager
    def __init__(self):
        self.clients = {}

    def add_client(self, client_id: str, ws: web.WebSocketResponse):
        self.clients[client_id] = ws

    def drop_client(self, client_id: str):
        self.clients.pop(client_id, None)

    async def send_to_client(self, client_id: str, data: dict):
        await self.clients[client_id].send_json(data)


class UpstreamClient:  # other
    """Asks another service; serves nobody."""

    def __init__(self, base_url):
        self.base_url = base_url
        self._session = None

    async def connect(self):
        self._session = object()

    async def send(self, method, path, body=None):
        return await self._session.request(method, self.base_url + path, json=body)

    async def close(self):
        await self._session.close()


class HealthView(web.View):  # other
    async def get(self):
        return web.json_response({"ok": True})
