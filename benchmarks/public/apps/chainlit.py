# SPDX-License-Identifier: Apache-2.0
"""Chainlit, its bundled sample, over Socket.IO; users log in by password."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import TYPE_CHECKING, Any

import httpx
import socketio

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.public.stage import Visit

DISTRIBUTION = "chainlit"
WHAT = "the bundled `starters_demo`, users log in by password (Socket.IO)"
INCLUDE = "chainlit.*"
ENVIRONMENT = {"CHAINLIT_AUTH_SECRET": "a secret of this run, for nobody", "CI": "1"}
# The sample has no users of its own: this adds the callback of Chainlit's documentation.
SCRIPT = """
import chainlit as cl
from chainlit.sample.starters_demo import on_message, starter_categories

@cl.password_auth_callback
def log_in(username, password):
    return cl.User(identifier=username) if password == "of " + username else None
"""
# Chainlit looks every client's user up by the token in its cookie: so does this.
WHO = """
from http.cookies import SimpleCookie
from chainlit.auth import decode_jwt, get_token_from_cookies

def who(scope):
    header = dict(scope["headers"]).get(b"cookie", b"").decode("latin-1")
    cookies = {name: one.value for name, one in SimpleCookie(header).items()}
    token = get_token_from_cookies(cookies)
    return decode_jwt(token).identifier if token else None
"""
DECLARED = """
include = ["chainlit.*"]
[identity]
accessor = "declared:who"
[[manager]]
class = "chainlit.emitter:ChainlitEmitter"
instance_user = "session.user.identifier"
send = ["clear", "init_thread", "send_step", "task_start", "task_end", "update_step"]
"""


def command(folder: Path, port: int) -> list[str]:
    """How it is started."""
    (folder / "chat.py").write_text(SCRIPT)
    return ["-m", "chainlit", "run", "chat.py", "--headless", "--port", str(port)]


async def visit(visit: Visit) -> None:
    """One user: log in, connect as the browser does, ask, and read the answers."""
    async with httpx.AsyncClient(base_url=visit.url, trust_env=False) as http:
        form = {"username": visit.user, "password": f"of {visit.user}"}
        (await http.post("/login", data=form)).raise_for_status()
        cookies = "; ".join(f"{key}={value}" for key, value in http.cookies.items())
    client = socketio.AsyncClient(reconnection=False)
    ended = asyncio.Queue[None]()

    @client.on("*")  # type: ignore[untyped-decorator]
    async def _(event: str, *data: Any) -> None:
        visit.took(json.dumps([event, *data]))
        if event == "task_end":
            ended.put_nowait(None)

    auth = {
        "sessionId": str(uuid.uuid4()),
        "clientType": "webapp",
        "userEnv": "{}",
        "chatProfile": "",
        "threadId": "",
    }
    await client.connect(
        visit.url,
        socketio_path="/ws/socket.io",
        transports=["websocket"],
        headers={"Cookie": cookies},
        auth=auth,
    )
    try:
        await client.emit("connection_successful")
        await asyncio.wait_for(ended.get(), 10)
        for number in range(visit.rounds):
            message = {
                "id": str(uuid.uuid4()),
                "threadId": "",
                "name": visit.user,
                "type": "user_message",
                "output": f"question {number} of {visit.user}",
                "createdAt": "2026-01-01T00:00:00Z",
            }
            await client.emit("client_message", {"message": message, "fileReferences": []})
            await asyncio.wait_for(ended.get(), 10)
    finally:
        await client.disconnect()
