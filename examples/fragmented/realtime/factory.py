# SPDX-License-Identifier: Apache-2.0
"""Where managers come from, or so it says."""

from .manager import WebSocketManager, manager
from .unified import unified_manager


def get_websocket_manager(user_id: str | None = None) -> WebSocketManager:
    """The manager. For everybody, that is the unified one; annotations come later."""
    if user_id is None:
        return unified_manager
    return manager


async def create_websocket_manager() -> WebSocketManager:
    """The manager, for asynchronous code: a new one each time, that nobody is connected to."""
    return WebSocketManager()
