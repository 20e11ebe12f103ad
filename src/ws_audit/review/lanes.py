# SPDX-License-Identifier: Apache-2.0
"""A lane for each person over time, and on them every crossing: whose data came to whom.

Why it exists: a table tells who and how often; when, how long and in what rhythm is seen at a
glance only in a picture.

It must never hold more marks than its bounds allow, and always say what it left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from ws_audit.model import SEVERITIES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .rows import CoverageRow, ViolationRow

STEPS: Final = 48
LANES: Final = 12
CROSSINGS: Final = 160


class Crossing(NamedTuple):
    """In this step, one person's data at another's connection. The last two are lanes."""

    step: int
    severity: str
    events: int
    attempted: int
    owner: int
    recipient: int


class Seen(NamedTuple):
    """How much was judged in this step; `covered`: some process wrote a record of it."""

    covered: bool
    frames: float
    judged: float


class Lanes(NamedTuple):
    """The picture's content. `lanes` are people; times are Unix nanoseconds."""

    first_ns: int
    last_ns: int
    lanes: tuple[str, ...]
    crossings: tuple[Crossing, ...]
    seen: tuple[Seen, ...]
    people: int  # in all
    events: int
    attempted: int
    shown_events: int
    shown_attempted: int
    more_crossings: int  # among these people, not drawn

    @property
    def step_ns(self) -> int:
        """How long one step is."""
        return max((self.last_ns - self.first_ns) // STEPS, 1)


def lanes(violations: Iterable[ViolationRow], coverage: Iterable[CoverageRow]) -> Lanes | None:
    """Lay violations out on lanes: the people with the most crossings, in order of first sight."""
    rows = sorted(
        (row for row in violations if row.owner and row.recipient), key=lambda row: row.first_ns
    )
    if not rows:
        return None
    first_ns = rows[0].first_ns
    last_ns = max(first_ns + STEPS, *(row.last_ns for row in rows))
    people: dict[str, int] = {}
    for row in rows:
        for person in (row.owner, row.recipient):
            people[person] = people.get(person, 0) + row.count
    order = list(people)
    chosen = sorted(order, key=lambda person: -people[person])[:LANES]
    chosen.sort(key=order.index)
    lane = {person: index for index, person in enumerate(chosen)}

    sums: dict[tuple[int, int, int], list[int]] = {}
    for row in rows:
        if row.owner in lane and row.recipient in lane:
            middle = (row.first_ns + row.last_ns) // 2
            step = min((middle - first_ns) * STEPS // (last_ns - first_ns), STEPS - 1)
            key = (step, lane[row.owner], lane[row.recipient])
            so_far = sums.setdefault(key, [len(SEVERITIES), 0, 0])
            so_far[0] = min(so_far[0], SEVERITIES.index(row.severity))
            so_far[1] += row.delivered
            so_far[2] += row.count
    crossings = [
        Crossing(step, SEVERITIES[rank], events, attempted, owner, recipient)
        for (step, owner, recipient), (rank, events, attempted) in sums.items()
    ]
    crossings.sort(key=lambda it: (SEVERITIES.index(it.severity), -it.events, it))
    shown = sorted(crossings[:CROSSINGS])
    return Lanes(
        first_ns,
        last_ns,
        tuple(chosen),
        tuple(shown),
        tuple(_seen(coverage, first_ns, last_ns)),
        len(people),
        sum(row.delivered for row in rows),
        sum(row.count for row in rows),
        sum(it.events for it in shown),
        sum(it.attempted for it in shown),
        len(crossings) - len(shown),
    )


def _seen(coverage: Iterable[CoverageRow], first_ns: int, last_ns: int) -> list[Seen]:
    """Spread each record evenly over its own time, and cut that into the picture's steps."""
    width = (last_ns - first_ns) / STEPS
    covered, frames, judged = [False] * STEPS, [0.0] * STEPS, [0.0] * STEPS
    for row in coverage:
        if row.last_ns < first_ns or row.first_ns > last_ns:
            continue
        low = max(int((row.first_ns - first_ns) / width), 0)
        high = min(int((row.last_ns - first_ns) / width), STEPS - 1)
        for step in range(low, high + 1):
            begin = first_ns + step * width
            share = min(row.last_ns, begin + width) - max(row.first_ns, begin)
            part = share / max(row.last_ns - row.first_ns, 1)
            covered[step] = True
            frames[step] += row.frames * part
            judged[step] += row.judged * part
    return [Seen(*it) for it in zip(covered, frames, judged, strict=True)]
