# SPDX-License-Identifier: Apache-2.0
"""Incidents: all violations that have one cause, folded into one thing to act on.

Why it exists: a leak is thousands of violations and one mistake. The agent's live gauge and
log line, and the review afterwards, must agree on which violations belong together, so both
fold with this module.

It must never hold more in a running agent than its caps allow, never raise on the call path,
and never know how a finding was stored or sent.
"""

from __future__ import annotations

import time
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ws_audit.model import CONFIRMED, OTHER, PROBABLE, SEVERITIES
from ws_audit.schema import EVENT_RULES

if TYPE_CHECKING:
    from _thread import RLock

    from ws_audit.model import Finding

ONGOING_NS: Final = 10 * 60 * 1_000_000_000  # an incident seen within this is going on
MAX_TRACE_IDS: Final = 100  # per incident: the first ones; every one is in the store
PAGING: Final = (CONFIRMED, PROBABLE)  # what a client alone can raise is neither
MAX_NAMES: Final = 100  # per incident: managers, sites, versions; past it `other`

_RANK: Final = {severity: rank for rank, severity in enumerate(SEVERITIES)}  # 0 is the worst


def incident_id(service: str, rule: str, site: str) -> str:
    """Name the cause of a violation: 12 hex digits, the same in every process and version.

    `site` is `module:function:line` or `none`; the line takes no part, so an incident keeps
    its id when code above it is edited.
    """
    cause = f"{service}\n{rule}\n{place(site)}"
    return blake2b(cause.encode("utf-8", "replace"), digest_size=16).hexdigest()[:12]


def place(site: str) -> str:
    """Return `module:function` of a `module:function:line`; anything else unchanged."""
    return site.rpartition(":")[0] if site.count(":") >= 2 else site


def timestamp(ns: int) -> str:
    """Write Unix nanoseconds as RFC 3339 in UTC with all nine decimals."""
    seconds, rest = divmod(ns, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:09d}Z"


class Mark(NamedTuple):
    """What the journal says of an incident: that it began, or that somebody acknowledged it.

    `cause` and `number` are its id. `first_ns` and `last_ns` are when it was seen, as far as was
    known then. `time_ns` is when it was acknowledged, 0 if it only began.
    """

    cause: str
    number: int
    first_ns: int
    last_ns: int
    time_ns: int = 0
    by: str = ""
    note: str = ""

    @property
    def incident(self) -> str:
        """The id."""
        return self.cause if self.number == 1 else f"{self.cause}-{self.number}"

    def meets(self, incident: Incident) -> bool:
        """Whether this may be of that incident of its cause: both were seen at the same time."""
        return incident.first_ns <= self.last_ns and incident.last_ns >= self.first_ns


class Pair:
    """One person's data at one other person's connection, as far as one incident saw it."""

    __slots__ = ("events", "first_ns", "last_ns", "severity")

    def __init__(self, like: Finding | Pair) -> None:
        self.severity: str = like.severity
        self.events = 0
        self.first_ns: int = like.first_ns
        self.last_ns: int = like.last_ns


class Incident:
    """All violations of one cause, until somebody acknowledges it or 24 hours of silence end it.

    `ack` is the acknowledgement, None as long as it is open: silence does not close it. `own`:
    this process has found some of it. `events` counts what was delivered or may have been,
    `attempted` everything that was tried, `size` the bytes of what was delivered (all bytes of a
    storm's aggregate of which a part was: an upper bound). Times are Unix nanoseconds. The id is
    the book's to give. `findings` is what it was made of, None in a running agent.
    """

    __slots__ = (
        "_lock",
        "_max_pairs",
        "ack",
        "attempted",
        "events",
        "findings",
        "first_ns",
        "id",
        "last_ns",
        "managers",
        "number",
        "own",
        "pairs",
        "rule",
        "service",
        "severity",
        "sites",
        "size",
        "trace_ids",
        "versions",
    )

    def __init__(self, finding: Finding, max_pairs: int | None, lock: RLock) -> None:
        self._lock = lock
        self._max_pairs = max_pairs
        self.id = ""
        self.number = 0
        self.ack: Mark | None = None
        self.own = False
        self.rule = finding.rule
        self.service = finding.service
        self.severity = finding.severity
        self.first_ns = finding.first_ns
        self.last_ns = finding.last_ns
        self.events = 0
        self.attempted = 0
        self.size = 0
        self.pairs: dict[tuple[str, str], Pair] = {}
        self.managers: set[str] = set()
        self.sites: set[str] = set()
        self.versions: set[str] = set()
        self.trace_ids: dict[str, None] = {}  # a set that keeps its order
        self.findings: list[Finding] | None = [] if max_pairs is None else None

    @property
    def open(self) -> bool:
        """Whether it should wake or have woken somebody, and nobody has acknowledged it."""
        return self.ack is None and self.severity in PAGING

    def fold(self, finding: Finding) -> None:
        """Add a finding of this cause; the book holds the lock."""

        if self.findings is not None:
            self.findings.append(finding)

        # Events that are no delivery have no outcome to wait for: they happened.
        events = finding.count if finding.rule in EVENT_RULES else finding.delivered

        self.events += events
        self.attempted += finding.count
        if events:
            self.size += finding.size

        self.severity = _worse(self.severity, finding.severity)
        self.first_ns = min(self.first_ns, finding.first_ns)
        self.last_ns = max(self.last_ns, finding.last_ns)

        pair = self._pair((finding.recipient, finding.owner), finding)
        pair.events += events
        pair.severity = _worse(pair.severity, finding.severity)
        pair.first_ns = min(pair.first_ns, finding.first_ns)
        pair.last_ns = max(pair.last_ns, finding.last_ns)

        _note(self.managers, finding.manager)
        _note(self.sites, finding.site)
        _note(self.versions, finding.version)
        if finding.trace_id and len(self.trace_ids) < MAX_TRACE_IDS:
            self.trace_ids[finding.trace_id] = None

    def _pair(self, key: tuple[str, str], like: Finding | Pair) -> Pair:
        pair = self.pairs.get(key)
        if pair is None:
            # Past the cap all further pairs share one line, so that the sums stay exact.
            if self._max_pairs is not None and len(self.pairs) >= self._max_pairs:
                key = (OTHER, OTHER)
            pair = self.pairs.setdefault(key, Pair(like))
        return pair

    def absorb(self, other: Incident) -> None:
        """Add all of another part of the same incident; the book holds the lock."""
        self.events += other.events
        self.attempted += other.attempted
        self.size += other.size
        self.severity = _worse(self.severity, other.severity)
        if other.first_ns < self.first_ns:
            self.trace_ids, others = dict(other.trace_ids), self.trace_ids
        else:
            others = other.trace_ids
        self.first_ns = min(self.first_ns, other.first_ns)
        self.last_ns = max(self.last_ns, other.last_ns)
        for key, more in other.pairs.items():
            pair = self._pair(key, more)
            pair.events += more.events
            pair.severity = _worse(pair.severity, more.severity)
            pair.first_ns = min(pair.first_ns, more.first_ns)
            pair.last_ns = max(pair.last_ns, more.last_ns)
        for mine, theirs in (
            (self.managers, other.managers),
            (self.sites, other.sites),
            (self.versions, other.versions),
        ):
            for name in theirs:
                _note(mine, name)
        for trace_id in others:
            if len(self.trace_ids) < MAX_TRACE_IDS:
                self.trace_ids[trace_id] = None
        self.own |= other.own
        if self.findings is not None:
            self.findings += other.findings or ()

    def only(self, findings: list[Finding]) -> Incident:
        """Give the same incident as if these of its findings were all."""
        narrowed = Incident(findings[0], self._max_pairs, self._lock)
        for finding in findings:
            narrowed.fold(finding)
        narrowed.id, narrowed.number = self.id, self.number
        narrowed.ack, narrowed.own = self.ack, self.own
        return narrowed

    def take_out(self, findings: list[Finding], last_ns: int) -> None:
        """Give back what belongs to the next incident; this one was seen until `last_ns`."""
        for finding in findings:
            self.fold(
                finding._replace(
                    count=-finding.count, delivered=-finding.delivered, size=-finding.size
                )
            )
        self.last_ns = min(self.last_ns, last_ns)

    def as_dict(self, now_ns: int) -> dict[str, Any]:
        """Give the incident as the review's JSON has it, judged `ongoing` as of `now_ns`.

        Pairs come with the most events first. `trace_ids` are the first 100. In a running
        agent the pairs past its cap are one line, `other` to `other`.
        """
        # Copied under the lock, which the call path takes too; written out without it.
        with self._lock:
            pairs = [
                (-pair.events, recipient, owner, pair.severity, pair.first_ns, pair.last_ns)
                for (recipient, owner), pair in self.pairs.items()
            ]
            seen = {
                "id": self.id,
                "rule": self.rule,
                "severity": self.severity,
                "first_seen": timestamp(self.first_ns),
                "last_seen": timestamp(self.last_ns),
                "ongoing": now_ns - self.last_ns <= ONGOING_NS,
                "acknowledged": self.ack is not None,
                "events": self.events,
                "attempted": self.attempted,
                "bytes": self.size,
                "pairs": [],
                "managers": sorted(self.managers),
                "sites": sorted(self.sites),
                "services": [self.service],
                "versions": sorted(self.versions),
                "trace_ids": list(self.trace_ids),
            }
        seen["pairs"] = [
            {
                "recipient": recipient,
                "owner": owner,
                "severity": severity,
                "events": -events,
                "first_seen": timestamp(first_ns),
                "last_seen": timestamp(last_ns),
            }
            for events, recipient, owner, severity, first_ns, last_ns in sorted(pairs)
        ]
        return seen


def _worse(one: str, other: str) -> str:
    return one if _RANK.get(one, 9) <= _RANK.get(other, 9) else other


def _note(names: set[str], name: str) -> None:
    if name and name not in names:
        names.add(name if len(names) < MAX_NAMES else OTHER)
