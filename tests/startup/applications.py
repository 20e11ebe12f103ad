# SPDX-License-Identifier: Apache-2.0
"""Applications as a team would write them; none imports anything of ours."""

from __future__ import annotations

# Named like a manager and sending, but nothing in it is real-time.
CATALOGUE = """
class DatabaseManager:
    def send(self, query):
        return query

class Manager:
    def notify(self, user_id, message):
        return message
"""

# A manager class in plain Python: taken by its name alone.
HUB = """
class ConnectionManager:
    def __init__(self):
        self.sent = []

    def send_to_user(self, user_id, message):
        self.sent.append((user_id, message))
        return "sent"

    async def broadcast(self, message):
        for user_id in ("alice", "bob"):
            self.send_to_user(user_id, message)

    def count(self):
        return len(self.sent)

class QuietManager(ConnectionManager):
    pass

class WebSocketNotifier:
    level = 3

    def notify_user(self, user_id, message):
        return (user_id, message)
"""

# A chat backend. Whoever connects as `mallory` is sent a message that belongs to alice.
CHAT = """
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute

class ConnectionManager:
    def __init__(self):
        self.sockets = {}

    async def connect(self, websocket, user_id):
        await websocket.accept()
        self.sockets[user_id] = websocket

    async def send_to_user(self, user_id, message):
        await self.sockets[user_id].send_json(message)

manager = ConnectionManager()

async def endpoint(websocket):
    user_id = websocket.path_params["user_id"]
    owner = "alice" if user_id == "mallory" else user_id
    await manager.connect(websocket, user_id)
    await manager.send_to_user(user_id, {"type": "message", "user_id": owner})
    await websocket.close()

app = Starlette(routes=[WebSocketRoute("/ws/{user_id}", endpoint)])
"""

# The same as a script that starts its own server: `python app.py PORT`.
CHAT_SCRIPT = (
    CHAT
    + """
if __name__ == "__main__":
    import sys

    import uvicorn

    uvicorn.run(app, port=int(sys.argv[-1]), log_level="warning")
"""
)

# A script whose server runs in a process of its own; there the script is `__mp_main__`.
CHAT_SPAWNED = (
    CHAT
    + """
def serve(port):
    import uvicorn

    uvicorn.run(app, port=port, log_level="warning")

if __name__ == "__main__":
    import multiprocessing
    import signal
    import sys

    child = multiprocessing.get_context("spawn").Process(target=serve, args=(int(sys.argv[-1]),))
    child.start()
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    child.join()
    sys.exit(-signal.SIGTERM if child.exitcode else 0)
"""
)
