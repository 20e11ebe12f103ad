# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
"""A backend that keeps everything under names no rule knows, and does much that is told of.

What it says about itself, its tests hold against what doctor says.
"""

from __future__ import annotations

import json
from typing import Any

from fastapi import Depends, FastAPI, WebSocket, WebSocketDisconnect
from fastapi.middleware import Middleware


class PutsMember:
    """Middleware that authenticates and keeps the user where the team likes it."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket" and scope["path"].startswith("/scoped"):
            scope["passport"] = {"holder": scope["path"].rpartition("/")[2], "shelf": 3}
        await self.app(scope, receive, send)


app = FastAPI(middleware=[Middleware(PutsMember)])


class ChatManager:
    """`/manager`: the recipient is a parameter with a name of the team's own."""

    def __init__(self) -> None:
        self.open: dict[str, WebSocket] = {}

    async def connect(self, websocket: WebSocket, member_ref: str) -> None:
        await websocket.accept()
        self.open[member_ref] = websocket

    async def push_note(self, member_ref: str, body: dict[str, Any]) -> None:
        await self.open[member_ref].send_text(json.dumps(body))

    async def broadcast(self, message: dict[str, Any]) -> None:
        for websocket in list(self.open.values()):
            await websocket.send_json(message)

    def leave(self, member_ref: str) -> None:
        self.open.pop(member_ref, None)


class DeskHub:
    """`/desk`: who is connected is known, whom a message is for stands in a parameter alone."""

    async def send(self, websocket: WebSocket, reader_ref: str, drawer: int, message: Any) -> None:
        await websocket.send_json(message)


class ShadowHub:
    """One of its instances has a send of its own."""

    async def send(self, user_id: str, message: Any) -> None: ...

    async def connect(self, websocket: WebSocket) -> None: ...


class DeskManager:
    """Looks like a manager, and sends by no name of ours."""

    def hand_over(self, websocket: WebSocket, letter: str) -> None: ...


class Person:
    def __init__(self, badge: str) -> None:
        self.badge = badge
        self.floor = 2


def make_chat_manager() -> ChatManager:
    return manager


def person_of(name: str) -> Person:
    return Person(name)


manager = ChatManager()
desks = DeskHub()
shadowed = ShadowHub()
shadowed.send = shadowed.connect  # type: ignore[assignment,method-assign]


@app.websocket("/manager/{name}")
async def by_manager(websocket: WebSocket, name: str):
    hub = make_chat_manager()
    await hub.connect(websocket, name)
    try:
        while True:
            text = await websocket.receive_text()
            await hub.push_note(name, {"type": "note", "text": text})
    except WebSocketDisconnect:
        hub.leave(name)


@app.websocket("/crowd/{name}")
async def by_broadcast(websocket: WebSocket, name: str):
    await manager.connect(websocket, name)
    try:
        while True:
            await websocket.receive_text()
            await manager.broadcast({"type": "tide", "level": "low"})
    except WebSocketDisconnect:
        manager.leave(name)


@app.websocket("/scoped/{name}")
async def by_scope(websocket: WebSocket, name: str):
    await websocket.accept()
    await echo(websocket, {"type": "parcel", "user_id": name})


@app.websocket("/field/{name}")
async def by_field(websocket: WebSocket, name: str, user: str = Depends(lambda name: name)):
    await websocket.accept()
    # The second dict is keyed by data: its keys are nobody's to tell.
    await echo(
        websocket,
        {"type": "letter", "for_whom": name, "shelf": 3, "scores": {f"secret_{name}": name}},
    )


@app.websocket("/desk/{name}")
async def by_desk(websocket: WebSocket, name: str, user: str = Depends(lambda name: name)):
    await websocket.accept()
    try:
        while True:
            await websocket.receive_text()
            await desks.send(websocket, name, 7, {"type": "file", "drawer": 7})
    except WebSocketDisconnect:
        pass


@app.websocket("/person/{name}")
async def by_dependency(websocket: WebSocket, name: str, visitor: Person = Depends(person_of)):
    await websocket.accept()
    await echo(websocket, {"type": "greeting", "user_id": name})


@app.websocket("/namespaces/{name}")
async def by_subject(websocket: WebSocket, name: str, user: str = Depends(lambda name: name)):
    await websocket.accept()
    await echo(websocket, {"type": "mixed", "user_id": f"auth0|{name}", "reader": name})


@app.websocket("/large/{name}")
async def too_large(websocket: WebSocket, name: str, user: str = Depends(lambda name: name)):
    await websocket.accept()
    await echo(websocket, {"type": "large", "user_id": name, "filler": "x" * 3000})


@app.websocket("/plain/{name}")
async def no_json(websocket: WebSocket, name: str, user: str = Depends(lambda name: name)):
    await websocket.accept()
    try:
        while True:
            await websocket.receive_text()
            await websocket.send_text("plain text")
    except WebSocketDisconnect:
        pass


async def echo(websocket: WebSocket, message: dict[str, Any]) -> None:
    try:
        while True:
            await websocket.receive_text()
            await websocket.send_json(message)
    except WebSocketDisconnect:
        pass
