# SPDX-License-Identifier: Apache-2.0
"""Emitters: one per user, from a pool."""

from fastapi import WebSocket


class UserEmitter:
    """Sends to the one user it was made for."""

    def __init__(self, user_id: str, websocket: WebSocket) -> None:
        self.user_id = user_id
        self.websocket = websocket

    async def emit_event(self, event: str, run_id: str) -> None:
        await self.websocket.send_json({"type": event, "run_id": run_id, "to": self.user_id})


class EmitterPool:
    """So that emitters need not be made for every connection: seven are enough, usually."""

    size = 7

    def __init__(self) -> None:
        self._emitters: list[UserEmitter] = []
        self._given: dict[str, UserEmitter] = {}

    def acquire(self, user_id: str, websocket: WebSocket) -> UserEmitter:
        if len(self._emitters) < self.size:
            emitter = UserEmitter(user_id, websocket)
        else:
            emitter = self._emitters.pop(0)  # still bound to whom it was made for
        self._emitters.append(emitter)
        self._given[user_id] = emitter
        return emitter

    def of(self, user_id: str) -> UserEmitter:
        return self._given[user_id]

    def release(self, user_id: str) -> None:
        self._given.pop(user_id, None)
        self._emitters = [one for one in self._emitters if one.user_id != user_id]


pool = EmitterPool()
