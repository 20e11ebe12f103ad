# SPDX-License-Identifier: Apache-2.0
"""Accounts and the dependency that says who is asking."""

import json
from pathlib import Path

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel

bearer = HTTPBearer()


class User(BaseModel):
    email: str
    name: str
    tenant: str
    role: str
    token: str

    @property
    def is_staff(self) -> bool:
        return self.role in {"support", "admin"}


USERS = [User.model_validate(record) for record in json.loads(Path("people.json").read_text())]
_BY_TOKEN = {user.token: user for user in USERS}
_BY_EMAIL = {user.email.casefold(): user for user in USERS}


async def current_user(
    request: Request, credentials: HTTPAuthorizationCredentials = Depends(bearer)
) -> User:
    user = _BY_TOKEN.get(credentials.credentials)
    if user is None:
        raise HTTPException(401, "unknown token")
    request.state.user = user
    return user


def by_email(email: str) -> User:
    user = _BY_EMAIL.get(email.casefold())
    if user is None:
        raise HTTPException(404, "no such account")
    return user


def colleagues(tenant: str) -> list[User]:
    return [user for user in USERS if user.tenant == tenant]
