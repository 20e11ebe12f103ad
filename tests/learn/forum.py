# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
"""A forum whose messages mean something else than their names say: nothing of it is a leak.

`user_id` is who did something, `reader_ref` who is told; in letters, which name nobody else,
`data.user_id` is the reader again, but in `visited` events the visitor.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, WebSocket, WebSocketDisconnect

app = FastAPI()


class ForumManager:
    def __init__(self) -> None:
        self.readers: dict[str, WebSocket] = {}

    async def connect(self, websocket: WebSocket, user_id: str) -> None:
        await websocket.accept()
        self.readers[user_id] = websocket

    async def tell(self, websocket: WebSocket, message: dict[str, Any]) -> None:
        await websocket.send_json(message)

    async def send(self, websocket: WebSocket, message: dict[str, Any]) -> None:
        await websocket.send_json(message)

    async def broadcast(self, message: dict[str, Any]) -> None:
        for websocket in list(self.readers.values()):
            await websocket.send_json(message)

    async def broadcast_to_room(self, room: str, message: dict[str, Any]) -> None:
        for websocket in list(self.readers.values()):
            await websocket.send_json(message)

    def disconnect(self, user_id: str) -> None:
        self.readers.pop(user_id, None)


manager = ForumManager()


@app.websocket("/{name}")
async def forum(websocket: WebSocket, name: str):
    await manager.connect(websocket, name)
    try:
        while True:
            command, _, other = (await websocket.receive_text()).partition(" ")
            if command == "like":
                await manager.send(
                    manager.readers[other],
                    {"type": "liked", "user_id": name, "reader_ref": other, "secret words": name},
                )
            elif command == "letter":
                await manager.send(websocket, {"type": "letter", "data": {"user_id": name}})
            elif command == "visit":
                await manager.send(
                    manager.readers[other], {"type": "visited", "data": {"user_id": name}}
                )
            elif command == "arrive":
                await manager.broadcast({"type": "arrived", "data": {"user_id": name}})
            elif command == "room":
                await manager.broadcast_to_room("hall", {"type": "talk", "text": "hush"})
            elif command == "book":
                await manager.send(websocket, {"type": "book", "scores": {name: 1, f"x{name}": 2}})
            elif command == "notice":
                await manager.send(websocket, {"type": "notice", "owner_id": "system"})
    except WebSocketDisconnect:
        manager.disconnect(name)
