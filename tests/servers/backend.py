# SPDX-License-Identifier: Apache-2.0
"""The application under every server, as text: it must not find the checkout beside it.

Whoever connects is answered in their own name, or, when the client asks for it, with a message
that belongs to somebody else: the seeded leak. Every message says which process sent it.
"""

from __future__ import annotations

CHAT = """
import os

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute


class ConnectionManager:
    def __init__(self):
        self.sockets = {}

    async def connect(self, websocket, user_id):
        await websocket.accept()
        self.sockets[user_id] = websocket

    def disconnect(self, user_id):
        self.sockets.pop(user_id, None)

    def announce(self, message):
        pass  # nobody is there yet

    async def send_to_user(self, user_id, message):
        await self.sockets[user_id].send_json(message)


manager = ConnectionManager()


async def endpoint(websocket):
    user_id = websocket.path_params["user_id"]
    await manager.connect(websocket, user_id)
    try:
        async for owner in websocket.iter_text():
            message = {"type": "message", "user_id": owner, "pid": os.getpid()}
            await manager.send_to_user(user_id, message)
    finally:
        manager.disconnect(user_id)


async def health(request):
    return PlainTextResponse("well")


app = Starlette(routes=[WebSocketRoute("/ws/{user_id}", endpoint), Route("/health", health)])
"""

# As a script that starts its own server: `python script.py PORT`.
SCRIPT = (
    CHAT
    + """
if __name__ == "__main__":
    import sys

    import uvicorn

    uvicorn.run(app, port=int(sys.argv[-1]), log_level="warning")
"""
)

# What one server has taken is given to another.
TWICE = """
import sys

import uvicorn

from chat import app

if __name__ == "__main__":
    config = uvicorn.Config(app)
    config.load()
    uvicorn.run(config.loaded_app, port=int(sys.argv[-1]), log_level="warning")
"""

# A team that switches the agent on in its own code as well.
ENABLING = CHAT + "\nimport ws_audit\n\nws_audit.enable()\n"

# An application that sends as soon as it is imported, wherever that is.
EAGER = """
import time

from chat import app, manager

manager.announce("starting")
time.sleep(1)
"""

# A team that serves the metrics of all its workers itself.
METRICS = (
    CHAT
    + """
from prometheus_client import CollectorRegistry, Counter, Gauge, make_asgi_app
from prometheus_client.multiprocess import MultiProcessCollector

registry = CollectorRegistry()
MultiProcessCollector(registry)
Counter("team_starts", "A metric of the team's own.").inc()
Gauge("team_alive", "Another one.", multiprocess_mode="livesum").set(1)
app.mount("/metrics", make_asgi_app(registry))
"""
)

# A finder of somebody else's, first on the path, as other agents have one: it asks all the
# others and stands before the loader they found.
RIVAL = """
import importlib.util
import sys


class Loader:
    def __init__(self, loader):
        self.loader = loader

    def __getattr__(self, name):
        return getattr(self.loader, name)

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        self.loader.exec_module(module)
        if module.__name__ in ("chat", "uvicorn.config"):
            print("rival saw", module.__name__, flush=True)


class Finder:
    def __init__(self):
        self.asking = set()

    def find_spec(self, name, path=None, target=None):
        if name in self.asking:
            return None
        self.asking.add(name)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self.asking.discard(name)
        if spec is not None and hasattr(spec.loader, "exec_module"):
            spec.loader = Loader(spec.loader)
        return spec


sys.meta_path.insert(0, Finder())
"""
