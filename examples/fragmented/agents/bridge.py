# SPDX-License-Identifier: Apache-2.0
"""A bridge from agents to sockets, which became a manager of its own."""

from fastapi import WebSocket


class AgentWebSocketBridge:
    """Keeps the sockets once more, so as not to depend on the other team's manager."""

    def __init__(self) -> None:
        self._bound: dict[str, WebSocket] = {}

    def register(self, user_id: str, websocket: WebSocket) -> None:
        self._bound[user_id] = websocket

    def unregister(self, user_id: str) -> None:
        self._bound.pop(user_id, None)

    async def emit_event(self, user_id: str, event: str, run_id: str) -> None:
        websocket = self._bound.get(user_id)
        if websocket is not None:
            payload = {"run": run_id, "agent": "assistant"}
            await websocket.send_json({"event_type": event, "run_id": run_id, "payload": payload})


_bridge: AgentWebSocketBridge | None = None


def get_bridge() -> AgentWebSocketBridge:
    """The bridge, made when it is first asked for."""
    global _bridge
    if _bridge is None:
        _bridge = AgentWebSocketBridge()
    return _bridge
