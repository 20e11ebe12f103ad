from collections import defaultdict

from fastapi import Depends, WebSocket

from app_core import get_current_user


class Hub:  # manager
    def __init__(self):
        self.rooms = defaultdict(set)

    async def join(self, room: str, ws: WebSocket):
        await ws.accept()
        self.rooms[room].add(ws)

    def leave(self, room: str, ws: WebSocket):
        self.rooms[room].discard(ws)

    async def broadcast(self, room: str, msg: dict):
        for ws in list(self.rooms[room]):
            await ws.send_json(msg)


class PresenceTracker:  # manager
    """Who is online; tells the others."""

    def __init__(self, hub: Hub):
        self.hub = hub
        self.online = set()

    async def connect(self, user_id: int, ws: WebSocket):
        self.online.add(user_id)
        await self.announce({"type": "online", "user_id": user_id})

    async def disconnect(self, user_id: int):
        self.online.discard(user_id)
        await self.announce({"type": "offline", "user_id": user_id})

    async def announce(self, message: dict):
        await self.hub.broadcast("presence", message)


class RateLimiter:  # other
    def __init__(self, per_minute: int = 60):
        self.per_minute = per_minute
        self.hits = defaultdict(int)

    def allow(self, user_id: int) -> bool:
        self.hits[user_id] += 1
        return self.hits[user_id] <= self.per_minute


class TokenVerifier:  # other
    def __init__(self, secret: str):
        self.secret = secret

    async def __call__(self, token: str = Depends(get_current_user)):
        return token
