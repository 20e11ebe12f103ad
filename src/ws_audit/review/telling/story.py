# SPDX-License-Identifier: Apache-2.0
"""What a review can tell, in one typed value: the incidents with everything that stands by them.

Why it exists: the page, and whatever is told next, must say the same as the review's JSON. So
its numbers are taken from that JSON, and rows only add what it has no room for.

It must never count anything itself that the JSON counts, never mix what was seen with what may
have been, and never know where the rows came from.
"""

from __future__ import annotations

import calendar
import time
from bisect import bisect_right
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ws_audit.model import CONFIRMED, HYGIENE, SEVERITIES, UNKNOWN
from ws_audit.schema import EVENT_RULES

from .lanes import Lanes, lanes
from .lives import Blind, Life, Step, blind, lives, silences, steps
from .proofs import PairProofs, Sends, proofs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ws_audit.review.segments.rows import FileRow, JournalRow, Rows, ViolationRow

HASH_DIGITS: Final = 8  # at least, of a shortened hash


class PairTold(NamedTuple):
    """One person's data at one other person's connection.

    `uncertain` of `events` are counted because their process died before it could tell. `incidents`
    are the numbers of those it is part of.
    """

    owner: str
    recipient: str
    severity: str
    events: int
    attempted: int
    uncertain: int
    first_ns: int
    last_ns: int
    incidents: tuple[int, ...]


class Radius(NamedTuple):
    """How far it went: people whose data it was, people who got it, pairs, events."""

    owners: int
    recipients: int
    pairs: int
    events: int


class Release(NamedTuple):
    """One version of a service: how much of it was judged, and what of an incident it had."""

    version: str
    processes: int
    first_ns: int
    last_ns: int
    judged: int
    attempted: int


class Place(NamedTuple):
    """A process in which an incident happened."""

    life: Life
    first_ns: int
    last_ns: int
    attempted: int


class Meanwhile(NamedTuple):
    """What its service's processes could not see while an incident went on.

    Counted by whole coverage records, which are a minute long: never less than it was.
    """

    frames: int
    judged: int
    dropped: int
    blind: tuple[Blind, ...]


class IncidentTold(NamedTuple):
    """An incident of the JSON, numbered from 1 as it comes there."""

    number: int
    json: dict[str, Any]
    first_ns: int
    last_ns: int
    pairs: tuple[PairTold, ...]
    records: int
    proofs: tuple[PairProofs, ...]
    places: tuple[Place, ...]
    releases: tuple[Release, ...]
    events: tuple[tuple[str, int], ...]  # the application's event names, how often
    meanwhile: Meanwhile
    acks: tuple[JournalRow, ...]

    @property
    def leaks(self) -> bool:
        """Whether its violations are deliveries that may have gone wrong."""
        return self.json["rule"] not in EVENT_RULES and self.json["severity"] != HYGIENE


class Story(NamedTuple):
    """All of it. `pairs` and the three radii are of deliveries, those of hygiene left out.

    `only` says what the review is narrowed to, "" if it is the whole.
    """

    source: str
    only: str
    now_ns: int
    json: dict[str, Any]
    incidents: tuple[IncidentTold, ...]
    people: dict[str, str]  # hash -> its shortened form
    pairs: tuple[PairTold, ...]
    confirmed: Radius
    possible: Radius
    tried: Radius
    lanes: Lanes | None
    lives: tuple[Life, ...]
    blind: tuple[Blind, ...]
    silences: tuple[tuple[str, int, int], ...]
    reasons: tuple[tuple[str, int], ...]
    step_seconds: int
    steps: tuple[Step, ...]
    journal: tuple[JournalRow, ...]
    files: tuple[FileRow, ...]
    sends_left_out: int


def tell(
    review: dict[str, Any],
    rows: Rows,
    now_ns: int,
    source: str,
    only: str = "",
    since_ns: int = 0,
) -> Story:
    """Tell a review (its JSON, as a dict) with the rows it was made from.

    `only` is what it is narrowed to. What was before `since_ns` is not asked for.
    """
    shares = _shares(review["incidents"], rows.violations)
    all_lives = lives(rows, since_ns)
    homes = {id(row): home for home, life in enumerate(all_lives) for row in life.violations}
    sends = Sends(rows.sends)
    incidents = tuple(
        _incident(number, json, shares[number - 1], all_lives, homes, sends, rows, now_ns)
        for number, json in enumerate(review["incidents"], 1)
    )
    leaks = [it for it in incidents if it.leaks]
    pairs = _merged(it for incident in leaks for it in incident.pairs)
    delivered = [it for it in pairs if it.events]
    reasons: dict[str, int] = {}
    for row in rows.coverage:
        for reason, count in row.reasons:
            reasons[reason] = reasons.get(reason, 0) + count
    seconds, in_steps = steps(rows.coverage)
    blinds = [it for life in all_lives for it in blind(life, now_ns)]
    return Story(
        source=source,
        only=only,
        now_ns=now_ns,
        json=review,
        incidents=incidents,
        people=_people(incidents),
        pairs=pairs,
        confirmed=_radius(it for it in delivered if it.severity == CONFIRMED),
        possible=_radius(it for it in delivered if it.severity != CONFIRMED),
        tried=_radius(it for it in pairs if not it.events),
        lanes=lanes((row for it in leaks for row in shares[it.number - 1]), rows.coverage, blinds),
        lives=tuple(all_lives),
        blind=tuple(sorted(blinds, key=lambda it: it.first_ns)),
        silences=tuple(silences(all_lives, since_ns)),
        reasons=tuple(sorted((it for it in reasons.items() if it[1]), key=lambda it: -it[1])),
        step_seconds=seconds,
        steps=tuple(in_steps),
        journal=tuple(sorted(rows.journal)),
        files=tuple(rows.files),
        sends_left_out=rows.sends_left_out,
    )


def _shares(
    incidents: list[dict[str, Any]], violations: Iterable[ViolationRow]
) -> list[list[ViolationRow]]:
    """Give each incident its violations: those of its cause, by their time."""
    causes: dict[tuple[str, str, str], list[tuple[int, int]]] = {}
    for index, incident in enumerate(incidents):
        site = incident["sites"][0] if incident["sites"] else ""
        cause = (incident["services"][0], incident["rule"], _place(site))
        causes.setdefault(cause, []).append((nanoseconds(incident["first_seen"]), index))
    for turns in causes.values():
        turns.sort()
    shares: list[list[ViolationRow]] = [[] for _ in incidents]
    for row in violations:
        if row.synthetic:
            continue
        turns = causes.get((row.origin.service, row.rule, _place(row.site)), [])
        turn = bisect_right(turns, (row.first_ns, len(incidents))) - 1
        if turn >= 0:
            shares[turns[turn][1]].append(row)
    return shares


def _incident(
    number: int,
    json: dict[str, Any],
    share: list[ViolationRow],
    all_lives: list[Life],
    homes: dict[int, int],
    sends: Sends,
    rows: Rows,
    now_ns: int,
) -> IncidentTold:
    first_ns, last_ns = nanoseconds(json["first_seen"]), nanoseconds(json["last_seen"])
    tried: dict[tuple[str, str], list[int]] = {}
    names: dict[str, int] = {}
    for row in share:
        sums = tried.setdefault((row.owner, row.recipient), [0, 0])
        sums[0] += row.count
        sums[1] += row.delivered if row.count == 1 and row.outcome == UNKNOWN else 0
        names[row.event] = names.get(row.event, 0) + row.count
    pairs = []
    for it in json["pairs"]:
        attempted, uncertain = tried.get((it["owner"], it["recipient"]), (it["events"], 0))
        pairs.append(
            PairTold(
                it["owner"],
                it["recipient"],
                it["severity"],
                it["events"],
                max(attempted, it["events"]),  # not all rows need be there
                0 if json["rule"] in EVENT_RULES else uncertain,
                nanoseconds(it["first_seen"]),
                nanoseconds(it["last_seen"]),
                (number,),
            )
        )
    theirs = [life for life in all_lives if life.origin.service in json["services"]]
    return IncidentTold(
        number=number,
        json=json,
        first_ns=first_ns,
        last_ns=last_ns,
        pairs=tuple(pairs),
        records=len(share),
        proofs=tuple(proofs(share, sends)),
        places=_places(share, all_lives, homes),
        releases=_releases(share, theirs),
        events=tuple(sorted(names.items(), key=lambda it: (-it[1], it[0]))),
        meanwhile=_meanwhile(theirs, first_ns, last_ns, now_ns),
        acks=tuple(sorted(it for it in rows.journal if it.incident == json["id"])),
    )


def _places(
    share: list[ViolationRow], all_lives: list[Life], homes: dict[int, int]
) -> tuple[Place, ...]:
    rows: dict[int, list[ViolationRow]] = {}
    for row in share:
        rows.setdefault(homes[id(row)], []).append(row)
    found = [
        Place(
            all_lives[home],
            min(it.first_ns for it in its),
            max(it.last_ns for it in its),
            sum(it.count for it in its),
        )
        for home, its in rows.items()
    ]
    return tuple(sorted(found, key=lambda it: it.first_ns))


def _releases(share: list[ViolationRow], theirs: list[Life]) -> tuple[Release, ...]:
    attempted: dict[str, int] = {}
    for row in share:
        attempted[row.origin.version] = attempted.get(row.origin.version, 0) + row.count
    by_version: dict[str, list[Life]] = {}
    for life in theirs:
        by_version.setdefault(life.origin.version, []).append(life)
    found = [
        Release(
            version,
            len(its),
            min(it.first_ns for it in its),
            max(it.last_ns for it in its),
            sum(it.judged for it in its),
            attempted.get(version, 0),
        )
        for version, its in by_version.items()
    ]
    return tuple(sorted(found, key=lambda it: it.first_ns))


def _meanwhile(theirs: list[Life], first_ns: int, last_ns: int, now_ns: int) -> Meanwhile:
    rows = [
        row
        for life in theirs
        for row in life.coverage
        if row.first_ns <= last_ns and row.last_ns >= first_ns
    ]
    return Meanwhile(
        sum(row.frames for row in rows),
        sum(row.judged for row in rows),
        sum(row.dropped for row in rows),
        tuple(
            it
            for life in theirs
            for it in blind(life, now_ns)
            if it.first_ns <= last_ns and (not it.last_ns or it.last_ns >= first_ns)
        ),
    )


def _merged(pairs: Iterable[PairTold]) -> tuple[PairTold, ...]:
    """One line for each pair, whatever the incident."""
    merged: dict[tuple[str, str], PairTold] = {}
    for it in pairs:
        key = (it.owner, it.recipient)
        merged[key] = _sum(merged[key], it) if key in merged else it
    return tuple(
        sorted(
            merged.values(),
            key=lambda it: (SEVERITIES.index(it.severity), -it.events, it.owner, it.recipient),
        )
    )


def _sum(one: PairTold, other: PairTold) -> PairTold:
    return PairTold(
        one.owner,
        one.recipient,
        min(one.severity, other.severity, key=SEVERITIES.index),
        one.events + other.events,
        one.attempted + other.attempted,
        one.uncertain + other.uncertain,
        min(one.first_ns, other.first_ns),
        max(one.last_ns, other.last_ns),
        one.incidents + other.incidents,
    )


def _radius(pairs: Iterable[PairTold]) -> Radius:
    its = list(pairs)
    return Radius(
        len({it.owner for it in its if it.owner}),
        len({it.recipient for it in its if it.recipient}),
        len(its),
        sum(it.events for it in its),
    )


def _people(incidents: Iterable[IncidentTold]) -> dict[str, str]:
    """Map every hash to a beginning of it that no other hash here shares, 8 digits or more."""
    hashes = set()
    for incident in incidents:
        for pair in incident.pairs:
            hashes |= {pair.owner, pair.recipient}
        for its in incident.proofs:
            for one in its.proofs:
                hashes |= {statement.evidence.hash for statement in one.statements}
    hashes.discard("")
    digits = HASH_DIGITS
    while len({it[:digits] for it in hashes}) < len(hashes):
        digits += 4
    return {it: it[:digits] for it in sorted(hashes)}


def _place(site: str) -> str:
    return site.rpartition(":")[0] if site.count(":") >= 2 else site


def nanoseconds(text: str) -> int:
    """Read a time as the review's JSON has it: RFC 3339 in UTC with nine decimals."""
    return _seconds(text[:19]) * 1_000_000_000 + int(text[20:29])


@lru_cache(maxsize=4096)
def _seconds(text: str) -> int:
    return calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%S"))
