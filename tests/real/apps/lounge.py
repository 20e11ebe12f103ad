# SPDX-License-Identifier: Apache-2.0
"""A service that shows people other people's data on purpose, and now and then by mistake.

Why it exists: presence, rooms, shared documents, a support console and notices of the service
itself are what policies are declared for. Each command of a client is one of these; `wrong` makes
it the mistake that looks most like it. Users come as in the example: AGENT_CHAT_USERS and a token.

    {"do": "presence" | "say" | "edit" | "notice" | "tell" | "leak" | "bind", ..., "text": ...}

Whoever asked gets {"type": "done"} at the end, or {"type": "refused", "rule": ...}.
"""

from __future__ import annotations

import json
import os
from typing import Any

from fastapi import FastAPI, WebSocket, WebSocketDisconnect

import ws_audit

TOKENS: dict[str, str] = json.loads(os.environ["AGENT_CHAT_USERS"])
USERS = list(TOKENS.values())
SUPPORT = USERS[3]

Message = dict[str, Any]

# Who is in a room, who may read a document: the first two users; the support console is a third.
ROOMS: dict[str, list[str]] = {"blue": USERS[:2]}
READERS: dict[str, set[str]] = {"plan": set(USERS[:2])}
asked: list[str] = []


def members(room: object) -> list[str]:
    asked.append(f"members {room}")
    return ROOMS[str(room)]


def readers(document: object) -> set[str]:
    asked.append(f"readers {document}")
    return READERS.get(str(document), set())


def who(scope: dict[str, Any]) -> tuple[str, None] | None:
    """The accessor: where this service keeps it, no rule would look."""
    asked.append("who")
    seat = scope.get("seat")
    return (seat["holder"], None) if seat else None


def aliases(principal: Any) -> list[str]:
    """Everybody has a second id, under which some messages go."""
    return [f"member of {principal.user}"]


class ConnectionManager:
    def __init__(self) -> None:
        self.sockets: dict[str, WebSocket] = {}
        self.watched: dict[str, WebSocket] = {}  # the support console looks over a shoulder

    async def connect(self, websocket: WebSocket, user_id: str) -> None:
        self.sockets[user_id] = websocket

    def disconnect(self, websocket: WebSocket) -> None:
        self.sockets = {user: one for user, one in self.sockets.items() if one is not websocket}

    async def broadcast(self, message: Message) -> None:
        for websocket in list(self.sockets.values()):
            await websocket.send_json(message)

    async def send_to_room(self, room: str, users: list[str], message: Message) -> None:
        for user in users:
            await self.sockets[user].send_json(message)

    async def send_to_user(self, user_id: str, message: Message, over: str = "") -> None:
        await self.sockets[over or user_id].send_json(message)
        if user_id in self.watched:
            await self.watched[user_id].send_json(message)


manager = ConnectionManager()
app = FastAPI()


@app.get("/health")
async def health() -> str:
    return "ok"


@app.get("/asked")
async def read_asked() -> list[str]:
    return asked


async def carry_out(me: str, websocket: WebSocket, command: Message) -> None:
    what, wrong, text = command["do"], bool(command.get("wrong")), command["text"]
    if what == "presence":
        await manager.broadcast({"type": "presence.update", "user_id": me, "text": text})
    elif what == "say":
        message = {"type": "chat.message", "owner_id": me, "room_id": "blue", "text": text}
        # The mistake: who has never been there is sent it all the same.
        await manager.send_to_room("blue", USERS[:3] if wrong else USERS[:2], message)
    elif what == "edit":
        data = {"owner_id": me, "text": text}
        for user in USERS[: 3 if wrong else 2]:
            message = {"type": "doc.changed", "document_id": "plan", "data": data}
            await manager.sockets[user].send_json(message)
    elif what == "notice":
        owner = me if wrong else "system"
        other = next(user for user in USERS if user != me)
        await manager.sockets[other].send_json({"type": "notice", "user_id": owner, "text": text})
    elif what == "watch":
        manager.watched[me] = manager.sockets[USERS[2] if wrong else SUPPORT]
    elif what == "tell":
        await manager.send_to_user(me, {"type": "answer", "user_id": me, "text": text})
    elif what == "second id":
        await websocket.send_json({"type": "answer", "user_id": f"member of {me}", "text": text})
    elif what == "leak":
        message = {"type": "answer", "user_id": me, "text": text}
        await manager.send_to_user(me, message, over=command["over"])
    elif what == "bind":
        ws_audit.bind(websocket if command["by"] == "socket" else websocket.scope, me)


@app.websocket("/ws")
@app.websocket("/late")
async def lounge(websocket: WebSocket) -> None:
    await websocket.accept()
    me = TOKENS[websocket.query_params["token"]]
    if websocket.url.path == "/ws":
        await manager.connect(websocket, me)
    else:
        websocket.scope["seat"] = {"holder": me}
        manager.sockets[me] = websocket
    try:
        async for command in websocket.iter_json():
            done: Message = {"type": "done", "user_id": me}
            if command.get("caught"):
                try:
                    await carry_out(me, websocket, command)
                except ws_audit.IsolationViolation as refused:
                    done = {"type": "refused", "user_id": me, "rule": refused.rule}
            else:
                await carry_out(me, websocket, command)
            await websocket.send_json(done)
    except WebSocketDisconnect:
        pass
    finally:
        manager.disconnect(websocket)
