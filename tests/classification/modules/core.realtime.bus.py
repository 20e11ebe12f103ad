"""Events of all services to the users they are for."""
from __future__ import annotations

from typing import Any

from app_core import UserContext, get_websocket_manager


class RealtimeEventBus:  # manager
    async def publish(self, user_id: str, event: str, data: dict[str, Any]) -> None:
        await get_websocket_manager().send_to_user(user_id, {"event": event, "data": data})


class UserNotifier:  # manager
    def __init__(self, context: UserContext) -> None:
        self.context = context

    async def notify(self, text: str) -> None:
        manager = get_websocket_manager()
        await manager.send_to_user(self.context.user_id, {"type": "notification", "text": text})


class ConnectionRegistry:  # manager
    def __init__(self) -> None:
        self._by_user: dict[str, list[Any]] = {}

    def register(self, user_id: str, connection: Any) -> None:
        self._by_user.setdefault(user_id, []).append(connection)

    def unregister(self, user_id: str, connection: Any) -> None:
        self._by_user[user_id].remove(connection)

    async def dispatch(self, user_id: str, message: dict[str, Any]) -> None:
        for connection in self._by_user.get(user_id, []):
            await connection.send(message)


class ManagerFactory:  # manager
    """A manager for each request."""

    def __init__(self) -> None:
        self._managers: dict[str, Any] = {}

    def create_manager(self, context: UserContext) -> Any:
        return self._managers.setdefault(context.user_id, get_websocket_manager())

    async def cleanup_manager(self, user_id: str) -> None:
        self._managers.pop(user_id, None)


class EventHistory:  # other
    def __init__(self, size: int = 100) -> None:
        self.size = size
        self.events: list[dict[str, Any]] = []

    def append(self, event: dict[str, Any]) -> None:
        self.events = [*self.events, event][-self.size :]
