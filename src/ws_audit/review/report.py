# SPDX-License-Identifier: Apache-2.0
"""The review as text: what an on-call engineer reads at three in the morning.

Why it exists: whoever was woken must know within a minute whether it is real, whether it is
still going on, who saw whose data, and which line of code to look at.

It must never let a zero stand without how much was judged, never shorten hashes until two
people look alike, and never pass a stored text to the terminal as anything but text.
"""

from __future__ import annotations

from typing import Any, Final

from ws_audit.model import CONFIRMED, HYGIENE, PROBABLE, SEVERITIES, SUSPECTED

SHOWN_PAIRS: Final = 20  # per incident; all of them are in the JSON
SHOWN_TRACES: Final = 3

_HEADLINE: Final = {
    CONFIRMED: "LEAK CONFIRMED",
    PROBABLE: "LEAK PROBABLE",
    SUSPECTED: "LEAK SUSPECTED",
    HYGIENE: "NO LEAK AMONG THE VIOLATIONS, BUT POOR HYGIENE",
}
_COLORS: Final = {CONFIRMED: "1;31", PROBABLE: "1;31", SUSPECTED: "1;33", HYGIENE: "1;33"}


def text(review: dict[str, Any], *, color: bool = False) -> str:
    """Write a review (its JSON, as a dict) as text; `color` adds ANSI colours."""
    incidents = review["incidents"]
    short = _shortener(incidents)
    lines = _banner(review, color=color)
    for number, incident in enumerate(incidents, 1):
        lines += ["", *_incident(number, incident, short, color=color)]
    lines += ["", *_coverage(review)]
    if review["problems"]:
        lines += ["", "What could not be read, or is missing:"]
        lines += [f"  - {_plain(problem)}" for problem in review["problems"]]
    return "\n".join(lines) + "\n"


def _banner(review: dict[str, Any], *, color: bool) -> list[str]:
    incidents = review["incidents"]
    if not incidents:
        return [_paint(_nothing(review), "1;32" if _judged_all(review) else "1;33", color=color)]

    worst = min((it["severity"] for it in incidents), key=SEVERITIES.index)
    chosen = [it for it in incidents if it["severity"] == worst]
    last = max(it["last_seen"] for it in chosen)
    events = sum(it["events"] for it in chosen)
    state = "ONGOING" if any(it["ongoing"] for it in chosen) else f"over since {last}"
    headline = _HEADLINE[worst]
    if not events:
        headline += ", NOTHING OF IT DELIVERED"

    pairs = {(pair["recipient"], pair["owner"]) for it in chosen for pair in it["pairs"]}
    people = {person for pair in pairs for person in pair if person}
    attempted = sum(it["attempted"] for it in chosen)
    return [
        _paint(f"{headline}, {state}", _COLORS[worst], color=color),
        f"  {_count(len(people), 'person', 'people')} in {_count(len(pairs), 'pair')}, "
        + _amount(events, attempted, sum(it["bytes"] for it in chosen)),
        f"  first {min(it['first_seen'] for it in chosen)}",
        f"  last  {last}",
        f"  {_by_severity(incidents)}",
    ]


def _nothing(review: dict[str, Any]) -> str:
    """Say what it means that there is no incident, which depends on what was looked at."""
    coverage = review["coverage"]
    if review["window"]["first"] is None:
        return (
            "NOTHING RECORDED HERE: no record of any process in this directory. "
            "This says nothing about leaks."
        )
    if not coverage["judged"]:
        return (
            f"NOTHING JUDGED: no violation, but none of {_count(coverage['frames'], 'frame')} "
            "could be judged. This says nothing about leaks."
        )
    return f"NO VIOLATION among {_count(coverage['judged'], 'judged frame')}"


def _judged_all(review: dict[str, Any]) -> bool:
    coverage = review["coverage"]
    return bool(coverage["judged"]) and coverage["judged"] == coverage["frames"]


def _by_severity(incidents: list[dict[str, Any]]) -> str:
    counts = [(sum(it["severity"] == name for it in incidents), name) for name in SEVERITIES]
    listed = ", ".join(f"{count} {name}" for count, name in counts if count)
    return f"{_count(len(incidents), 'incident')}: {listed}"


def _incident(
    number: int, incident: dict[str, Any], short: dict[str, str], *, color: bool
) -> list[str]:
    severity = incident["severity"]
    state = "ongoing" if incident["ongoing"] else "over"
    if incident["acknowledged"]:
        state += ", acknowledged"
    title = f"{number}. {_plain(incident['rule'])}  {severity}, {state}"
    lines = [
        f"{_paint(title, _COLORS[severity], color=color)}  [incident {_plain(incident['id'])}]",
        "   " + _amount(incident["events"], incident["attempted"], incident["bytes"]),
        f"   first {incident['first_seen']}",
        f"   last  {incident['last_seen']}",
        "   whose data -> whose connection (keyed hashes)",
    ]
    pairs = incident["pairs"]
    lines += [
        f"     {_person(pair['owner'], short)} -> {_person(pair['recipient'], short)}"
        f"  {_count(pair['events'], 'event')}  {pair['severity']}"
        for pair in pairs[:SHOWN_PAIRS]
    ]
    if len(pairs) > SHOWN_PAIRS:
        lines.append(f"     and {_count(len(pairs) - SHOWN_PAIRS, 'more pair')} (--format json)")

    lines.append(f"   code      {_list(incident['sites'])}")
    lines.append(f"   manager   {_list(incident['managers'])}")
    versions = f" {_list(incident['versions'])}" if any(incident["versions"]) else ""
    lines.append(f"   service   {_list(incident['services'])}{versions}")
    traces = incident["trace_ids"]
    more = len(traces) - SHOWN_TRACES
    lines.append(
        f"   trace     {_list(traces[:SHOWN_TRACES])}"
        + (f" and {more} more (--format json)" if more > 0 else "")
    )
    return lines


def _coverage(review: dict[str, Any]) -> list[str]:
    coverage = review["coverage"]
    frames, judged = coverage["frames"], coverage["judged"]
    if frames:
        # Rounded down: 100 % must mean all of them.
        permille = judged * 1000 // frames
        share = f" ({permille // 10}.{permille % 10} %)"
    else:
        share = ""
    unseen = f"{coverage['unattributed']:,} could not be attributed to anybody"
    excused = f"{coverage['excused']:,} excused by policy"
    lines = [
        f"Coverage: {judged:,} of {_count(frames, 'frame')} judged{share}; {unseen}, {excused}"
    ]
    if coverage["dropped"]:
        lines.append(
            f"  {_count(coverage['dropped'], 'record')} lost by the agent: "
            "the counts above may be too low"
        )
    window = review["window"]
    if window["first"] is not None:
        lines.append(f"  recorded from {window['first']}\n             to {window['last']}")
    return lines


def _shortener(incidents: list[dict[str, Any]]) -> dict[str, str]:
    """Map every hash to a beginning of it that no other hash here shares, 8 digits or more."""
    hashes = {
        person
        for incident in incidents
        for pair in incident["pairs"]
        for person in (pair["owner"], pair["recipient"])
    }
    digits = 8
    while len({person[:digits] for person in hashes}) < len(hashes):
        digits += 4
    return {person: _plain(person[:digits]) for person in hashes}


def _person(person: str, short: dict[str, str]) -> str:
    return short[person] or "unknown"


def _amount(events: int, attempted: int, size: int) -> str:
    delivered = f"{_count(events, 'event')} delivered of {attempted:,} attempted"
    return f"{delivered}, {_count(size, 'byte')}"


def _count(number: int, noun: str, plural: str = "") -> str:
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def _list(names: list[str]) -> str:
    return ", ".join(_plain(name) for name in names if name) or "unknown"


def _plain(value: str) -> str:
    """Show control characters and what else does not print instead of obeying them."""
    if value.isprintable():
        return value
    return "".join(it if it.isprintable() else ascii(it)[1:-1] for it in value)


def _paint(line: str, style: str, *, color: bool) -> str:
    return f"\x1b[{style}m{line}\x1b[0m" if color else line
