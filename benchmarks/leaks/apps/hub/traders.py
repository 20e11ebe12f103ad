# SPDX-License-Identifier: Apache-2.0
"""Who may connect: traders of the client firms, our staff, and the price feed."""

import contextvars
import json
from pathlib import Path

from starlette.authentication import (
    AuthCredentials,
    AuthenticationBackend,
    AuthenticationError,
    BaseUser,
)

FEED_TOKEN = "feed-7f3a-internal"

# for the log filter, and for code that works on behalf of whoever is connected
current_trader: contextvars.ContextVar[str | None] = contextvars.ContextVar("trader", default=None)


class Trader(BaseUser):
    def __init__(self, record: dict):
        self.id: str = record["uuid"]
        self.name: str = record["name"]
        self.tenant: str = record["tenant"]
        self.role: str = record["role"]
        self.memo: str = record["secret"]

    @property
    def is_authenticated(self) -> bool:
        return True

    @property
    def display_name(self) -> str:
        return self.name

    @property
    def identity(self) -> str:
        return self.id

    @property
    def is_staff(self) -> bool:
        return self.role in ("support", "admin")


_records = json.loads(Path("people.json").read_text())
TRADERS = {r["uuid"]: Trader(r) for r in _records}
_by_token = {r["token"]: TRADERS[r["uuid"]] for r in _records}
_by_token[FEED_TOKEN] = Trader(
    {"uuid": "svc-pricefeed", "name": "pricefeed", "tenant": "-", "role": "service", "secret": ""}
)


class TokenBackend(AuthenticationBackend):
    """Bearer header for the REST side, ?token= for sockets (browsers cannot set headers there)."""

    async def authenticate(self, conn):
        header = conn.headers.get("authorization", "")
        token = header.removeprefix("Bearer ") or conn.query_params.get("token", "")
        if not token:
            return None
        trader = _by_token.get(token)
        if trader is None:
            raise AuthenticationError("unknown token")
        return AuthCredentials(["authenticated", trader.role]), trader
