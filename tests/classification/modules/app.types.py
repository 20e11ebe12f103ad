"""Interfaces and values of the real-time layer."""
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, TypedDict, runtime_checkable

from fastapi import WebSocket
from pydantic import BaseModel


@runtime_checkable
class WebSocketManagerProtocol(Protocol):  # other
    async def connect(self, websocket: WebSocket, user_id: str) -> None: ...

    async def send_to_user(self, user_id: str, message: dict) -> None: ...


class Notifier(Protocol):  # other
    async def notify(self, user_id: str, message: dict) -> None: ...


class WebSocketMessage(BaseModel):  # other
    type: str
    user_id: str

    def to_json(self) -> str:
        return self.model_dump_json()


class Frame(TypedDict):  # other
    type: str
    data: dict


class SocketState(Enum):  # other
    OPEN = 1
    CLOSED = 2

    def closed(self) -> bool:
        return self is SocketState.CLOSED


class WebSocketError(Exception):  # other
    def __init__(self, code: int, reason: str):
        super().__init__(reason)
        self.code = code

    async def send_to(self, websocket: WebSocket):
        await websocket.close(self.code)


@dataclass
class WebSocketConfig:  # other
    ping_seconds: float = 20.0
    max_bytes: int = 1_000_000


class ConnectionMetrics:  # other
    """Counts, for the dashboard."""

    def __init__(self):
        self.opened = 0
        self.closed = 0

    def on_connect(self):
        self.opened += 1

    def on_disconnect(self):
        self.closed += 1

    def publish(self):
        return {"open": self.opened - self.closed}


class WebSocketAuthenticator:  # other
    def __init__(self, secret: str):
        self.secret = secret

    async def authenticate(self, websocket: WebSocket):
        return websocket.query_params.get("token") == self.secret


class WebSocketRateLimiter:  # other
    def __init__(self, limit: int):
        self.limit = limit
        self.counts: dict[str, int] = {}

    def register(self, websocket: WebSocket, user_id: str) -> bool:
        self.counts[user_id] = self.counts.get(user_id, 0) + 1
        return self.counts[user_id] <= self.limit
