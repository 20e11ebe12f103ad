# SPDX-License-Identifier: Apache-2.0
import json
from contextvars import ContextVar
from pathlib import Path
from typing import Dict, Optional

from fastapi import Header, HTTPException, Query, WebSocketException, status
from pydantic import BaseModel


class User(BaseModel):
    id: int
    name: str
    email: str
    role: str = "user"

    @property
    def is_moderator(self) -> bool:
        return self.role in ("support", "admin")


# TODO: move to a real database
fake_users_db: Dict[int, User] = {}
tokens: Dict[str, int] = {}

for record in json.loads(Path("people.json").read_text()):
    fake_users_db[record["id"]] = User(**{k: record[k] for k in User.model_fields})
    tokens[record["token"]] = record["id"]

# who we are working for, for the log lines
current_user_var: ContextVar[Optional[User]] = ContextVar("current_user", default=None)


def get_current_user(token: str = Query(...)) -> User:
    if token not in tokens:
        raise WebSocketException(code=status.WS_1008_POLICY_VIOLATION)
    return fake_users_db[tokens[token]]


def get_staff(authorization: str = Header("")) -> User:
    user_id = tokens.get(authorization.removeprefix("Bearer "))
    if user_id is None or fake_users_db[user_id].role != "admin":
        raise HTTPException(status_code=403, detail="Staff only")
    return fake_users_db[user_id]


def find_by_name(name: str) -> Optional[User]:
    return next((user for user in fake_users_db.values() if user.name == name), None)
