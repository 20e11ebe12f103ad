# SPDX-License-Identifier: Apache-2.0
"""python-socketio as teams write it: functions, a class-based namespace, rooms, sessions, bytes.

`DEFECT`: `payload` sends a copy of alice's messages to another client, `room` puts everybody
into alice's room.
"""

from __future__ import annotations

import os
from typing import Any

import socketio
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

DEFECT = os.environ.get("DEFECT", "")
sio = socketio.AsyncServer(async_mode="asgi", http_compression=False)
sids: dict[str, str] = {}
names: dict[str, str] = {}


async def health(request: Any) -> PlainTextResponse:
    return PlainTextResponse("ready")


@sio.event
async def connect(sid: str, environ: Any, auth: Any) -> bool:
    if not auth or "token" not in auth:
        return False
    user = names[sid] = auth["token"].removeprefix("token-of-")
    sids[user] = sid
    # Each team says it in one of these ways.
    if user != "bob":
        async with sio.session(sid) as session:
            session["user_id"] = user
    if user != "carol":
        await sio.enter_room(sid, f"user:{user}")
    await sio.enter_room(sid, "lobby")
    if DEFECT == "room":
        await sio.enter_room(sid, "user:alice")
    return True


@sio.event
async def ask(sid: str, data: Any) -> str:
    """Answered in every way there is, and acknowledged."""
    user = names[sid]
    await sio.emit("agent_started", {"user_id": user, "text": data}, to=sid)
    if user != "carol":
        await sio.emit("agent_thinking", {"text": "..."}, room=f"user:{user}")
    await sio.emit("tool_completed", ("grep", {"user_id": user, "blob": b"\x00\x01"}), to=sid)
    await sio.send({"user_id": user}, to=sid)
    if DEFECT == "payload" and user == "alice":
        others = [other for name, other in sids.items() if name != user]
        await sio.emit("agent_completed", {"user_id": user}, to=others[0])
    return "done"


@sio.event
async def shout(sid: str, data: Any) -> None:
    await sio.emit("message", {"text": data}, room="lobby", skip_sid=sid)
    await sio.emit("notification", {"text": data})


@sio.event
async def export(sid: str, number: int) -> None:
    """A job of its own, of whose end everybody is told."""
    await sio.emit("agent_started", {"job_id": number}, to=sid)
    await sio.emit("agent_completed", {"job_id": number, "text": names[sid]})


@sio.event
async def poll(sid: str) -> None:
    answer = await sio.call("question", {"user_id": "alice"}, to=sids["alice"], timeout=5)
    await sio.emit("answer", {"text": answer}, to=sid)


@sio.event
async def become(sid: str, user: str) -> None:
    await sio.save_session(sid, {"user_id": user})


@sio.event
async def bye(sid: str) -> None:
    await sio.eio.disconnect(sio.manager.eio_sid_from_sid(sid, "/"))


class Work(socketio.AsyncNamespace):
    """A second namespace, in which nobody has saved a session."""

    async def on_connect(self, sid: str, environ: Any, auth: Any) -> None:
        await self.enter_room(sid, "desk")

    async def on_job(self, sid: str, user: str) -> None:
        await self.emit("job_done", {"user_id": user}, to=sid)
        await self.send({"text": "next"}, room="desk")


sio.register_namespace(Work("/work"))
app = socketio.ASGIApp(sio, Starlette(routes=[Route("/health", health)]))
