# SPDX-License-Identifier: Apache-2.0
"""Who works here, and how a request proves it."""

from __future__ import annotations

import json
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult


@dataclass(frozen=True)
class Member:
    """`subject` is what the identity provider calls them, `id` our own key."""

    id: int
    subject: str
    name: str
    email: str
    tenant: str
    role: str


_by_token: dict[str, Member] = {}
by_id: dict[int, Member] = {}
by_subject: dict[str, Member] = {}

for row in json.loads(Path("people.json").read_text()):
    person = Member(**{key: row[key] for key in Member.__dataclass_fields__})
    _by_token[row["token"]] = by_id[person.id] = by_subject[person.subject] = person

current_member: ContextVar[Member] = ContextVar("current_member")


class TokenAuthentication(AbstractAuthenticationMiddleware):
    """Bearer token, or `access_token` in the query where a browser cannot set headers."""

    async def authenticate_request(self, connection: ASGIConnection) -> AuthenticationResult:
        header = connection.headers.get("Authorization", "")
        token = header.removeprefix("Bearer ") or connection.query_params.get("access_token", "")
        member = _by_token.get(token)
        if member is None:
            raise NotAuthorizedException("unknown token")
        current_member.set(member)
        return AuthenticationResult(user=member, auth=token)


def aliases(principal: str) -> list[str]:
    """All identifiers of the person one of them belongs to."""
    for member in by_subject.values():
        known = [member.subject, str(member.id), member.name, member.email]
        if member.role == "admin":
            known.append("administrator")
        if str(principal) in known:
            return known
    return []
