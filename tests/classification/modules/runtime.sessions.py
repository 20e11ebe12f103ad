"""Sessions of browser tabs; the sockets are in the server's module."""
from abc import ABC, abstractmethod
from typing import Optional, Protocol


class SessionClient(Protocol):  # other
    def write_forward_msg(self, message) -> None: ...


class WebSocketClientBase(ABC):  # manager
    @abstractmethod
    async def send_message(self, message: dict) -> None: ...

    @abstractmethod
    async def close(self) -> None: ...


class WebsocketSessionManager:  # manager
    def __init__(self, storage):
        self._storage = storage
        self._active = {}

    def connect_session(self, client: SessionClient, user_info: dict, existing: Optional[str] = None) -> str:
        session_id = existing or str(id(client))
        self._active[session_id] = client
        return session_id

    def disconnect_session(self, session_id: str) -> None:
        self._storage.save(self._active.pop(session_id))


class SessionStorage:  # other
    def __init__(self, ttl: float = 120.0):
        self.ttl = ttl
        self._kept = {}

    def save(self, session):
        self._kept[id(session)] = session

    def get(self, session_id):
        return self._kept.get(session_id)
