"""Inbound messages to handlers, answers back to the socket they came from."""
from typing import Any, Awaitable, Callable

from starlette.websockets import WebSocket

Handler = Callable[[str, WebSocket, dict[str, Any]], Awaitable[bool]]


class MessageRouter:  # manager
    def __init__(self) -> None:
        self.handlers: list[Handler] = []

    def add_handler(self, handler: Handler) -> None:
        self.handlers.append(handler)

    async def route_message(self, user_id: str, websocket: WebSocket, message: dict[str, Any]) -> bool:
        for handler in self.handlers:
            if await handler(user_id, websocket, message):
                return True
        return False


class AgentMessageHandler:  # manager
    def __init__(self, service: Any) -> None:
        self.service = service

    async def handle_message(self, user_id: str, websocket: WebSocket, message: dict[str, Any]) -> bool:
        answer = await self.service.answer(user_id, message)
        await websocket.send_json(answer)
        return True


class EventValidator:  # other
    required = ("type", "run_id")

    def validate(self, event: dict[str, Any]) -> list[str]:
        return [name for name in self.required if name not in event]
