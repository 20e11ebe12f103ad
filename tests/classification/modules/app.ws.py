"""The tutorial's manager with users, as in a small chat."""
import json
from typing import Dict, List

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from pydantic import BaseModel

router = APIRouter()


class ChatMessage(BaseModel):  # other
    sender: str
    text: str


class ConnectionManager:  # manager
    def __init__(self):
        self.active_connections: List[WebSocket] = []

    async def connect(self, websocket: WebSocket):
        await websocket.accept()
        self.active_connections.append(websocket)

    def disconnect(self, websocket: WebSocket):
        self.active_connections.remove(websocket)

    async def send_personal_message(self, message: str, websocket: WebSocket):
        await websocket.send_text(message)

    async def broadcast(self, message: str):
        for connection in self.active_connections:
            await connection.send_text(message)


class Lobby:  # manager
    """Players who wait, by name."""

    def __init__(self):
        self.players: Dict[str, WebSocket] = {}

    async def add_player(self, name: str, websocket: WebSocket):
        await websocket.accept()
        self.players[name] = websocket

    def remove_player(self, name: str):
        self.players.pop(name, None)

    async def tell(self, name: str, text: str):
        await self.players[name].send_text(json.dumps({"text": text}))


manager = ConnectionManager()


@router.websocket("/ws")
async def chat(websocket: WebSocket):
    await manager.connect(websocket)
    try:
        while True:
            await manager.broadcast(await websocket.receive_text())
    except WebSocketDisconnect:
        manager.disconnect(websocket)
