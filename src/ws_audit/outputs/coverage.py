# SPDX-License-Identifier: Apache-2.0
"""How much was judged: one span a minute and process, without which no zero means anything.

Why it exists: "no violation" is only an answer beside the number of deliveries that were
judged and of those that could not be.

It must never count from records (they may be dropped) but from the call path's tally.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from ws_audit import schema
from ws_audit.messages.intents import getrandbits
from ws_audit.model import EXCUSED, UNATTRIBUTED, Span
from ws_audit.process.forks import Undivided

if TYPE_CHECKING:
    from collections.abc import Callable

    from ws_audit.tally import Counts, Tally

    from .store import Store

_INTERVAL_NS: Final = 60_000_000_000
_UNSURE_NS: Final = 500_000_000


class Coverage:
    """Writes the coverage spans of one process."""

    def __init__(self, tally: Tally, store: Store | None, export: Callable[[Span], None]) -> None:
        self._tally = tally
        self._store = store
        self._export = export
        self._seen: Counts = {}
        self._since_ns = 0
        self._final_written = False
        self._disk_ahead_ns: int | None = None  # the disk's clock of ours, at the last line
        self._writing = Undivided()  # the drain's minute, and the end of serving

    def fold(self, record: Any) -> None:
        """Nothing from records."""

    def begin(self, now_ns: int) -> None:
        """Counting starts here, and the process's own span has just been written."""
        self._since_ns = now_ns
        self._ask_the_disk(now_ns)

    def tick(self, now_ns: int) -> None:
        """Write a span when the minute is over, or somebody has set the clock back."""
        if self._since_ns and not 0 <= now_ns - self._since_ns < _INTERVAL_NS:
            self.write(now_ns)

    def write(self, now_ns: int, *, final: bool = False) -> None:
        """Write what happened since the last span, also if nothing did."""
        with self._writing:
            self._write(now_ns, final)

    def _write(self, now_ns: int, final: bool) -> None:
        if not self._since_ns:
            return
        total = self._tally.total()
        if final and self._final_written and total == self._seen:
            return
        self._final_written = final
        counts = {
            schema.FRAMES: 0,
            schema.JUDGED: 0,
            schema.UNATTRIBUTED: 0,
            schema.EXCUSED_COUNT: 0,
            schema.DROPPED: 0,
        }
        for key, amount in total.items():
            delta = amount - self._seen.get(key, 0)
            what = key[0]
            if what == "delivery":
                verdict, reason = key[3], key[4]
                counts[schema.FRAMES] += delta
                if verdict == UNATTRIBUTED:
                    counts[schema.UNATTRIBUTED] += delta
                    name = f"{schema.UNATTRIBUTED}.{reason}"
                    counts[name] = counts.get(name, 0) + delta
                else:
                    counts[schema.JUDGED] += delta
                    counts[schema.EXCUSED_COUNT] += delta if verdict == EXCUSED else 0
            elif what == "dropped":
                counts[schema.DROPPED] += delta
        self._seen = total
        attributes: dict[str, str | int | bool | float] = {**counts, schema.CLOCK_BASE: base_ns()}
        if self._disk_ahead_ns is not None:
            attributes[schema.CLOCK_DISK] = self._disk_ahead_ns
        if final:
            attributes[schema.FINAL] = True
        span = Span(
            schema.COVERAGE_SPAN,
            getrandbits(128) or 1,
            getrandbits(64) or 1,
            0,
            self._since_ns,
            now_ns,
            attributes,
        )
        self._since_ns = now_ns
        before_ns = time.time_ns()
        if self._store is not None and not self._store.write_coverage(span):
            self._tally.add(("dropped", "store"))
        self._ask_the_disk(before_ns)
        self._export(span)

    def _ask_the_disk(self, before_ns: int) -> None:
        """How far its clock is ahead of ours; a line has been written since that time."""
        changed_ns = self._store.changed_ns() if self._store is not None else 0
        # Where that took long, nobody knows when in between the disk had it.
        sure = changed_ns and 0 <= time.time_ns() - before_ns < _UNSURE_NS
        self._disk_ahead_ns = changed_ns - before_ns if sure else None

    def forget(self) -> None:
        """After a fork: the child counts from its own beginning."""
        self._seen = {}
        self._since_ns = 0


def base_ns() -> int:
    """Which time by the clock the monotonic clock counts from, in Unix nanoseconds."""
    looks = []
    for _ in range(3):  # the one in which nothing came between
        before = time.monotonic_ns()
        base = time.time_ns() - before
        looks.append((time.monotonic_ns() - before, base))
    return min(looks)[1]
