# SPDX-License-Identifier: Apache-2.0
"""Users come from the HR export; there is no database behind the socket service."""

import json
import secrets
from contextvars import ContextVar
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import parse_qs

from channels.middleware import BaseMiddleware


class User:
    is_authenticated = True

    def __init__(self, row):
        self.id = self.pk = row["id"]
        self.username = row["name"]
        self.email = row["email"]
        self.is_staff = row["role"] in ("support", "admin")

    def __str__(self):
        return self.username


class Guest:
    id = pk = None
    username = ""
    is_authenticated = False
    is_staff = False


class Directory:
    def __init__(self, filename):
        rows = json.loads(Path(filename).read_text())
        self._users = {row["id"]: User(row) for row in rows}
        self._tokens = {row["token"]: row["id"] for row in rows}
        self._sessions = {}

    def get(self, user_id):
        return self._users.get(user_id)

    def by_token(self, token):
        return self._users.get(self._tokens.get(token))

    def new_session(self, user):
        key = secrets.token_urlsafe(24)
        self._sessions[key] = user.id
        return key

    def by_session(self, key):
        return self._users.get(self._sessions.get(key))


directory = Directory("people.json")

# who the running code works for; set for each message by the consumers
current_user = ContextVar("current_user")


class TokenAuthMiddleware(BaseMiddleware):
    """?token=... for the mobile apps, the session cookie for browsers."""

    async def __call__(self, scope, receive, send):
        scope = dict(scope)
        query = parse_qs(scope["query_string"].decode())
        user = directory.by_token(query.get("token", [""])[0])
        if user is None:
            headers = dict(scope["headers"])
            cookies = SimpleCookie(headers.get(b"cookie", b"").decode())
            if "deskline_session" in cookies:
                user = directory.by_session(cookies["deskline_session"].value)
        scope["user"] = user or Guest()
        return await super().__call__(scope, receive, send)
