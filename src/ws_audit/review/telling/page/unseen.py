# SPDX-License-Identifier: Apache-2.0
"""What we could not see: everything that stands against the counts above.

Why it exists: "no more than that" may be said only as far as somebody looked.

It must never leave out a gap because it is small, ours or inconvenient.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ws_audit.review.telling.report import MEANING

from .banner import share
from .evidence import counted_text
from .markup import (
    Html,
    code,
    counted,
    facts,
    join,
    lasting,
    moment,
    more,
    number,
    stored,
    table,
    tag,
)

if TYPE_CHECKING:
    from ws_audit.review.telling.lives import Blind, Life
    from ws_audit.review.telling.story import Story

MOST: Final = 200  # lines of a table
STEPS: Final = 100


def unseen(story: Story) -> Html:
    """The section."""
    coverage = story.json["coverage"]
    frames = coverage["frames"]
    return tag(
        "section",
        tag("h2", "What we could not see"),
        facts(
            (
                "Judged",
                join(
                    number(coverage["judged"], "judged"),
                    " of ",
                    counted(frames, "delivery", "deliveries", "frames"),
                    f" ({share(coverage['judged'], frames)})",
                ),
            ),
            (
                "Not attributed to anybody",
                join(
                    number(coverage["unattributed"], "unattributed"),
                    ": nobody knows whose they were",
                ),
            ),
            ("Excused by a declared policy", number(coverage["excused"], "excused")),
            (
                "Records lost by the agent",
                join(
                    number(coverage["dropped"], "dropped"),
                    ": the counts may be too low" if coverage["dropped"] else None,
                ),
            ),
            ("Recorded", _window(story)),
        ),
        _reasons(story) if story.reasons else None,
        _blind(story),
        _problems(story),
        _processes(story.lives) if story.lives else None,
        _steps(story) if story.steps else None,
        id="unseen",
    )


def _window(story: Story) -> Html:
    first, last = story.json["window"]["first"], story.json["window"]["last"]
    if first is None:
        return tag("span", "nothing")
    return join(
        tag("time", first, datetime=first, data_name="window-first"),
        " to ",
        tag("time", last, datetime=last, data_name="window-last"),
    )


def _reasons(story: Story) -> Html:
    rows = [
        [code(reason), tag("span", MEANING.get(reason, "")), number(count, "reason")]
        for reason, count in story.reasons
    ]
    return table(
        "Deliveries that could not be judged, by reason",
        ["Reason", "Means", "Deliveries"],
        rows,
        numeric=(2,),
        row_attributes=[{"data_reason": reason} for reason, _ in story.reasons],
    )


def _blind(story: Story) -> Html:
    rows = [_blind_row(it) for it in story.blind[:MOST]]
    rows += [
        [
            tag("span", "all processes of ", stored(service)),
            moment(first_ns),
            moment(last_ns),
            tag("span", lasting(last_ns - first_ns)),
            tag("span", "no process of this service wrote anything"),
        ]
        for service, first_ns, last_ns in story.silences[:MOST]
    ]
    left = len(story.blind) + len(story.silences) - len(rows)
    if not rows:
        return join(
            tag("h3", "Blind intervals"),
            tag("p", "None: every process wrote its coverage from its start to its end."),
        )
    return join(
        tag("h3", "Blind intervals"),
        tag("p", "Violations are on disk at once; what else was delivered then is not known."),
        table(
            "Times for which a record of coverage is missing",
            ["Who", "From (UTC)", "To (UTC)", "Lasts", "Why"],
            rows,
            class_="blind",
        ),
        tag("p", f"{left:,} more.") if left else None,
    )


def _blind_row(it: Blind) -> list[Html]:
    return [
        _process(it.life),
        moment(it.first_ns),
        moment(it.last_ns) if it.last_ns else tag("span", "open"),
        tag(
            "span",
            lasting(it.last_ns - it.first_ns) if it.last_ns else "a minute, if killed",
        ),
        tag("span", it.why),
    ]


def _process(life: Life) -> Html:
    origin = life.origin
    return join(stored(origin.service), f" {origin.pid} on ", stored(origin.host))


def _problems(story: Story) -> Html:
    problems = story.json["problems"]
    if not problems:
        return join(tag("h3", "Problems"), tag("p", "None: everything that was there was read."))
    return join(
        tag("h3", f"Problems ({len(problems):,})"),
        tag("ul", *[tag("li", stored(it)) for it in problems[:MOST]], class_="problems"),
        tag("p", f"{len(problems) - MOST:,} more; see the JSON.") if len(problems) > MOST else None,
    )


def _processes(lives: tuple[Life, ...]) -> Html:
    rows = []
    for life in lives[:MOST]:
        start = life.start
        rows.append(
            [
                _process(life),
                stored(life.origin.version, "no version"),
                moment(life.first_ns),
                moment(life.last_ns),
                tag("span", "yes" if life.ended else "no"),
                number(life.judged),
                number(life.frames),
                number(len(life.violations)),
                stored(start.mode if start else ""),
                stored(start.python if start else ""),
                stored(start.agent if start else ""),
            ]
        )
    left = len(lives) - len(rows)
    ended = sum(life.ended for life in lives)
    return more(
        tag("span", f"Processes: {len(lives):,}, of which {ended:,} wrote a last record"),
        table(
            "Processes, in order of their start",
            [
                *("Process", "Version", "From (UTC)", "To (UTC)", "Ended", "Judged"),
                *("Deliveries", "Violation records", "Mode", "Python", "ws-audit"),
            ],
            rows,
            numeric=(5, 6, 7),
        ),
        *([tag("p", f"{left:,} more.")] if left else []),
    )


def _steps(story: Story) -> Html:
    rows = [
        [
            moment(it.first_ns),
            number(it.frames),
            number(it.judged),
            number(it.unattributed),
            number(it.excused),
            number(it.dropped),
        ]
        for it in story.steps[-STEPS:]
    ]
    left = len(story.steps) - len(rows)
    width = lasting(story.step_seconds * 1_000_000_000)
    return more(
        tag("span", f"Coverage over time, in steps of {width}"),
        table(
            "A record counts for the step its middle is in; steps without one are left out",
            ["Step from (UTC)", "Deliveries", "Judged", "Unattributed", "Excused", "Lost"],
            rows,
            numeric=(1, 2, 3, 4, 5),
        ),
        *([tag("p", f"{counted_text(left, 'earlier step')} left out.")] if left else []),
    )
