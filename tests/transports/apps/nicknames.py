# SPDX-License-Identifier: Apache-2.0
"""A Socket.IO application that knows its users by their names alone, as small teams write it.

What a client asks it to `do` wrong from now on: `owner` gives bob what is alice's, `room` sends to
his own room what says that it is hers, `seat` puts him into hers.
"""

from __future__ import annotations

from typing import Any

import socketio
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

sio = socketio.AsyncServer(async_mode="asgi", http_compression=False)
sids: dict[str, str] = {}
wrong = [""]


class Notifier:
    """Emits to somebody by name, as `notify(to, ...)`."""

    async def notify(self, to: str, event: str, data: dict[str, Any]) -> None:
        await sio.emit(event, data, to=sids[to])


notifier = Notifier()


async def health(request: Any) -> PlainTextResponse:
    return PlainTextResponse("ready")


@sio.event
async def connect(sid: str, environ: Any, auth: Any) -> None:
    name = auth["token"].removeprefix("token-of-")
    sids[name] = sid
    await sio.save_session(sid, {"name": name})
    await sio.enter_room(sid, f"user:{name}")


@sio.event
async def do(sid: str, what: str) -> str:
    wrong[0] = what
    if what == "seat":
        await sio.enter_room(sids["bob"], "user:alice")
    return "done"


@sio.event
async def ask(sid: str, data: Any) -> str:
    """Everything there is to say, to whom it is for."""
    name = (await sio.get_session(sid))["name"]
    other = "alice" if name == "bob" else "bob"
    await sio.emit("room", {"text": data}, room=f"user:{name}")
    await sio.emit("to", {"owner": name}, to=f"user:{name}")
    await sio.emit("sid", {"owner": name, "order": 17}, to=sid)
    await sio.emit("list", {"notes": [{"owner": name}, {"owner": name}]}, to=sid)
    await notifier.notify(name, "told", {"text": data})
    await sio.emit("chat", {"owner": other, "sender": name}, to=sid)  # own words for the other
    await sio.emit("sold", {"owner": "warehouse"}, to=sid)  # nobody is called so
    if name == "alice":
        if wrong[0] == "owner":
            await sio.emit("list", {"notes": [{"owner": name}]}, to=sids[other])
        elif wrong[0] == "room":
            await sio.emit("to", {"owner": name}, to=f"user:{other}")
    return "done"


@sio.event
async def bye(sid: str) -> None:
    await sio.eio.disconnect(sio.manager.eio_sid_from_sid(sid, "/"))


app = socketio.ASGIApp(sio, Starlette(routes=[Route("/health", health)]))
