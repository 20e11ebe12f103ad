# SPDX-License-Identifier: Apache-2.0
"""A shop without a manager: each handler answers on its own connection, ids come from the server.

Why it exists: no caller names a recipient, no client an id, no message a user. Whose an order is
shows in nothing but who was told of it first. What a client is told is the user whose data each
frame holds ("of"), in words the agent does not know.

    {"do": "order"} | {"do": "look", "number": 7} | {"do": "board"} | {"do": "file", "text": ...}
"""

from __future__ import annotations

import json
import os
from itertools import count
from typing import TYPE_CHECKING, Any

from fastapi import Depends, FastAPI, HTTPException, WebSocket, WebSocketDisconnect
from starlette.requests import HTTPConnection  # noqa: TC002 (FastAPI reads annotations)
from starlette.responses import StreamingResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TOKENS: dict[str, str] = json.loads(os.environ["AGENT_CHAT_USERS"])
Message = dict[str, Any]

app = FastAPI()
sockets: dict[str, WebSocket] = {}
numbers = count(7)
orders: dict[int, str] = {}  # number -> whose
files: dict[str, list[str]] = {}  # document -> who may read it


def readers(document: object) -> list[str]:
    """The declared membership: who may read a file."""
    return files[str(document)]


async def current_user(connection: HTTPConnection) -> str:
    user = TOKENS.get(connection.query_params.get("token", ""))
    if user is None:
        raise HTTPException(401)
    return user


@app.get("/health")
async def health() -> str:
    return "ok"


@app.get("/orders/{number}/events")
async def events(number: int, current_user: str = Depends(current_user)) -> StreamingResponse:
    """The steps of an order, whoever's it is."""
    owner = orders.setdefault(number, current_user)

    async def steps() -> AsyncIterator[str]:
        for step in ("packed", "sent", "brought"):
            event = {"type": f"order.{step}", "order_id": number, "of": owner}
            yield f"data: {json.dumps(event)}\n\n"

    return StreamingResponse(steps(), media_type="text/event-stream")


async def carry_out(me: str, websocket: WebSocket, message: Message) -> None:
    what = message["do"]
    if what == "order":
        number = next(numbers)
        orders[number] = me
        await websocket.send_json({"type": "order.accepted", "order_id": number, "of": me})
    elif what == "look":
        number = message["number"]
        detail = {"type": "order.detail", "order_id": str(number), "of": orders[number]}
        await websocket.send_json(detail)
    elif what == "board":
        # On everybody's wall, and nobody in particular has asked.
        number = message["number"]
        for step in ("new", "taken"):
            for user, socket in list(sockets.items()):
                await socket.send_json({"type": step, "order_id": number, "of": user})
    elif what == "file":
        files.setdefault(message["text"], [me, "team"])
        opened = {
            "type": "file.opened",
            "file_id": message["text"],
            "of": files[message["text"]][0],
        }
        await websocket.send_json(opened)


@app.websocket("/ws")
async def serve(websocket: WebSocket, current_user: str = Depends(current_user)) -> None:
    await websocket.accept()
    sockets[current_user] = websocket
    try:
        async for message in websocket.iter_json():
            await carry_out(current_user, websocket, message)
            await websocket.send_json({"type": "done", "of": "all"})
    except WebSocketDisconnect:
        pass
    finally:
        sockets.pop(current_user, None)
