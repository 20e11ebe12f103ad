# SPDX-License-Identifier: Apache-2.0
"""Builds what belongs to one user or one connection, and keeps what is worth keeping."""

from collections.abc import Hashable

from fastapi import WebSocket

from .agent import AgentProfile
from .connections import ConnectionManager
from .emitter import AgentEventEmitter
from .outbox import OutboxRegistry
from .usage import UsageReporter


class EmitterFactory:
    """One emitter per user and agent, reused while the user stays connected."""

    def __init__(self, manager: ConnectionManager, outboxes: OutboxRegistry) -> None:
        self._manager = manager
        self._outboxes = outboxes
        self._emitters: dict[Hashable, AgentEventEmitter] = {}

    def key(self, user_id: str, profile: AgentProfile) -> Hashable:
        return (user_id, profile.name)

    def emitter_for(self, user_id: str, profile: AgentProfile) -> AgentEventEmitter:
        key = self.key(user_id, profile)

        if key not in self._emitters:
            self._emitters[key] = AgentEventEmitter(user_id, self._manager, self._outboxes)

        return self._emitters[key]

    def forget(self, user_id: str) -> None:
        gone = [key for key, emitter in self._emitters.items() if emitter.user_id == user_id]

        for key in gone:
            del self._emitters[key]


class ReporterFactory:
    """One usage reporter per connection."""

    def reporter_for(self, websocket: WebSocket) -> UsageReporter:
        return UsageReporter(websocket)
