# SPDX-License-Identifier: Apache-2.0
"""Who is calling: a token in the query or the Authorization header, checked at each connection."""

import json
import os
from dataclasses import dataclass
from functools import lru_cache

from fastapi import WebSocketException
from starlette.requests import HTTPConnection

UNAUTHORIZED = 4401


@dataclass(frozen=True)
class User:
    id: str
    name: str


@lru_cache(maxsize=1)
def token_table() -> dict[str, User]:
    """The users this process knows, from AGENT_CHAT_USERS: a JSON object of token to user id."""
    table: dict[str, str] = json.loads(os.environ.get("AGENT_CHAT_USERS", "{}"))

    return {token: User(id=user_id, name=user_id.title()) for token, user_id in table.items()}


def bearer_token(connection: HTTPConnection) -> str:
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")

    return token if scheme.lower() == "bearer" else connection.query_params.get("token", "")


async def get_current_user(connection: HTTPConnection) -> User:
    user = token_table().get(bearer_token(connection))

    if user is None:
        raise WebSocketException(code=UNAUTHORIZED, reason="unknown token")

    return user
