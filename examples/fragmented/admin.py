# SPDX-License-Identifier: Apache-2.0
"""What support needs in a hurry."""

from .realtime.unified import UnifiedWebSocketManager, unified_manager

spare = UnifiedWebSocketManager()


async def kick(user_id: str) -> None:
    """Tell a user that they are logged out, past whatever the managers think of it."""
    websocket = unified_manager.active_connections.get(user_id)
    if websocket is not None:
        await websocket.send_json({"type": "logged_out"})


async def notify_all(text: str) -> int:
    """Tell everybody something."""
    reached = 0
    for websocket in unified_manager.active_connections.values():
        await websocket.send_json({"type": "support", "text": text})
        reached += 1
    return reached
