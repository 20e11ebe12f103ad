# SPDX-License-Identifier: Apache-2.0
"""The cause: which line of code, in which deploy, on which hosts, and since when.

Why it exists: to stop it one must know where it is, and whether the deploy before had it too.

It must never call something the cause that is only where it was seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from . import words
from .evidence import counted_text, title, with_evidence
from .markup import (
    Html,
    code,
    codes,
    counted,
    facts,
    join,
    moment,
    more,
    number,
    stored,
    table,
    tag,
)

if TYPE_CHECKING:
    from ws_audit.review.segments.rows import JournalRow
    from ws_audit.review.telling.story import IncidentTold, Place, Release, Story

INCIDENTS: Final = 50
NAMES: Final = 8  # event names, code sites
PLACES: Final = 100  # processes of one incident
TRACES: Final = 3


def cause(story: Story) -> Html | None:
    """The section; None if there is no incident."""
    shown = story.incidents[:INCIDENTS]
    if not shown:
        return None
    left = len(story.incidents) - len(shown)
    evident = {it.number for it in with_evidence(story)}
    return tag(
        "section",
        tag("h2", "Where it comes from"),
        tag(
            "p",
            "The place that sent the messages, and the deploys and processes it was seen in. "
            "Why that place had the wrong person is for its code to say.",
        ),
        *[_incident(it, evident=it.number in evident) for it in shown],
        tag("p", f"{counted_text(left, 'more incident')}: see the JSON.") if left else None,
        id="cause",
    )


def _incident(incident: IncidentTold, *, evident: bool) -> Html:
    json = incident.json
    names = [
        tag("div", stored(name), f", {times:,} times" if times > 1 else ", once")
        for name, times in incident.events[:NAMES]
    ]
    more_names = len(incident.events) - NAMES
    traces = json["trace_ids"]
    return tag(
        "article",
        tag(
            "h3",
            title(incident),
            " ",
            tag("a", "evidence", href=f"#evidence-{incident.number}", class_="aside")
            if evident
            else None,
        ),
        tag("p", words.RULES.get(json["rule"], "")),
        facts(
            ("Code", codes(json["sites"])),
            ("Manager", codes(json["managers"])),
            ("Service", codes(json["services"])),
            ("Versions", codes(json["versions"])),
            (
                "Events",
                join(
                    *names, tag("div", f"and {more_names:,} more names") if more_names > 0 else None
                ),
            ),
            ("Incident", code(json["id"])),
            (
                "Traces",
                join(
                    codes(traces[:TRACES]),
                    tag("small", f"and {len(traces) - TRACES} more in the JSON")
                    if len(traces) > TRACES
                    else None,
                ),
            ),
            ("Meanwhile", _meanwhile(incident)),
            *[("Acknowledged", acknowledged(it)) for it in incident.acks],
        ),
        _releases(incident.releases) if incident.releases else None,
        _places(incident.places) if incident.places else None,
        id=f"incident-{incident.number}",
    )


def acknowledged(ack: JournalRow) -> Html:
    """When, by whom, and what they noted."""
    note = join(": ", stored(ack.note)) if ack.note else None
    return join(moment(ack.time_ns), " by ", stored(ack.by), note)


def _meanwhile(incident: IncidentTold) -> Html:
    seen = incident.meanwhile
    return join(
        "the service's processes judged ",
        number(seen.judged),
        " of ",
        counted(seen.frames, "delivery", "deliveries"),
        ", lost ",
        counted(seen.dropped, "record"),
        ", and had ",
        counted(len(seen.blind), "blind interval"),
    )


def _releases(releases: tuple[Release, ...]) -> Html:
    rows = [
        [
            code(it.version, "no version"),
            number(it.processes),
            moment(it.first_ns),
            moment(it.last_ns),
            number(it.judged),
            number(it.attempted),
            tag("span", _verdict(it)),
        ]
        for it in releases
    ]
    return table(
        "Versions of the service that are on record, in order of their first process",
        [
            *("Version", "Processes", "From (UTC)", "To (UTC)", "Judged", "Violations"),
            "This incident",
        ],
        rows,
        numeric=(1, 4, 5),
    )


def _verdict(release: Release) -> str:
    if release.attempted:
        return "seen"
    return "not seen" if release.judged else "cannot be told: nothing judged"


def _places(places: tuple[Place, ...]) -> Html:
    rows = []
    for it in places[:PLACES]:
        origin, start = it.life.origin, it.life.start
        rows.append(
            [
                join(f"{origin.pid} on ", stored(origin.host)),
                stored(origin.version, "no version"),
                number(it.attempted),
                moment(it.first_ns),
                moment(it.last_ns),
                moment(start.time_ns) if start else stored(""),
                stored(start.python if start else ""),
                stored(start.agent if start else ""),
                stored(start.mode if start else ""),
            ]
        )
    left = len(places) - PLACES
    told = table(
        "Processes in which it was seen",
        [
            *("Process", "Version", "Violations", "First there (UTC)", "Last there (UTC)"),
            *("Started (UTC)", "Python", "ws-audit", "Mode"),
        ],
        rows,
        numeric=(2,),
    )
    if left > 0:
        told = join(told, tag("p", f"{left:,} more processes."))
    summary = tag(
        "span", f"{counted_text(len(places), 'process')[:-1]}es" if len(places) > 1 else ""
    )
    return more(summary, told) if len(places) > 3 else told
