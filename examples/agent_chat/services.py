# SPDX-License-Identifier: Apache-2.0
"""The long-lived objects of the process, built once."""

from dataclasses import dataclass

from .connections import ConnectionManager, RouteTable
from .factory import EmitterFactory, ReporterFactory
from .outbox import OutboxRegistry


@dataclass(frozen=True)
class Services:
    manager: ConnectionManager
    outboxes: OutboxRegistry
    emitters: EmitterFactory
    reporters: ReporterFactory


def build_services() -> Services:
    manager = ConnectionManager(RouteTable())
    outboxes = OutboxRegistry()

    return Services(manager, outboxes, EmitterFactory(manager, outboxes), ReporterFactory())
