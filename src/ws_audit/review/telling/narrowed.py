# SPDX-License-Identifier: Apache-2.0
"""The rows that belong to a narrowed review.

Why it exists: the page tells more than the JSON has, and all of it has to be of what was asked
for: whoever is handed a page about one person must not find other people's evidence on it.

It must never leave out what tells against the counts that are shown: gaps of the time and the
services in question stay.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from ws_audit.book import cause_of
from ws_audit.review.selection import EVERYTHING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ws_audit.book import Cause
    from ws_audit.incidents import Incident
    from ws_audit.review.segments.read import Review
    from ws_audit.review.segments.rows import Rows, ViolationRow


def rows(everything: Rows, review: Review) -> Rows:
    """Give the rows that the review is made of."""
    asked = review.asked
    if asked == EVERYTHING:
        return everything
    homes = _Homes(review.whole)
    shown = {it.id for it in review.incidents}
    violations = [
        row for row in everything.violations if asked.takes(row.finding) and homes.of(row) in shown
    ]
    coverage = [it for it in everything.coverage if asked.covers(it.origin.service, it.last_ns)]
    # Who began before and has left nothing since is no part of it.
    there = {it.origin for it in coverage}
    there |= {
        it.origin for it in everything.violations if asked.covers(it.origin.service, it.last_ns)
    }
    return everything._replace(
        violations=violations,
        coverage=coverage,
        processes=[
            it
            for it in everything.processes
            if it.origin in there or asked.covers(it.origin.service, it.time_ns)
        ],
        sends=[it for it in everything.sends if asked.covers(it.origin.service, it.last_ns)],
        journal=[it for it in everything.journal if it.incident in shown],
    )


class _Homes:
    """Which incident a violation is of: of those of its cause the last that had begun."""

    def __init__(self, whole: Iterable[Incident]) -> None:
        self._turns: dict[Cause, list[tuple[int, str]]] = {}
        for incident in whole:
            for finding in (incident.findings or [])[:1]:
                turn = (incident.first_ns, incident.id)
                self._turns.setdefault(cause_of(finding), []).append(turn)
        for turns in self._turns.values():
            turns.sort()

    def of(self, row: ViolationRow) -> str:
        """Its id; "" for one that is of none."""
        turns = self._turns.get(cause_of(row.finding), [])
        if row.synthetic or not turns:
            return ""
        turn = bisect_right(turns, row.first_ns, key=lambda it: it[0]) - 1
        return turns[max(turn, 0)][1]
