# SPDX-License-Identifier: Apache-2.0
"""The timeline as a static picture: a lane for each person, every crossing marked.

Why it exists: when it began, in what rhythm it came and whether the agent saw everything then
is one look.

It must never move, load or run anything, and never say by colour alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ws_audit.incidents import timestamp
from ws_audit.review.telling.lanes import LINKS, STEPS

from .markup import Html, lasting, moment, number, tag

if TYPE_CHECKING:
    from ws_audit.review.telling.lanes import Lanes
    from ws_audit.review.telling.story import Story

LEFT: Final = 120  # where time begins
STEP: Final = 18  # width of a step
ROW: Final = 34  # height of a lane
TOP: Final = 34
STRIP: Final = 24  # height of what was judged
TICKS: Final = 6
_WIDTH: Final = LEFT + STEP * STEPS + 16


def timeline(story: Story) -> Html | None:
    """The section; None if no delivery went wrong."""
    lanes = story.lanes
    if lanes is None:
        return None
    height = TOP + ROW * len(lanes.lanes) + 66
    title = f"From {timestamp(lanes.first_ns)} to {timestamp(lanes.last_ns)}"
    described = (
        f"{len(lanes.lanes)} lanes, one for each person. {lanes.shown:,} messages for another "
        "person, each marked on the lane of the person whose data it was and on the lane of the "
        "person whose connection it was for. The table of pairs has the same in words."
    )
    picture = tag(
        "svg",
        tag("title", title, id="timeline-title"),
        tag("desc", described, id="timeline-text"),
        *_ticks(lanes, height),
        *_lanes(story, lanes),
        *_crossings(lanes),
        *_seen(lanes, TOP + ROW * len(lanes.lanes) + 14),
        viewBox=f"0 0 {_WIDTH} {height}",
        role="img",
        aria_labelledby="timeline-title timeline-text",
        class_="lanes",
    )
    return tag(
        "section",
        tag("h2", "Timeline"),
        tag(
            "p",
            moment(lanes.first_ns),
            " to ",
            moment(lanes.last_ns),
            f" (UTC), {lasting(lanes.last_ns - lanes.first_ns)}; "
            f"one step is {lasting(lanes.step_ns)}.",
        ),
        tag(
            "figure",
            tag(
                "div",
                picture,
                class_="scroll",
                role="region",
                aria_label="Timeline",
                tabindex="0",
            ),
            tag("figcaption", *_legend(lanes)),
        ),
        id="timeline",
    )


def _x(step: float) -> int:
    return LEFT + round(STEP * step)


def _y(lane: int) -> int:
    return TOP + ROW * lane + ROW // 2


def _ticks(lanes: Lanes, height: int) -> list[Html]:
    found = []
    span = lanes.last_ns - lanes.first_ns
    for tick in range(TICKS + 1):
        ns = lanes.first_ns + span * tick // TICKS
        exact = timestamp(ns)
        if span >= 2 * 86_400 * 1_000_000_000:
            label = exact[5:16].replace("T", " ")
        else:
            label = exact[11:19] if span >= 60_000_000_000 else exact[11:23]
        x = _x(STEPS * tick / TICKS)
        anchor = "start" if tick == 0 else "end" if tick == TICKS else "middle"
        found.append(tag("line", x1=x, x2=x, y1=TOP - 8, y2=height - 54, class_="tick"))
        found.append(tag("text", label, x=x, y=TOP - 14, text_anchor=anchor, class_="label"))
    return found


def _lanes(story: Story, lanes: Lanes) -> list[Html]:
    found = []
    for lane, hash_ in enumerate(lanes.lanes):
        y = _y(lane)
        found.append(tag("line", x1=LEFT, x2=_x(STEPS), y1=y, y2=y, class_="lane"))
        name = story.people.get(hash_, hash_[:8])
        found.append(tag("text", name, x=LEFT - 10, y=y + 4, text_anchor="end", class_="name"))
    return found


def _crossings(lanes: Lanes) -> list[Html]:
    found = [
        tag(
            "rect",
            x=_x(step) + 1,
            y=_y(low) - 9,
            width=STEP - 2,
            height=_y(high) - _y(low) + 18,
            rx=7,
            class_="band",
        )
        for step, low, high in lanes.bands
    ]
    for step, owner, recipient in lanes.links:
        x = _x(step + 0.5)
        found.append(tag("line", x1=x, x2=x, y1=_y(owner), y2=_y(recipient), class_="crossing"))

    # Who gave and got in one step has both marks beside each other.
    both = {it[:2] for it in lanes.given} & {it[:2] for it in lanes.got}
    aside = {key: 4 if key in both else 0 for key in {it[:2] for it in lanes.given + lanes.got}}
    for step, lane, attempted in lanes.given:
        hint = tag("title", f"{attempted:,} messages with data of this person")
        x = _x(step + 0.5) - aside[step, lane]
        found.append(tag("circle", hint, cx=x, cy=_y(lane), r=4, class_="gave"))
    for step, lane, events, attempted in lanes.got:
        hint = tag("title", f"{attempted:,} messages with data of others, {events:,} delivered")
        x, y = _x(step + 0.5) + aside[step, lane], _y(lane)
        points = f"{x},{y - 6} {x + 5},{y} {x},{y + 6} {x - 5},{y}"
        found.append(tag("polygon", hint, points=points, class_="got" if events else "tried"))
    return found


def _seen(lanes: Lanes, y: int) -> list[Html]:
    """The strips below: how much was judged in each step, and who was blind then."""
    found = [
        tag("text", "judged", x=LEFT - 10, y=y + 17, text_anchor="end", class_="label"),
        tag("text", "blind", x=LEFT - 10, y=y + 41, text_anchor="end", class_="label"),
    ]
    for step, it in enumerate(lanes.seen):
        x = _x(step)
        if it.covered:
            full = int(STRIP * it.judged / it.frames) if it.frames else STRIP
            found.append(
                tag("rect", x=x, y=y, width=STEP, height=STRIP, class_="unjudged"),
            )
            found.append(
                tag("rect", x=x, y=y + STRIP - full, width=STEP, height=full, class_="judged")
            )
        if it.blind or not it.covered:
            hint = tag("title", f"{it.blind:,} processes blind" if it.covered else "no record")
            found.append(_hatch(x, y + STRIP + 6, STEP, 14, hint))
    return found


def _hatch(x: int, y: int, width: int, height: int, *hint: Html) -> Html:
    right, below = x + width, y + height
    return tag(
        "g",
        *hint,
        tag("rect", x=x, y=y, width=width, height=height, class_="unseen"),
        tag("path", d=f"M{x},{below}L{right},{y}M{x},{y}L{right},{below}", class_="cross"),
    )


def _legend(lanes: Lanes) -> list[str]:
    def sign(shape: Html) -> Html:
        return tag(
            "svg", shape, viewBox="0 0 16 16", class_="sign", aria_hidden="true", focusable="false"
        )

    diamond = "8,2 14,8 8,14 2,8"
    fewer = lanes.people - len(lanes.lanes)
    left = f" Left out: {fewer:,} people with fewer messages." if fewer else ""
    return [
        sign(tag("circle", cx=8, cy=8, r=5, class_="gave")),
        " data of this person; ",
        sign(tag("polygon", points=diamond, class_="got")),
        " came to this person's connection; ",
        sign(tag("polygon", points=diamond, class_="tried")),
        " attempted, not delivered; ",
        sign(tag("rect", x=4, y=0, width=8, height=16, rx=4, class_="band")),
        f" more than {LINKS} crossings in one step. Below: ",
        sign(tag("rect", x=0, y=0, width=16, height=16, class_="judged")),
        " share of deliveries judged, ",
        sign(_hatch(0, 0, 16, 16)),
        " no record of that time, or not of every process. Drawn: ",
        number(lanes.shown, "drawn"),
        " of ",
        number(lanes.attempted),
        f" messages.{left}",
    ]
