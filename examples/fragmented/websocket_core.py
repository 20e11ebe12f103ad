# SPDX-License-Identifier: Apache-2.0
"""Deprecated: import from fragmented.realtime. Kept for those who do not yet."""

import importlib

_MOVED = {
    "WebSocketManager": "fragmented.realtime.manager",
    "UnifiedWebSocketManager": "fragmented.realtime.unified",
    "WebSocketBridge": ("fragmented.agents.bridge", "AgentWebSocketBridge"),
}


def __getattr__(name: str) -> object:
    if name not in _MOVED:
        raise AttributeError(name)
    moved = _MOVED[name]
    module, attribute = (moved, name) if isinstance(moved, str) else moved
    return getattr(importlib.import_module(module), attribute)
