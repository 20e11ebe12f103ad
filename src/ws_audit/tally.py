# SPDX-License-Identifier: Apache-2.0
"""Exact counts from the call path: one dictionary a thread, summed when somebody asks.

Why it exists: frames and verdicts must add up even when records are dropped, so they are
counted where they happen. A metrics library takes a lock for each increment; a dictionary
that only its own thread writes needs none.

It must never lose a count (a dead thread's dictionary is kept) and never block a caller.
"""

from __future__ import annotations

from _thread import _local

Key = tuple[str, ...]  # what is counted, then its labels
Counts = dict[Key, int]


class Tally:
    """Counters by key: add() from any thread, total() from the drain."""

    def __init__(self) -> None:
        self._local = _local()
        self._all: list[Counts] = []

    def mine(self) -> Counts:
        """The calling thread's own counters; only this thread may write to them."""
        try:
            return self._local.counts  # type: ignore[no-any-return]
        except AttributeError:
            counts: Counts = {}
            self._local.counts = counts
            self._all.append(counts)  # list.append is atomic
            return counts

    def add(self, key: Key, amount: int = 1) -> None:
        """Count `amount` more under `key`."""
        try:
            counts = self._local.counts
        except AttributeError:
            counts = self.mine()
        counts[key] = counts.get(key, 0) + amount

    def total(self) -> Counts:
        """All counts since the start, over all threads."""
        total: Counts = {}
        for counts in list(self._all):
            # dict.copy() runs no Python code for these keys, so no other thread gets between.
            for key, amount in counts.copy().items():
                total[key] = total.get(key, 0) + amount
        return total

    def forget(self) -> None:
        """Start from nothing: a forked child reports its own counts, not its parent's."""
        self._local = _local()
        self._all = []
