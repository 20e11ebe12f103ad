# SPDX-License-Identifier: Apache-2.0
"""How many deliveries could not be judged, by line of code, event and reason.

Why it exists: "0 violations" says nothing of the deliveries nobody could judge. Their commonest
kinds, each with its line, are where an integration is finished.

It must never grow with traffic: past a thousand kinds the rest is one. It runs in the drain;
of deliveries that join no intent only some know their line, the others are shared out alike.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final, NamedTuple

from ws_audit.model import NONE, OTHER, UNATTRIBUTED, Call, Delivery

_KINDS: Final = 1_000
_CALLS: Final = 4_096  # intents whose line is remembered, or waited for
_SOURCES: Final = 500


class Row(NamedTuple):
    """Deliveries of one kind that could not be judged."""

    site: str
    event: str
    reason: str
    manager: str
    function: str
    count: int  # type: ignore[assignment]  # hides tuple.count
    estimated: bool  # of unjoined ones the line is known of some only


_Key = tuple[str, str, str, str]  # event, reason, manager, function


class Unjudged:
    """Folds records into counts; `rows` has the commonest first."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, _Key]] = Counter()
        self._unjoined: Counter[_Key] = Counter()
        self._lines: Counter[tuple[str, _Key]] = Counter()
        self._sites: dict[int, str] = {}  # of calls that are over
        self._waiting: dict[int, Counter[_Key]] = {}  # for the end of their call
        self.sources: set[tuple[str, str]] = set()  # (evidence, where it was read)

    def fold(self, record: Any) -> None:
        """Count a delivery nobody could judge; learn a call's line."""
        if type(record) is Delivery:
            for item in record.evidence:
                if len(self.sources) < _SOURCES:
                    self.sources.add((item.name, item.source))
            if record.verdict.verdict == UNATTRIBUTED:
                self._delivery(record)
        elif type(record) is Call:
            waiting = self._waiting.pop(record.intent_id, None)
            if waiting is not None:
                for key, amount in waiting.items():
                    self._count(record.site, key, amount)
            if len(self._sites) >= _CALLS:
                del self._sites[next(iter(self._sites))]
            self._sites[record.intent_id] = record.site

    def tick(self, now_ns: int) -> None:
        """Nothing periodic."""

    def _delivery(self, record: Delivery) -> None:
        key = (record.event, record.verdict.reason, record.manager, record.function)
        if not record.intent_id:
            table = self._unjoined
            if key not in table and len(table) >= _KINDS:
                key = (OTHER, record.verdict.reason, NONE, "")
            table[key] += 1
            if record.site and len(self._lines) < _KINDS:
                self._lines[record.site, key] += 1
            return
        site = self._sites.get(record.intent_id)
        if site is not None:
            self._count(site, key, 1)
            return
        waiting = self._waiting.get(record.intent_id)
        if waiting is None:
            if len(self._waiting) >= _CALLS:
                oldest = next(iter(self._waiting))
                for other, amount in self._waiting.pop(oldest).items():
                    self._count(NONE, other, amount)  # its call was dropped, or goes on for ever
            waiting = self._waiting[record.intent_id] = Counter()
        waiting[key] += 1

    def _count(self, site: str, key: _Key, amount: int) -> None:
        entry = (site, key)
        if entry not in self._counts and len(self._counts) >= _KINDS:
            entry = (OTHER, (OTHER, key[1], OTHER, ""))
        self._counts[entry] += amount

    def rows(self) -> list[Row]:
        """All kinds, the commonest first."""
        counts = self._counts.copy()
        for waiting in self._waiting.values():  # calls under way: their line comes with the end
            for key, amount in waiting.items():
                counts[key[3] or NONE, key] += amount
        found = [_row(site, key, amount, False) for (site, key), amount in counts.items()]
        for key, total in self._unjoined.items():
            lines = {site: n for (site, one), n in self._lines.items() if one == key}
            known = sum(lines.values())
            left = total
            for number, (site, share) in enumerate(sorted(lines.items()), 1):
                part = left if number == len(lines) else total * share // known
                left -= part
                if part:
                    found.append(_row(site, key, part, known < total and len(lines) > 1))
            if not lines:
                found.append(_row(NONE, key, total, False))
        return sorted(found, key=lambda row: (-row.count, row))

    def forget(self) -> None:
        """After a fork: nothing was delivered here yet."""
        self._counts, self._lines = Counter(), Counter()
        self._unjoined = Counter()
        self._sites, self._waiting = {}, {}


def _row(site: str, key: _Key, amount: int, estimated: bool) -> Row:
    event, reason, manager, function = key
    return Row(site, event, reason, manager, function, amount, estimated)
