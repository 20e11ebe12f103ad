# SPDX-License-Identifier: Apache-2.0
"""Notices to everybody, over sockets kept for that alone."""

from fastapi import WebSocket


class NotificationBroadcaster:
    """Everybody's sockets, without names."""

    def __init__(self) -> None:
        self._listeners: set[WebSocket] = set()

    def subscribe(self, websocket: WebSocket) -> None:
        self._listeners.add(websocket)

    def unsubscribe(self, websocket: WebSocket) -> None:
        self._listeners.discard(websocket)

    async def broadcast(self, text: str) -> None:
        for websocket in list(self._listeners):
            await websocket.send_json({"type": "notice", "text": text})


broadcaster = NotificationBroadcaster()
