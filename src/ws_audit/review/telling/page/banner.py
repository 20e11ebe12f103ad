# SPDX-License-Identifier: Apache-2.0
"""The first screen: is it real, is it still going on, how many people, how sure.

Why it exists: whoever was woken reads this and nothing else before the first phone call.

It must never let a zero stand without how much was judged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ws_audit.model import HYGIENE, SEVERITIES
from ws_audit.review.telling.report import same_pairs

from . import words
from .markup import (
    Html,
    code,
    codes,
    counted,
    facts,
    join,
    lasting,
    moment,
    number,
    stored,
    table,
    tag,
)

if TYPE_CHECKING:
    from ws_audit.review.telling.story import IncidentTold, Story

MAX_INDEXED: Final = 200  # incidents in the table
SITES: Final = 3  # lines of code of one incident there


def banner(story: Story) -> Html:
    """The headline with its figures: those of the incidents with the worst severity."""
    incidents = story.incidents
    if not incidents:
        return tag("section", *_nothing(story), class_="banner calm", id="banner")
    standing = [it for it in incidents if not it.json["acknowledged"]]
    shown = standing or list(incidents)
    worst = min((it.json["severity"] for it in shown), key=SEVERITIES.index)
    chosen = [it for it in shown if it.json["severity"] == worst]
    ongoing = any(it.json["ongoing"] for it in chosen)
    last_ns = max(it.last_ns for it in chosen)
    pairs = {(pair.recipient, pair.owner) for it in chosen for pair in it.pairs}
    people = {person for pair in pairs for person in pair if person}
    owners = len({owner for _, owner in pairs if owner})
    recipients = len({recipient for recipient, _ in pairs if recipient})
    silent = _ago(story.now_ns - last_ns)
    since = f"Ongoing: last seen {silent}" if ongoing else f"Over: last seen {silent}"
    if not standing:
        since = f"All incidents are acknowledged; last seen {silent}"
    calm = worst == HYGIENE or not standing
    which = f"the {len(chosen)} {worst} incidents" if len(chosen) > 1 else f"the {worst} incident"
    return tag(
        "section",
        tag(
            "p",
            tag("strong", _headline(worst, chosen, standing), class_="headline"),
            " ",
            tag("span", since, class_="state", data_name="ongoing", data_value=str(ongoing)),
            class_="lead",
        ),
        facts(
            (
                "People",
                join(
                    tag("b", counted(len(people), "person", "people", name="people")),
                    " in ",
                    counted(len(pairs), "pair", name="pairs"),
                    tag("small", f"data of {owners:,}, on connections of {recipients:,}")
                    if all(it.leaks for it in chosen)
                    else None,
                ),
            ),
            ("Messages", _amount(chosen)),
            ("How sure", join(tag("b", worst), tag("small", words.SURE[worst]))),
            ("First (UTC)", tag("b", moment(min(it.first_ns for it in chosen), "first"))),
            ("Last (UTC)", tag("b", moment(last_ns, "last"))),
            ("Looked at", _unseen(story)),
            ("Code", _where(chosen)),
            class_="figures",
        ),
        tag(
            "p",
            f"Figures of {which}, as of ",
            moment(story.now_ns, "now"),
            ". ",
            _others(incidents, chosen),
            class_="dim",
        ),
        class_=f"banner {'calm' if calm else 'alarm'}",
        id="banner",
        aria_label="Summary",
    )


def _headline(worst: str, chosen: list[IncidentTold], standing: list[IncidentTold]) -> str:
    """Say what happened. Only what was sent to somebody is a leak."""
    if not standing:
        return "Nothing open"
    sent = [it for it in chosen if it.json["rule"] not in words.HAPPENED]
    if sent or worst == HYGIENE:
        nothing = sent and not any(it.json["events"] for it in sent)
        return words.HEADLINES[worst] + (", nothing of it delivered" if nothing else "")
    happened = sorted({words.HAPPENED[it.json["rule"]] for it in chosen})
    leak = any(it.leaks for it in standing)
    tail = "and a leak is suspected" if leak else "no wrong delivery seen"
    return f"{'; '.join(happened)} ({worst}), {tail}"


def _amount(chosen: list[IncidentTold]) -> Html:
    """How much was sent, and how often something else happened."""
    sent = [it.json for it in chosen if it.json["rule"] not in words.HAPPENED]
    happened = sum(it.json["events"] for it in chosen if it.json["rule"] in words.HAPPENED)
    told = join(
        tag("b", number(sum(it["events"] for it in sent), "events"), " delivered"),
        " of ",
        number(sum(it["attempted"] for it in sent), "attempted"),
        " attempted",
        tag("small", counted(sum(it["bytes"] for it in sent), "byte", name="bytes")),
    )
    seen = tag("b", "seen ", counted(happened, "time", name="happened"))
    if happened and sent:
        return join(told, tag("small", "something else ", seen))
    return seen if happened else told


def _where(incidents: list[IncidentTold]) -> Html:
    sites = sorted({site for it in incidents for site in it.json["sites"]})
    deploys = sorted(
        {
            f"{it.json['services'][0]} {version}".strip()
            for it in incidents
            for version in it.json["versions"] or [""]
        }
    )
    left = len(sites) - SITES
    return join(
        tag("b", codes(sites[:SITES])),
        tag("small", "and ", counted(left, "more line")) if left > 0 else None,
        tag("small", "in ", stored(", ".join(deploys[:SITES]))),
    )


def _ago(ns: int) -> str:
    return f"{lasting(ns)} before this page was made" if ns >= 0 else "just now"


def _unseen(story: Story) -> Html:
    coverage = story.json["coverage"]
    frames, judged = coverage["frames"], coverage["judged"]
    return join(
        tag("b", share(judged, frames)),
        " of deliveries judged",
        tag(
            "small",
            counted(frames - judged, "delivery", "deliveries"),
            " unjudged, ",
            counted(coverage["dropped"], "record"),
            " lost, ",
            counted(len(story.blind) + len(story.silences), "blind interval"),
            ". ",
            tag("a", "What we could not see", href="#unseen"),
        ),
    )


def share(part: int, whole: int) -> str:
    """A percentage, rounded down: 100 % must mean all of them."""
    if not whole:
        return "none"
    permille = part * 1000 // whole
    return f"{permille // 10}.{permille % 10} %"


def _others(incidents: tuple[IncidentTold, ...], chosen: list[IncidentTold]) -> str:
    figured = {it.number for it in chosen}
    rest = [it for it in incidents if it.number not in figured]
    counts = [(sum(it.json["severity"] == name for it in rest), name) for name in SEVERITIES]
    listed = ", ".join(f"{count:,} {name}" for count, name in counts if count)
    closed = sum(it.json["acknowledged"] for it in rest)
    more = f", of them {closed:,} acknowledged" if closed else ""
    return f"Further incidents: {listed}{more}." if listed else ""


def _nothing(story: Story) -> tuple[Html, ...]:
    """Say what it means that there is no incident, which depends on what was looked at."""
    coverage = story.json["coverage"]
    violation = "such violation" if story.only else "violation"
    if story.json["window"]["first"] is None:
        headline = f"Nothing recorded {'of that' if story.only else 'here'}"
        meaning = "No such record. " if story.only else "No record of any process. "
    elif not coverage["judged"]:
        headline, meaning = "Nothing judged", f"No {violation}, but no delivery could be judged. "
    else:
        headline, meaning = f"No {violation}", ""
    return (
        tag("p", tag("strong", headline, class_="headline"), class_="lead"),
        tag(
            "p",
            meaning + "This says nothing about leaks."
            if meaning
            else f"No {violation} among the deliveries that were judged.",
        ),
        facts(
            ("Looked at", _unseen(story)),
            (
                "Deliveries",
                join(
                    number(coverage["judged"], "judged"),
                    " judged of ",
                    number(coverage["frames"], "frames"),
                ),
            ),
            ("As of", moment(story.now_ns, "now")),
            class_="figures",
        ),
    )


def index(story: Story) -> Html | None:
    """All incidents at a glance, in the order of the JSON."""
    incidents = story.incidents[:MAX_INDEXED]
    if not incidents:
        return None
    same = same_pairs([it.json for it in incidents])
    rows = [
        [
            tag("a", str(it.number), href=f"#incident-{it.number}"),
            join(severity(it.json["severity"]), tag("small", state(it.json))),
            join(
                stored(it.json["rule"]),
                tag("small", words.RULES.get(it.json["rule"], ""), class_="means"),
                tag("small", codes(it.json["sites"][:SITES])),
                tag("small", "incident ", code(it.json["id"])),
                tag("small", f"the same pairs as {same[it.number]}: maybe one mistake")
                if it.number in same
                else None,
            ),
            number(len(it.json["pairs"]), "pairs"),
            number(it.json["events"], "events"),
            number(it.json["attempted"], "attempted"),
            number(it.json["bytes"], "bytes"),
            join(moment(it.first_ns, "first_seen"), tag("br"), moment(it.last_ns, "last_seen")),
        ]
        for it in incidents
    ]
    left = len(story.incidents) - len(incidents)
    return tag(
        "section",
        tag("h2", "Incidents", id="incidents-title"),
        table(
            "One line for each cause, the worst first",
            [
                *("No.", "How sure", "What, and where"),
                *("Pairs", "Delivered", "Attempted", "Bytes", "First and last (UTC)"),
            ],
            rows,
            class_="incidents",
            numeric=(3, 4, 5, 6),
            row_attributes=[{"data_incident": it.json["id"]} for it in incidents],
        ),
        tag("p", f"{left:,} more are not on this page; they are in the JSON.") if left else None,
        id="incidents",
    )


def severity(name: str) -> Html:
    """A severity as a word in a frame: the frame's form differs, not only its colour."""
    return tag("span", name, class_=f"severity {name if name in SEVERITIES else ''}")


def state(incident: dict[str, Any]) -> str:
    """Whether an incident goes on, and whether somebody has acknowledged it."""
    said = "ongoing" if incident["ongoing"] else "over"
    return f"{said}, acknowledged" if incident["acknowledged"] else said
