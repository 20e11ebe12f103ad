# SPDX-License-Identifier: Apache-2.0
"""Incidents as OpenTelemetry log events, where the installed OpenTelemetry has them.

Why it exists: a collector can route an event to whoever is on call without Prometheus.

It must never say an event left that the exporter did not confirm, and never set a logger
provider.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ws_audit import schema
from ws_audit.model import CONFIRMED, PROBABLE
from ws_audit.process.forks import imports

from .export import protocol
from .violations import summary

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.sdk.resources import Resource


def supported() -> bool:
    """Whether log records have an event name here (OpenTelemetry 1.35 and later)."""
    try:
        from opentelemetry._logs import LogRecord

        LogRecord(event_name=schema.VIOLATION_EVENT)
    except (ImportError, TypeError):
        return False
    return True


class LogEvents:
    """Emits one log event per incident milestone through the official OTLP exporter."""

    name = "otlp"
    ahead_s = None  # its exporter keeps to itself when it was answered

    def __init__(self, resource: Resource, environ: Mapping[str, str]) -> None:
        self._resource = resource
        self._environ = dict(environ)
        self._exporter: Any = None
        self._parents: Any = None
        self._logger: Any = None
        self._emitted: list[Any] = []

    def send(self, incident: dict[str, Any]) -> bool:
        """True once the exporter has confirmed it."""
        with imports:
            from opentelemetry._logs import LogRecord, SeverityNumber

            if self._logger is None:
                self._build()
        severity = {CONFIRMED: SeverityNumber.FATAL, PROBABLE: SeverityNumber.WARN}.get(
            incident["severity"], SeverityNumber.INFO
        )
        synthetic = {}
        if incident.get("synthetic"):  # a collector that goes by the severity wakes nobody
            severity, synthetic = SeverityNumber.INFO, {schema.SYNTHETIC: True}
        self._logger.emit(
            LogRecord(
                timestamp=time.time_ns(),
                severity_number=severity,
                severity_text=severity.name,
                body=summary(incident),
                event_name=schema.VIOLATION_EVENT,
                attributes={
                    **synthetic,
                    schema.RULE: incident["rule"],
                    schema.SEVERITY: incident["severity"],
                    "ws_audit.incident.id": incident["id"],
                    "ws_audit.incident.events": incident["events"],
                    "ws_audit.incident.attempted": incident["attempted"],
                    "ws_audit.incident.first_seen": incident["first_seen"],
                    "ws_audit.incident.last_seen": incident["last_seen"],
                    "ws_audit.incident.pairs": len(incident["pairs"]),
                    schema.SITE: incident["sites"][0] if incident["sites"] else "none",
                },
            )
        )
        batch, self._emitted = self._emitted, []
        result = self._exporter.export(batch)
        return getattr(result, "name", "") == "SUCCESS"

    def forget(self) -> None:
        """After a fork: an exporter of the child's own; the parent's is left untouched."""
        self._parents = self._exporter or self._parents
        self._exporter = self._logger = None
        self._emitted = []

    def _build(self) -> None:
        from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor

        if protocol(self._environ, "LOGS") == "http":
            from opentelemetry.exporter.otlp.proto.http import _log_exporter as http

            self._exporter = http.OTLPLogExporter()
        else:
            from opentelemetry.exporter.otlp.proto.grpc import _log_exporter as grpc

            self._exporter = grpc.OTLPLogExporter()

        channel = self

        class Collect(LogRecordProcessor):
            """Keeps what the SDK built, so that we call the exporter and see its answer."""

            def on_emit(self, log_record: Any) -> None:
                channel._emitted.append(log_record)

            def shutdown(self) -> None:
                """Nothing to release."""

            def force_flush(self, timeout_millis: int = 30_000) -> bool:
                """Nothing waits here."""
                return True

        provider = LoggerProvider(self._resource, shutdown_on_exit=False)
        provider.add_log_record_processor(Collect())
        self._logger = provider.get_logger(schema.SCOPE_NAME)
