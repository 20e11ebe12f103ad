# SPDX-License-Identifier: Apache-2.0
"""The ways out as the self-test takes them: store, metrics and spans, each asked for its answer.

Why it exists: that something was handed on proves nothing. The store is read back, the counter
looked at, and the exporter has to have said that it was taken.

It must never wait for anybody, and never tell somebody whom a leak would wake.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ws_audit.model import Delivery

    from .export import Export
    from .metrics import Metrics, NoMetrics
    from .store import Store
    from .violations import Violations


class Synthetic:
    """Where the self-test's violation goes, and what became of it there."""

    def __init__(
        self,
        violations: Violations,
        store: Store | None,
        metrics: Metrics | NoMetrics,
        export: Export,
    ) -> None:
        self._violations = violations
        self._store = store
        self._metrics = metrics
        self._export = export

    def record(self, delivery: Delivery) -> None:
        """It was judged."""
        self._violations.synthetic(delivery, outcome=False)

    def outcome(self, delivery: Delivery) -> None:
        """It has left."""
        self._violations.synthetic(delivery, outcome=True)

    def stored(self, delivery: Delivery) -> str:
        """Empty if the store has both lines, or there is none; else what is wrong."""
        if self._store is None:
            return ""
        try:
            lines = self._store.holds(f"{delivery.span_id:016x}")
        except OSError as error:
            return f"its file cannot be read back: {error.strerror or type(error).__name__}"
        return "" if lines == 2 else self._store.last_error or f"{lines} of 2 lines are there"

    def counted(self) -> float | None:
        """What the synthetic counter shows; None if no metrics are kept."""
        return self._metrics.synthetic()

    def exported(self, delivery: Delivery) -> bool | None:
        """Whether the exporter has taken it, or there is none; None while it waits."""
        if not self._export.active or self._export.synthetic == delivery.span_id:
            return True
        return False if self._export.down else None

    def passed(self, now_ns: int) -> None:
        """The self-test has succeeded."""
        self._metrics.selftest_passed(now_ns)
