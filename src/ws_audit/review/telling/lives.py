# SPDX-License-Identifier: Apache-2.0
"""The lives of processes: what each saw, from when to when, and when it saw nothing.

Why it exists: "nothing else happened" is only as good as the record of the minutes in question.
Every process writes how much it judged once a minute, so a minute without that is a blind one.

It must never take silence for a quiet minute.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ws_audit.review.segments.rows import CoverageRow, Origin, ProcessRow, Rows, ViolationRow

SECOND: Final = 1_000_000_000
TOLERANCE_NS: Final = SECOND  # between two coverage records: they follow each other at once
DUE_NS: Final = 60 * SECOND  # a coverage record is due each minute
LATE_NS: Final = 90 * SECOND  # past this it is overdue
STEPS: Final = (60, 300, 900, 3600, 6 * 3600, 86_400, 7 * 86_400)  # seconds
MAX_STEPS: Final = 60


class Life(NamedTuple):
    """One process from its start to its last word. Times are Unix nanoseconds, 0 if unknown.

    `covered_ns` is the end of its last coverage record, `last_ns` of anything it wrote. `ended`
    says that it wrote a final one. `start` is None if what it said at its start is not there.
    """

    origin: Origin
    start: ProcessRow | None
    first_ns: int
    last_ns: int
    covered_ns: int
    ended: bool
    frames: int
    judged: int
    coverage: tuple[CoverageRow, ...]
    violations: tuple[ViolationRow, ...]


class Blind(NamedTuple):
    """An interval in which a process may have sent what nobody counted; `last_ns` 0 is open."""

    life: Life
    first_ns: int
    last_ns: int
    why: str


class Step(NamedTuple):
    """What all processes saw in one step of time."""

    first_ns: int
    frames: int
    judged: int
    unattributed: int
    excused: int
    dropped: int


def lives(rows: Rows, since_ns: int = 0) -> list[Life]:
    """Tell the processes apart, in order of their start; what was before `since_ns` is not told."""
    starts: dict[Origin, list[int]] = {}
    for process in rows.processes:
        starts.setdefault(process.origin, []).append(process.time_ns)
    for times in starts.values():
        times.sort()

    drafts: dict[tuple[Origin, int], _Draft] = {}

    def draft(origin: Origin, ns: int) -> _Draft:
        # Where segments tell processes apart a second start is none; elsewhere a pid comes back.
        turn = 0 if origin.began else bisect_right(starts.get(origin, ()), ns)
        return drafts.setdefault((origin, max(turn, 1)), _Draft())

    for process in rows.processes:
        its = draft(process.origin, process.time_ns)
        if its.start is None or process.time_ns < its.start.time_ns:
            its.start = process
    for row in rows.coverage:
        draft(row.origin, row.first_ns).coverage.append(row)
    for violation in rows.violations:
        if violation.synthetic:
            continue
        draft(violation.origin, violation.first_ns).violations.append(violation)

    found = [its.life(origin, since_ns) for (origin, _), its in drafts.items()]
    return sorted(found, key=lambda life: (life.first_ns, life.origin))


class _Draft:
    __slots__ = ("coverage", "start", "violations")

    def __init__(self) -> None:
        self.start: ProcessRow | None = None
        self.coverage: list[CoverageRow] = []
        self.violations: list[ViolationRow] = []

    def life(self, origin: Origin, since_ns: int) -> Life:
        coverage = sorted(self.coverage, key=lambda row: (row.first_ns, row.last_ns))
        begun = [self.start.time_ns] if self.start else []
        covered = max((row.last_ns for row in coverage), default=0)
        return Life(
            origin,
            self.start,
            max(min(begun + [row.first_ns for row in coverage + self.violations]), since_ns),
            max(begun + [covered] + [row.last_ns for row in self.violations]),
            covered,
            bool(coverage) and coverage[-1].final,
            sum(row.frames for row in coverage),
            sum(row.judged for row in coverage),
            tuple(coverage),
            tuple(self.violations),
        )


def blind(life: Life, now_ns: int) -> list[Blind]:
    """List the intervals of a process without a coverage record, as of `now_ns`."""
    found = []
    seen = life.first_ns
    for row in life.coverage:
        if row.first_ns - seen > TOLERANCE_NS:
            found.append(Blind(life, seen, row.first_ns, "no coverage record"))
        seen = max(seen, row.last_ns)
    if life.ended:
        return found
    if not life.coverage:
        found.append(Blind(life, life.first_ns, 0, "no coverage record at all"))
    elif now_ns - seen <= LATE_NS:
        found.append(Blind(life, seen, 0, "the next record is not due yet"))
    else:
        found.append(Blind(life, seen, 0, "no last record: it was killed, or could not write"))
    return found


def silences(all_lives: Iterable[Life], since_ns: int = 0) -> list[tuple[str, int, int]]:
    """List (service, from, to) between two processes of a service: nobody audited it then.

    Also from `since_ns` to the first one.
    """
    spans: dict[str, list[tuple[int, int]]] = {}
    for life in all_lives:
        spans.setdefault(life.origin.service, []).append((life.first_ns, life.last_ns))
    found = []
    for service, of_service in spans.items():
        seen = since_ns
        for first_ns, last_ns in sorted(of_service):
            if seen and first_ns - seen > TOLERANCE_NS:
                found.append((service, seen, first_ns))
            seen = max(seen, last_ns)
    return sorted(found, key=lambda it: it[1])


def steps(coverage: Iterable[CoverageRow]) -> tuple[int, list[Step]]:
    """Sum coverage up by the minute, or by as much more as makes 60 steps or fewer.

    A record counts for the step its middle is in, so the sums stay exact. Returns the seconds
    of a step with the steps in which there was a record.
    """
    rows = [(row, (row.first_ns + row.last_ns) // 2) for row in coverage]
    if not rows:
        return STEPS[0], []
    first, last = min(at for _, at in rows), max(at for _, at in rows)
    seconds = next((it for it in STEPS if (last - first) // SECOND < it * MAX_STEPS), STEPS[-1])
    width = seconds * SECOND
    sums: dict[int, list[int]] = {}
    for row, at in rows:
        sum_ = sums.setdefault(at // width, [0] * 5)
        counts = (row.frames, row.judged, row.unattributed, row.excused, row.dropped)
        for index, count in enumerate(counts):
            sum_[index] += count
    return seconds, [Step(number * width, *sums[number]) for number in sorted(sums)]
