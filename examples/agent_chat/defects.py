# SPDX-License-Identifier: Apache-2.0
"""Five isolation defects as they have been reported in the wild, each off unless asked for.

AGENT_CHAT_DEFECTS names the ones to switch on, separated by commas. Each stands in for one part of
the service and differs from it by the one line somebody got wrong.
"""

from collections.abc import Hashable

from fastapi import WebSocket

from .agent import AgentProfile
from .connections import ConnectionManager, RouteTable
from .factory import EmitterFactory, ReporterFactory
from .outbox import OutboxRegistry
from .runs import AgentRun, Message
from .services import Services
from .usage import UsageReporter


class StaleRouteTable(RouteTable):
    """After a reconnect a new id equals a live one: its user's messages reach the newcomer."""

    def new_id(self) -> int:
        return len(self._sockets)


class FanoutConnectionManager(ConnectionManager):
    """Meant for every tab of one user, written for every tab."""

    async def send_to_user(self, user_id: str, message: Message) -> int:
        if not self.routes.is_connected(user_id):
            return 0

        return await self._deliver(self.routes.all_sockets(), message)


class SharedEmitterFactory(EmitterFactory):
    """A stateless agent needs only one emitter, so everybody gets the first user's."""

    def key(self, user_id: str, profile: AgentProfile) -> Hashable:
        return profile.name if profile.stateless else super().key(user_id, profile)


class MixedOutboxRegistry(OutboxRegistry):
    """Every connection numbers its runs from one: concurrent runs overwrite each other."""

    def key(self, run: AgentRun) -> Hashable:
        return run.number


class LastSocketReporter(UsageReporter):
    """A reporter that can be pointed at another socket while its tasks are under way."""

    def use(self, websocket: WebSocket) -> None:
        self._current_websocket = websocket


class LastSocketReporterFactory(ReporterFactory):
    """One reporter for the process: it answers on the socket that came last."""

    def __init__(self) -> None:
        self._reporter: LastSocketReporter | None = None

    def reporter_for(self, websocket: WebSocket) -> UsageReporter:
        if self._reporter is None:
            self._reporter = LastSocketReporter(websocket)

        self._reporter.use(websocket)

        return self._reporter


DEFECTS = ("stale_route", "fanout_bug", "shared_emitter", "queue_mixup", "last_socket")


def build_defective_services(names: str) -> Services:
    """The services with the named defects, separated by commas."""
    chosen = {name.strip() for name in names.split(",") if name.strip()}

    if unknown := chosen.difference(DEFECTS):
        raise ValueError(
            f"AGENT_CHAT_DEFECTS: unknown {', '.join(sorted(unknown))}; known: {', '.join(DEFECTS)}"
        )

    routes = StaleRouteTable() if "stale_route" in chosen else RouteTable()
    manager = (FanoutConnectionManager if "fanout_bug" in chosen else ConnectionManager)(routes)
    outboxes = MixedOutboxRegistry() if "queue_mixup" in chosen else OutboxRegistry()
    emitters = SharedEmitterFactory if "shared_emitter" in chosen else EmitterFactory
    reporters = LastSocketReporterFactory if "last_socket" in chosen else ReporterFactory

    return Services(manager, outboxes, emitters(manager, outboxes), reporters())
