import asyncio
from typing import Optional

from fastapi import WebSocket
from sqlalchemy.orm import Session

from app_core import models


class NotificationService:  # manager
    """Stored, and pushed to whoever is connected."""

    def __init__(self):
        self._sockets: dict[int, list[WebSocket]] = {}

    async def register(self, user_id: int, websocket: WebSocket):
        self._sockets.setdefault(user_id, []).append(websocket)

    async def unregister(self, user_id: int, websocket: WebSocket):
        self._sockets[user_id].remove(websocket)

    async def create_notification(self, db: Session, user_id: int, text: str):
        row = models.Notification(user_id=user_id, text=text)
        db.add(row)
        await self.push_notification(user_id, {"id": row.id, "text": text})

    async def push_notification(self, user_id: int, data: dict):
        for websocket in self._sockets.get(user_id, []):
            await websocket.send_json(data)


class NotificationRepository:  # other
    def __init__(self, db: Session):
        self.db = db

    def unread(self, user_id: int):
        return self.db.query(models.Notification).filter_by(user_id=user_id, read=False).all()

    def add(self, user_id: int, text: str):
        self.db.add(models.Notification(user_id=user_id, text=text))


class PushSubscriptionStore:  # other
    """Browsers' push subscriptions, kept for a nightly job."""

    def __init__(self, path: Optional[str] = None):
        self.path = path

    def add(self, user_id: int, endpoint: str, key: str):
        return (user_id, endpoint, key, self.path)


class Debouncer:  # other
    def __init__(self, seconds: float):
        self.seconds = seconds
        self._handle = None

    def trigger(self, callback):
        if self._handle:
            self._handle.cancel()
        self._handle = asyncio.get_running_loop().call_later(self.seconds, callback)
