# SPDX-License-Identifier: Apache-2.0
"""The new home of everything real-time."""

from .factory import create_websocket_manager, get_websocket_manager
from .manager import WebSocketManager
from .unified import UnifiedWebSocketManager

# Everybody should use the unified one by now; the old name stays until then.
ConnectionManager = UnifiedWebSocketManager

__all__ = [
    "ConnectionManager",
    "UnifiedWebSocketManager",
    "WebSocketManager",
    "create_websocket_manager",
    "get_websocket_manager",
]
