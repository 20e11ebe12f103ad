# SPDX-License-Identifier: Apache-2.0
"""Who saw whose data: the matrix, and every pair with its times.

Why it exists: it is the question everybody asks first, and the list that people are told from.

It must never mix what was seen with what may have been, and never leave a pair out in silence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ws_audit.model import SEVERITIES

from .banner import severity
from .markup import Html, counted, facts, join, moment, more, number, table, tag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ws_audit.review.telling.story import PairTold, Radius, Story

SIDE: Final = 12  # people on each side of the matrix; the others share a line
SHOWN: Final = 20  # pairs before one has to ask
MAX_LISTED: Final = 3000
_REST: Final = "\0rest"  # no hash


def pairs(story: Story) -> Html | None:
    """The section; None if nothing that is a delivery was seen."""
    if not story.pairs:
        return None
    frames = story.json["coverage"]["frames"]
    unjudged = frames - story.json["coverage"]["judged"]
    return tag(
        "section",
        tag("h2", "Who saw whose data"),
        tag(
            "p",
            "Deliveries only, over all incidents but hygiene. Each person is a ",
            tag("a", "keyed hash", href="#hashes"),
            ".",
        ),
        facts(
            ("Confirmed", _radius(story.confirmed, "confirmed")),
            ("Possible, beyond that", _radius(story.possible, "possible")),
            ("Attempted, nothing delivered", _radius(story.tried, "tried")),
            (
                "Not judged at all",
                join(
                    number(unjudged, "unjudged"),
                    " of ",
                    counted(frames, "delivery", "deliveries"),
                    " on record" + (": more leaks could be among them" if unjudged else ""),
                ),
            ),
            class_="radius",
        ),
        _matrix(story),
        _list(story),
        id="pairs",
    )


def _radius(radius: Radius, name: str) -> Html:
    if not radius.pairs:
        return tag("span", "nobody", data_name=f"{name}-pairs", data_value="0")
    return join(
        "data of ",
        tag("b", counted(radius.owners, "person", "people", name=f"{name}-owners")),
        " on connections of ",
        tag("b", counted(radius.recipients, "person", "people", name=f"{name}-recipients")),
        ": ",
        counted(radius.pairs, "pair", name=f"{name}-pairs"),
        ", ",
        counted(radius.events, "message", name=f"{name}-events"),
        " delivered",
    )


def person(story: Story, hash_: str) -> Html:
    """A person's shortened hash, the whole one in the hint."""
    if not hash_:
        return tag("span", "unknown", class_="dim")
    return tag("code", story.people.get(hash_, hash_[:8]), class_="person", title=hash_)


def _matrix(story: Story) -> Html:
    owners = _largest(story.pairs, lambda it: it.owner)
    recipients = _largest(story.pairs, lambda it: it.recipient)
    rows, columns = owners[:SIDE], recipients[:SIDE]
    cells: dict[tuple[str, str], list[int]] = {}
    for pair in story.pairs:
        key = (
            pair.owner if pair.owner in rows else _REST,
            pair.recipient if pair.recipient in columns else _REST,
        )
        cell = cells.setdefault(key, [0, len(SEVERITIES)])
        cell[0] += pair.events
        cell[1] = min(cell[1], SEVERITIES.index(pair.severity))
    if len(owners) > SIDE:
        rows.append(_REST)
    if len(recipients) > SIDE:
        columns.append(_REST)

    def name(hash_: str, of: int) -> Html:
        return tag("span", f"{of:,} others") if hash_ == _REST else person(story, hash_)

    more_owners, more_recipients = len(owners) - SIDE, len(recipients) - SIDE
    head = [
        tag("th", tag("span", name(it, more_recipients), class_="up"), scope="col")
        for it in columns
    ]
    body = []
    for row in rows:
        line = [tag("th", name(row, more_owners), scope="row")]
        for column in columns:
            cell_ = cells.get((row, column))
            if cell_ is None:
                same = row == column and row != _REST
                line.append(tag("td", "same" if same else "", class_="same" if same else "no"))
            else:
                line.append(tag("td", number(cell_[0]), class_=SEVERITIES[cell_[1]]))
        line.append(tag("td", number(sum(cells.get((row, it), [0])[0] for it in columns))))
        body.append(tag("tr", *line))
    totals = [
        tag("td", number(sum(cells.get((it, column), [0])[0] for it in rows))) for column in columns
    ]
    total = tag("td", number(sum(it.events for it in story.pairs), "matrix-total"))
    caption = "Messages delivered: whose data (rows) on whose connection (columns)"
    return tag(
        "figure",
        tag("p", caption, class_="dim", aria_hidden="true"),
        tag(
            "div",
            tag(
                "table",
                tag("caption", caption, class_="unshown"),
                tag(
                    "thead",
                    tag(
                        "tr",
                        tag("th", "whose data, on whose connection", scope="col", class_="corner"),
                        *head,
                        tag("th", tag("span", "sum", class_="up"), scope="col"),
                    ),
                ),
                tag("tbody", *body),
                tag("tfoot", tag("tr", tag("th", "sum", scope="row"), *totals, total)),
                class_="matrix",
            ),
            class_="scroll",
            role="region",
            aria_label=caption,
            tabindex="0",
        ),
        tag(
            "figcaption",
            "Frame of a cell, the worst of the pair: ",
            *[
                piece
                for it in SEVERITIES
                if any(pair.severity == it for pair in story.pairs)
                for piece in (severity(it), " ")
            ],
        ),
    )


def _largest(of: Iterable[PairTold], side: Callable[[PairTold], str]) -> list[str]:
    sums: dict[str, int] = {}
    for pair in of:
        sums[side(pair)] = sums.get(side(pair), 0) + pair.events
    return sorted(sums, key=lambda hash_: (-sums[hash_], hash_))


def _list(story: Story) -> Html:
    listed = story.pairs[:MAX_LISTED]
    first, others = listed[:SHOWN], listed[SHOWN:]
    left = len(story.pairs) - len(listed)
    title = "Every pair" if not others else f"The first {len(first)} pairs, the worst first"
    return join(
        tag("h3", f"Pair by pair ({len(story.pairs):,})"),
        tag(
            "p",
            tag("label", "Find a hash ", tag("input", type="search", autocomplete="off")),
            " ",
            tag("output", "", aria_live="polite"),
            class_="filter",
            hidden=True,
        )
        if others
        else None,
        _table(story, title, first),
        more(
            tag("span", f"The other {len(others):,} pairs"),
            _table(story, "The other pairs", others),
        )
        if others
        else None,
        tag("p", f"{left:,} more pairs are not on this page; they are in the JSON.")
        if left
        else None,
    )


def _table(story: Story, title: str, listed: tuple[PairTold, ...]) -> Html:
    rows = [
        [
            person(story, it.owner),
            person(story, it.recipient),
            severity(it.severity),
            join(
                number(it.events, "events"),
                tag("small", " of them ", number(it.uncertain), " not certain")
                if it.uncertain
                else None,
            ),
            number(it.attempted, "attempted"),
            moment(it.first_ns, "first_seen"),
            moment(it.last_ns, "last_seen"),
            join(*_references(it.incidents)),
        ]
        for it in listed
    ]
    return table(
        title,
        [
            *("Whose data", "On whose connection", "How sure", "Delivered", "Attempted"),
            *("First (UTC)", "Last (UTC)", "Incident"),
        ],
        rows,
        class_="pairs",
        numeric=(3, 4),
        row_attributes=[
            {
                "data_people": f"{it.owner} {it.recipient}".lower(),
                "data_owner": it.owner,
                "data_recipient": it.recipient,
            }
            for it in listed
        ],
    )


def _references(incidents: tuple[int, ...]) -> list[str]:
    found: list[str] = []
    for number_ in incidents[:10]:
        found += [tag("a", str(number_), href=f"#incident-{number_}"), " "]
    return found
