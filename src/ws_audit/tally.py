# SPDX-License-Identifier: Apache-2.0
"""Exact counts from the call path: one dictionary a thread, summed when somebody asks.

Why it exists: frames and verdicts must add up even when records are dropped, so they are
counted where they happen. A metrics library takes a lock for each increment; a dictionary
that only its own thread writes needs none.

It must never lose a count (what a thread that has ended counted is put away), never block a
caller, and never grow with the threads an application starts.
"""

from __future__ import annotations

from _thread import RLock, _local
from collections import deque

Key = tuple[str, ...]  # what is counted, then its labels
Counts = dict[Key, int]


class _Ending:
    """Lives as long as its thread: tells, when that ends, that its counters may be put away."""

    def __init__(self, ended: deque[Counts], counts: Counts) -> None:
        self._ended = ended
        self._counts = counts

    def __del__(self) -> None:
        self._ended.append(self._counts)  # deque.append is atomic


class Tally:
    """Counters by key: add() from any thread, total() from the drain."""

    def __init__(self) -> None:
        self.forget()

    def mine(self) -> Counts:
        """The calling thread's own counters; only this thread may write to them."""
        try:
            return self._local.counts  # type: ignore[no-any-return]
        except AttributeError:
            counts: Counts = {}
            self._local.counts = counts
            self._local.ending = _Ending(self._ended, counts)
            self._all[id(counts)] = counts
            return counts

    def add(self, key: Key, amount: int = 1) -> None:
        """Count `amount` more under `key`."""
        try:
            counts = self._local.counts
        except AttributeError:
            counts = self.mine()
        counts[key] = counts.get(key, 0) + amount

    def total(self) -> Counts:
        """All counts since the start, over all threads, also those that have ended."""
        with self._lock:
            while self._ended:
                counts = self._ended.popleft()
                _sum(self._put_away, counts)
                del self._all[id(counts)]
            total = self._put_away.copy()
            for counts in list(self._all.values()):
                # dict.copy() runs no Python code for these keys, so no thread gets between.
                _sum(total, counts.copy())
            return total

    def forget(self) -> None:
        """Start from nothing: a forked child reports its own counts, not its parent's."""
        self._lock = RLock()
        self._ended: deque[Counts] = deque()
        self._put_away: Counts = {}
        self._all: dict[int, Counts] = {}
        self._local = _local()


def _sum(total: Counts, counts: Counts) -> None:
    for key, amount in counts.items():
        total[key] = total.get(key, 0) + amount
