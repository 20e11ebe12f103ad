# SPDX-License-Identifier: Apache-2.0
"""Users, and who the current one is."""

from __future__ import annotations

import json
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send


@dataclass(frozen=True)
class User:
    id: str  # the uuid
    number: int  # what the old system called them
    name: str
    email: str
    tenant: str
    role: str


users: dict[str, User] = {}
_tokens: dict[str, User] = {}
for row in json.loads(Path("people.json").read_text()):
    one = User(row["uuid"], row["id"], row["name"], row["email"], row["tenant"], row["role"])
    users[one.id] = _tokens[row["token"]] = one

current_user: ContextVar[User | None] = ContextVar("current_user", default=None)


class Authentication:
    """Bearer token, or `token` in the query where headers cannot be set."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope["path"].startswith("/hooks/"):
            await self.app(scope, receive, send)
            return
        header = dict(scope["headers"]).get(b"authorization", b"").decode()
        query = parse_qs(scope["query_string"].decode())
        user = _tokens.get(header.removeprefix("Bearer ") or query.get("token", [""])[0])
        if user is None and scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 4401})
        elif user is None:
            await PlainTextResponse("who are you?", 401)(scope, receive, send)
        else:
            scope["user"] = user
            current_user.set(user)
            await self.app(scope, receive, send)


def same(principal: str) -> list[str]:
    """Every way one user is written: uuid, the old number, name and address."""
    for user in users.values():
        known = [user.id, str(user.number), user.name, user.email]
        if str(principal).lower() in known:
            return known
    return []
