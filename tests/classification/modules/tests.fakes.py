"""Doubles, as test suites of such backends are full of them."""
from unittest.mock import AsyncMock, MagicMock

from fastapi import WebSocket


class MockWebSocket:  # other
    def __init__(self):
        self.sent = []

    async def send_json(self, data):
        self.sent.append(data)

    async def accept(self):
        pass


class FakeConnectionManager:  # other
    def __init__(self):
        self.messages = []

    async def connect(self, websocket: WebSocket, user_id: str):
        pass

    async def send_to_user(self, user_id: str, message: dict):
        self.messages.append((user_id, message))


class InMemoryWebSocketManagerStub:  # other
    def send(self, user_id, message):
        return True


class TestWebSocketManager:  # other
    def test_send(self):
        assert FakeConnectionManager().messages == []

    async def send_and_wait(self, websocket: WebSocket, message: dict):
        await websocket.send_json(message)


class RecordingEmitterDouble(AsyncMock):  # other
    async def emit(self, event, data):
        self.last = event, data


class SpyNotifier(MagicMock):  # other
    def notify(self, user_id, message):
        self.calls.append((user_id, message))
