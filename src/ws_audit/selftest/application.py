# SPDX-License-Identifier: Apache-2.0
"""The application the self-test plays: one manager, which gives one user another user's message.

Why it exists: that a leak would be seen is only shown by one. This one is nobody's: the users,
the connection and the messages are made up.

`ws-audit selftest` copies this file and imports the copy as an application's, so it must never
import anything of ours.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    Send = Callable[[dict[str, Any]], Awaitable[None]]


class SyntheticManager:
    """Holds the connections, as managers do."""

    def __init__(self) -> None:
        self.connections: dict[str, Send] = {}

    async def send_to_user(self, user_id: str, message: dict[str, Any]) -> None:
        """Send a message to a user's connection."""
        send = self.connections[user_id]
        await send({"type": "websocket.send", "text": json.dumps(message)})


class SyntheticApplication:
    """An ASGI application: each time its client speaks, the next message goes to that client."""

    def __init__(self, messages: Sequence[dict[str, Any]]) -> None:
        self._messages = messages

    async def __call__(self, scope: Any, receive: Callable[[], Awaitable[Any]], send: Send) -> None:
        """Serve one connection."""
        user = scope["user"]["id"]
        manager = SyntheticManager()
        manager.connections[user] = send
        await receive()
        await send({"type": "websocket.accept"})
        for message in self._messages:
            await receive()
            await manager.send_to_user(user, message)
        await receive()
