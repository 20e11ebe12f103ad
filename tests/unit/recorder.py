# SPDX-License-Identifier: Apache-2.0
"""Writes trace directories for the tests of the review, as an agent would."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ws_audit.model import Span
from ws_audit.outputs.store import Store

if TYPE_CHECKING:
    from pathlib import Path

SECOND = 1_000_000_000
START = 1_795_428_000 * SECOND  # 2026-11-23T10:00:00Z
ALICE, BOB, EVE = "a" * 32, "b" * 32, "e" * 32


class Recorder:
    """Writes what an agent would, with as little said as possible."""

    def __init__(self, directory: Path, service: str = "chat", **limits: Any) -> None:
        resource = {"service.name": service, "service.version": "1.2.3"}
        self.store = Store(directory, resource=resource, **limits)
        self.spans = 0
        self.store.write_coverage(self._span("ws_audit.process", START))

    def _span(self, name: str, ns: int, **attributes: Any) -> Span:
        self.spans += 1
        named = {key.replace("__", "."): value for key, value in attributes.items()}
        return Span(name, self.spans, self.spans, 0, ns, ns + 5_000_000, named, True)

    def leak(self, outcome: str | None = "ok", at: float = 0, **attributes: Any) -> None:
        """One violation: the whole line, then its outcome; None: the process died between."""
        values = {
            "security_rule__name": "payload_vs_connection",
            "ws_audit__severity": "confirmed",
            "user__hash": ALICE,
            "ws_audit__owner__hash": BOB,
            "ws_audit__event": "agent_started",
            "ws_audit__manager": "app.ws:Hub",
            "ws_audit__site": "app.ws:Hub.push:42",
            "ws_audit__bytes": 100,
            **attributes,
        }
        span = self._span("ws_audit.violation", START + int(at * SECOND), **values)
        assert self.store.write_violation(span)
        if outcome is not None:
            assert self.store.write_violation(
                span._replace(attributes={"ws_audit.outcome": outcome}, end_ns=span.end_ns + 1)
            )

    def neighbour(self) -> None:
        self.store.write_violation(self._span("ws_audit.send app.ws:Hub", START))

    def cover(self, *, final: bool = True, at: float = 60, **counts: int) -> None:
        values: dict[str, Any] = {f"ws_audit__{name}": count for name, count in counts.items()}
        values["ws_audit__unattributed__no_evidence"] = 3
        if final:
            values["ws_audit__final"] = True
        span = self._span("ws_audit.coverage", START + int(at * SECOND), **values)
        self.store.write_coverage(span)
