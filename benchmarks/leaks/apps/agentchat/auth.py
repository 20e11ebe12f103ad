# SPDX-License-Identifier: Apache-2.0
"""Bearer tokens -> UserExecutionContext."""

from __future__ import annotations

import json
import uuid
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.websockets import WebSocket

SUPPORT_DESK = "support-desk"


@dataclass(frozen=True)
class UserExecutionContext:
    """Who a request is executed for. Passed explicitly, never global."""

    user_id: str
    tenant_id: str
    roles: tuple[str, ...] = ()
    act: str | None = None  # the human behind a service account
    session_id: str = field(default_factory=lambda: f"sess_{uuid.uuid4().hex[:12]}")


# only for code that has no context at hand, e.g. logging
request_user: ContextVar[str | None] = ContextVar("request_user", default=None)


def _load_claims() -> dict[str, dict[str, Any]]:
    claims = {}
    for record in json.loads(Path("people.json").read_text()):
        claim = {
            "sub": record["subject"],
            "tenant": record["tenant"],
            "roles": (record["role"],),
        }
        if record["role"] == "support":
            # agents of the desk share one seat
            claim |= {"sub": SUPPORT_DESK, "act": record["subject"]}
        claims[record["token"]] = claim
    return claims


_CLAIMS = _load_claims()


def verify_token(token: str) -> UserExecutionContext | None:
    claims = _CLAIMS.get(token)
    if claims is None:
        return None
    return UserExecutionContext(
        user_id=claims["sub"],
        tenant_id=claims["tenant"],
        roles=claims["roles"],
        act=claims.get("act"),
    )


async def authenticate(websocket: WebSocket) -> tuple[UserExecutionContext | None, str | None]:
    """Authorization header (CLI, mobile) or the subprotocols "jwt", <token> (browsers)."""
    header = websocket.headers.get("authorization", "")
    if header.lower().startswith("bearer "):
        return verify_token(header[7:]), None
    offered = websocket.scope.get("subprotocols") or []
    if len(offered) == 2 and offered[0] == "jwt":
        return verify_token(offered[1]), "jwt"
    return None, None
