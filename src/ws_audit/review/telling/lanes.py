# SPDX-License-Identifier: Apache-2.0
"""A lane for each person over time, and on them every crossing: whose data came to whom.

Why it exists: a table tells who and how often; when, how long and in what rhythm is seen at a
glance only in a picture.

It must never hold more than a mark for each step and lane, and always say what it left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from .lives import DUE_NS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ws_audit.review.segments.rows import CoverageRow, ViolationRow

    from .lives import Blind

STEPS: Final = 48
LANES: Final = 12
SHORTEST_NS: Final = 10 * 1_000_000_000  # a moment is shown with what was before and after it
LINKS: Final = 3  # crossings told one by one in a step; more of them are one band


class Given(NamedTuple):
    """In this step, so many messages with the data of this lane's person went to others."""

    step: int
    lane: int
    attempted: int


class Got(NamedTuple):
    """In this step, so many messages with others' data came to this lane's person."""

    step: int
    lane: int
    events: int
    attempted: int


class Link(NamedTuple):
    """In this step, data crossed from one lane to another."""

    step: int
    owner: int
    recipient: int


class Band(NamedTuple):
    """In this step, more crossings than can be told apart, between these lanes."""

    step: int
    low: int
    high: int


class Seen(NamedTuple):
    """How much was judged in this step; `covered`: some process wrote a record of it.

    `blind` is how many processes had a blind interval in it.
    """

    covered: bool
    blind: int
    frames: float
    judged: float


class Lanes(NamedTuple):
    """The picture's content. `lanes` are people; times are Unix nanoseconds.

    `shown` of `attempted` messages are between the people who have a lane.
    """

    first_ns: int
    last_ns: int
    lanes: tuple[str, ...]
    given: tuple[Given, ...]
    got: tuple[Got, ...]
    links: tuple[Link, ...]
    bands: tuple[Band, ...]
    seen: tuple[Seen, ...]
    people: int  # in all
    shown: int
    attempted: int

    @property
    def step_ns(self) -> int:
        """How long one step is."""
        return (self.last_ns - self.first_ns) // STEPS


def lanes(
    violations: Iterable[ViolationRow], coverage: Iterable[CoverageRow], blinds: Iterable[Blind]
) -> Lanes | None:
    """Lay violations out on lanes: the people with the most crossings, in order of first sight."""
    rows = sorted(
        (row for row in violations if row.owner and row.recipient), key=lambda row: row.first_ns
    )
    if not rows:
        return None
    first_ns = rows[0].first_ns
    last_ns = max(row.last_ns for row in rows)
    around = max(SHORTEST_NS - (last_ns - first_ns), 0) // 2
    first_ns, last_ns = first_ns - around, last_ns + around
    people: dict[str, int] = {}
    for row in rows:
        for person in (row.owner, row.recipient):
            people[person] = people.get(person, 0) + row.count
    order = list(people)
    chosen = sorted(order, key=lambda person: -people[person])[:LANES]
    chosen.sort(key=order.index)
    lane = {person: index for index, person in enumerate(chosen)}

    given: dict[tuple[int, int], int] = {}
    got: dict[tuple[int, int], list[int]] = {}
    crossings: dict[int, set[tuple[int, int]]] = {}
    shown = 0
    for row in rows:
        owner, recipient = lane.get(row.owner), lane.get(row.recipient)
        if owner is None or recipient is None:
            continue
        middle = (row.first_ns + row.last_ns) // 2
        step = min((middle - first_ns) * STEPS // (last_ns - first_ns), STEPS - 1)
        given[step, owner] = given.get((step, owner), 0) + row.count
        sums = got.setdefault((step, recipient), [0, 0])
        sums[0] += row.delivered
        sums[1] += row.count
        crossings.setdefault(step, set()).add((owner, recipient))
        shown += row.count
    few = {step: pairs for step, pairs in crossings.items() if len(pairs) <= LINKS}
    many = {step: pairs for step, pairs in crossings.items() if len(pairs) > LINKS}
    return Lanes(
        first_ns,
        last_ns,
        tuple(chosen),
        tuple(sorted(Given(*key, count) for key, count in given.items())),
        tuple(sorted(Got(*key, *sums) for key, sums in got.items())),
        tuple(sorted(Link(step, *pair) for step, pairs in few.items() for pair in pairs)),
        tuple(
            sorted(
                Band(step, min(map(min, pairs)), max(map(max, pairs)))
                for step, pairs in many.items()
            )
        ),
        tuple(_seen(coverage, blinds, first_ns, last_ns)),
        len(people),
        shown,
        sum(row.count for row in rows),
    )


def _seen(
    coverage: Iterable[CoverageRow], blinds: Iterable[Blind], first_ns: int, last_ns: int
) -> list[Seen]:
    """Spread each record evenly over its own time, and cut that into the picture's steps."""
    width = (last_ns - first_ns) // STEPS  # whole: a float cannot tell nanoseconds of today apart
    covered, blind = [False] * STEPS, [0] * STEPS
    frames, judged = [0.0] * STEPS, [0.0] * STEPS

    def over(begin_ns: int, end_ns: int) -> range:
        low = max((begin_ns - first_ns) // width, 0)
        return range(low, min((end_ns - first_ns) // width, STEPS - 1) + 1)

    for row in coverage:
        if row.first_ns <= last_ns and row.last_ns >= first_ns:
            for step in over(row.first_ns, row.last_ns):
                begin = first_ns + step * width
                share = min(row.last_ns, begin + width) - max(row.first_ns, begin)
                if share <= 0:
                    continue
                part = share / max(row.last_ns - row.first_ns, 1)
                covered[step] = True
                frames[step] += row.frames * part
                judged[step] += row.judged * part
    for it in blinds:
        end_ns = it.last_ns or it.first_ns + DUE_NS
        if it.first_ns <= last_ns and end_ns >= first_ns:
            for step in over(it.first_ns, end_ns):
                blind[step] += 1
    return [Seen(*it) for it in zip(covered, blind, frames, judged, strict=True)]
