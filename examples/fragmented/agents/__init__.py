# SPDX-License-Identifier: Apache-2.0
"""What answers, and its own two ways to the user."""

from .bridge import AgentWebSocketBridge
from .emitter import UserEmitter

__all__ = ["AgentWebSocketBridge", "UserEmitter"]
