# SPDX-License-Identifier: Apache-2.0
"""For code that runs in both worlds."""

from .agents import *  # noqa: F403

try:
    from .realtime.manager import WebSocketManager
except ImportError:
    from .legacy.connections import ConnectionManager as WebSocketManager

Manager = WebSocketManager
