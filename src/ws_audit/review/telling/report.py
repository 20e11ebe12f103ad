# SPDX-License-Identifier: Apache-2.0
"""The review as text: what an on-call engineer reads at three in the morning.

Why it exists: whoever was woken must know within a minute whether it is real, whether it is
still going on, who saw whose data, and which line of code to look at.

It must never let a zero stand without how much was judged, never shorten hashes until two
people look alike, and never pass a stored text to the terminal as anything but text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ws_audit.incidents import timestamp
from ws_audit.model import (
    CONFIRMED,
    HYGIENE,
    INCOMPARABLE,
    INTERNAL_ERROR,
    LIMIT,
    NO_EVIDENCE,
    NO_PRINCIPAL,
    OPAQUE,
    PROBABLE,
    SEVERITIES,
    SUSPECTED,
    UNDECLARED_BROADCAST,
    UNREADABLE,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ws_audit.incidents import Mark

SHOWN_PAIRS: Final = 20  # per incident; all of them are in the JSON
SHOWN_TRACES: Final = 3

_HEADLINE: Final = {
    CONFIRMED: "LEAK CONFIRMED",
    PROBABLE: "LEAK PROBABLE",
    SUSPECTED: "LEAK SUSPECTED",
    HYGIENE: "NO LEAK AMONG THE VIOLATIONS, BUT POOR HYGIENE",
}
# Rules that are no delivery: nothing is known to have gone astray, so no headline says "leak".
_HAPPENED: Final = {
    "rebound_connection": "a connection was given to a second user",
    "inbound_vs_connection": "a client claims to be someone else",
    "shared_instance": "one object serves two users",
    "shared_state": "two users' objects share something that changes",
}
_PAIRS: Final = {
    "rebound_connection": "who came second -> whose connection it was (keyed hashes)",
    "inbound_vs_connection": "who the client claims to be -> whose connection (keyed hashes)",
    "shared_instance": "the first user -> the second user (keyed hashes)",
    "shared_state": "the first user -> the second user (keyed hashes)",
}
MEANING: Final = {  # why a delivery could not be judged
    NO_PRINCIPAL: "the agent does not know whose connection it went to",
    NO_EVIDENCE: "neither the message nor its caller says whose it is",
    INCOMPARABLE: "connection and message name their users by different kinds of identifier",
    UNDECLARED_BROADCAST: "it went to many at once, and names nobody",
    OPAQUE: "it is no JSON object, and its caller names nobody",
    UNREADABLE: "it looks like JSON but cannot be read, and its caller names nobody",
    LIMIT: "it is past a limit of the settings",
    INTERNAL_ERROR: "the agent itself failed on it",
}
_COLORS: Final = {CONFIRMED: "1;31", PROBABLE: "1;31", SUSPECTED: "1;33", HYGIENE: "1;33"}


def text(
    review: dict[str, Any],
    acks: Mapping[str, Mark] | None = None,
    reasons: Mapping[str, int] | None = None,
    only: str = "",
    *,
    color: bool = False,
) -> str:
    """Write a review (its JSON, as a dict) as text; `color` adds ANSI colours.

    `acks` says who has acknowledged which incident, `reasons` why how many frames could not be
    judged, `only` what it is narrowed to.
    """
    incidents = review["incidents"]
    short = shortener(incidents)
    lines = [f"ONLY {plain(only)}"] if only else []
    lines += _banner(review, only, color=color)
    same = same_pairs(incidents)
    for number, incident in enumerate(incidents, 1):
        ack = (acks or {}).get(incident["id"])
        title, *more = _incident(number, incident, short, ack, color=color)
        lines += ["", title]
        if number in same:
            lines.append(f"   the same pairs as {same[number]}: maybe one mistake")
        lines += more
    if any(not it["acknowledged"] for it in incidents):
        lines += ["", "To close one: ws-audit review ack INCIDENT --by NAME --note TEXT"]
    lines += ["", *_coverage(review, reasons or {})]
    if review["problems"]:
        lines += ["", "What could not be read, or is missing:"]
        lines += [f"  - {plain(problem)}" for problem in review["problems"]]
    return "\n".join(lines) + "\n"


def same_pairs(incidents: list[dict[str, Any]]) -> dict[int, int]:
    """Which incidents are about the very pairs of one before: by number, the number of that one.

    One mistake may have several places or rules, and each of them is an incident.
    """
    first: dict[frozenset[tuple[str, str]], int] = {}
    found = {}
    for number, incident in enumerate(incidents, 1):
        if incident["rule"] in _HAPPENED or incident["severity"] == HYGIENE:
            continue
        pairs = frozenset((pair["recipient"], pair["owner"]) for pair in incident["pairs"])
        before = first.setdefault(pairs, number)
        if before != number:
            found[number] = before
    return found


def _banner(review: dict[str, Any], only: str, *, color: bool) -> list[str]:
    incidents = review["incidents"]
    if not incidents:
        calm = _judged_all(review) and not only
        return [_paint(_nothing(review, only), "1;32" if calm else "1;33", color=color)]

    standing = [it for it in incidents if not it["acknowledged"]]
    if not standing:
        headline = f"NOTHING OPEN: {_by_severity(incidents)}, all of them acknowledged"
        return [_paint(headline, "1;32", color=color)]
    worst = min((it["severity"] for it in standing), key=SEVERITIES.index)
    chosen = [it for it in standing if it["severity"] == worst]
    last = max(it["last_seen"] for it in chosen)
    state = "ONGOING" if any(it["ongoing"] for it in chosen) else f"over since {last}"

    pairs = {(pair["recipient"], pair["owner"]) for it in chosen for pair in it["pairs"]}
    people = {person for pair in pairs for person in pair if person}
    closed = len(incidents) - len(standing)
    return [
        _paint(f"{_headline(worst, chosen, incidents)}, {state}", _COLORS[worst], color=color),
        f"  {_count(len(people), 'person', 'people')} in {_count(len(pairs), 'pair')}, "
        + amount(chosen),
        f"  first {min(it['first_seen'] for it in chosen)}",
        f"  last  {last}",
        f"  {_by_severity(incidents)}" + (f"; {closed} of them acknowledged" if closed else ""),
    ]


def _headline(worst: str, chosen: list[dict[str, Any]], incidents: list[dict[str, Any]]) -> str:
    """Say what happened. Only what was sent to somebody is a leak."""
    sent = [it for it in chosen if it["rule"] not in _HAPPENED]
    if worst == HYGIENE or sent:
        headline = _HEADLINE[worst]
        nothing = sent and not any(it["events"] for it in sent)
        return f"{headline}, NOTHING OF IT DELIVERED" if nothing else headline
    happened = " AND ".join(
        what.upper() for rule, what in _HAPPENED.items() if any(it["rule"] == rule for it in chosen)
    )
    told = f"{happened} ({worst.upper()})"
    leaks = [it for it in incidents if it["rule"] not in _HAPPENED and it["severity"] != HYGIENE]
    if any(not it["acknowledged"] for it in leaks):
        return f"{told}, AND A LEAK IS SUSPECTED"
    return told if leaks else f"{told}, NO WRONG DELIVERY SEEN"


def _nothing(review: dict[str, Any], only: str) -> str:
    """Say what it means that there is no incident, which depends on what was looked at."""
    coverage = review["coverage"]
    if review["window"]["first"] is None:
        if only:
            return "NOTHING RECORDED OF THAT: no such record. This says nothing about leaks."
        return (
            "NOTHING RECORDED HERE: no record of any process in this directory. "
            "This says nothing about leaks."
        )
    such = "such " if only else ""
    if not coverage["judged"]:
        frames = _count(coverage["frames"], "frame")
        return (
            f"NOTHING JUDGED: no {such}violation, but none of {frames} could be judged. "
            "This says nothing about leaks."
        )
    return f"NO {such.upper()}VIOLATION among {_count(coverage['judged'], 'judged frame')}"


def _judged_all(review: dict[str, Any]) -> bool:
    coverage = review["coverage"]
    return bool(coverage["judged"]) and coverage["judged"] == coverage["frames"]


def _by_severity(incidents: list[dict[str, Any]]) -> str:
    counts = [(sum(it["severity"] == name for it in incidents), name) for name in SEVERITIES]
    listed = ", ".join(f"{count} {name}" for count, name in counts if count)
    return f"{_count(len(incidents), 'incident')}: {listed}"


def acknowledged(ack: Mark) -> str:
    """Say who acknowledged an incident, when, and what they had to say of it."""
    return f"acknowledged {timestamp(ack.time_ns)} by {plain(ack.by)}: {plain(ack.note)}"


def _incident(
    number: int, incident: dict[str, Any], short: dict[str, str], ack: Mark | None, *, color: bool
) -> list[str]:
    severity = incident["severity"]
    state = "ongoing" if incident["ongoing"] else "over"
    if incident["acknowledged"]:
        state += ", acknowledged"
    title = f"{number}. {plain(incident['rule'])}  {severity}, {state}"
    lines = [f"{_paint(title, _COLORS[severity], color=color)}  [incident {plain(incident['id'])}]"]
    if ack is not None:
        lines.append(f"   {acknowledged(ack)}")
    rule = incident["rule"]
    if rule in _HAPPENED:
        lines.append(f"   {_HAPPENED[rule]}")
    lines += [
        "   " + amount([incident]),
        f"   first {incident['first_seen']}",
        f"   last  {incident['last_seen']}",
        f"   {_PAIRS.get(rule, 'whose data -> whose connection (keyed hashes)')}",
    ]
    pairs = incident["pairs"]
    unit = "time" if rule in _HAPPENED else "event"
    lines += [
        f"     {person(pair['owner'], short)} -> {person(pair['recipient'], short)}"
        f"  {_count(pair['events'], unit)}  {pair['severity']}"
        for pair in pairs[:SHOWN_PAIRS]
    ]
    if len(pairs) > SHOWN_PAIRS:
        lines.append(f"     and {_count(len(pairs) - SHOWN_PAIRS, 'more pair')} (--format json)")

    lines.append(f"   code      {names(incident['sites'])}")
    lines.append(f"   manager   {names(incident['managers'])}")
    versions = f" {names(incident['versions'])}" if any(incident["versions"]) else ""
    lines.append(f"   service   {names(incident['services'])}{versions}")
    traces = incident["trace_ids"]
    more = len(traces) - SHOWN_TRACES
    lines.append(
        f"   trace     {names(traces[:SHOWN_TRACES])}"
        + (f" and {more} more (--format json)" if more > 0 else "")
    )
    return lines


def _coverage(review: dict[str, Any], reasons: Mapping[str, int]) -> list[str]:
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
    known = {reason: count for reason, count in reasons.items() if count}
    lines += [
        f"  {count:,} {reason}: {MEANING.get(reason, 'unknown here')}"
        for reason, count in sorted(known.items(), key=lambda item: (-item[1], item[0]))
    ]
    if known:
        lines.append("  ws-audit doctor says what settles the commonest of them")
    if coverage["dropped"]:
        lines.append(
            f"  {_count(coverage['dropped'], 'record')} lost by the agent: "
            "the counts above may be too low"
        )
    window = review["window"]
    if window["first"] is not None:
        lines.append(f"  recorded from {window['first']}\n             to {window['last']}")
    return lines


def shortener(incidents: list[dict[str, Any]]) -> dict[str, str]:
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
    return {person: plain(person[:digits]) for person in hashes}


def person(person: str, short: dict[str, str]) -> str:
    return short[person] or "unknown"


def amount(incidents: list[dict[str, Any]]) -> str:
    """How much was sent, and how often something else happened."""
    sent = [it for it in incidents if it["rule"] not in _HAPPENED]
    happened = sum(it["events"] for it in incidents if it["rule"] in _HAPPENED)
    told = []
    if sent:
        events, attempted = sum(it["events"] for it in sent), sum(it["attempted"] for it in sent)
        told.append(f"{_count(events, 'event')} delivered of {attempted:,} attempted")
        told.append(_count(sum(it["bytes"] for it in sent), "byte"))
    if happened:
        told.append(f"seen {'once' if happened == 1 else f'{happened:,} times'}")
    return ", ".join(told)


def _count(number: int, noun: str, plural: str = "") -> str:
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def names(names: list[str]) -> str:
    return ", ".join(plain(name) for name in names if name) or "unknown"


def plain(value: str) -> str:
    """Show control characters and what else does not print instead of obeying them."""
    if value.isprintable():
        return value
    return "".join(it if it.isprintable() else ascii(it)[1:-1] for it in value)


def _paint(line: str, style: str, *, color: bool) -> str:
    return f"\x1b[{style}m{line}\x1b[0m" if color else line
