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
from _thread import RLock  # threading itself must not be imported this early
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

from ws_audit.model import OTHER, SEVERITIES
from ws_audit.schema import EVENT_RULES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ws_audit.model import Finding

SILENCE_NS: Final = 24 * 3600 * 1_000_000_000  # after this the same cause is the next incident
ONGOING_NS: Final = 10 * 60 * 1_000_000_000  # an incident seen within this is going on
MAX_TRACE_IDS: Final = 100  # per incident: the first ones; every one is in the store
MAX_NAMES: Final = 100  # per incident: managers, sites, versions; past it `other`

_RANK: Final = {severity: rank for rank, severity in enumerate(SEVERITIES)}  # 0 is the worst


def incident_id(service: str, rule: str, site: str) -> str:
    """Name the cause of a violation: 12 hex digits, the same in every process and version.

    `site` is `module:function:line` or `none`; the line takes no part, so an incident keeps
    its id when code above it is edited.
    """
    cause = f"{service}\n{rule}\n{_place(site)}"
    return blake2b(cause.encode("utf-8", "replace"), digest_size=16).hexdigest()[:12]


def timestamp(ns: int) -> str:
    """Write Unix nanoseconds as RFC 3339 in UTC with all nine decimals."""
    seconds, rest = divmod(ns, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:09d}Z"


class Pair:
    """One person's data at one other person's connection, as far as one incident saw it."""

    __slots__ = ("events", "first_ns", "last_ns", "severity")

    def __init__(self, finding: Finding) -> None:
        self.severity = finding.severity
        self.events = 0
        self.first_ns = finding.first_ns
        self.last_ns = finding.last_ns


class Incident:
    """All violations of one cause, until 24 hours of silence end it.

    `events` counts what was delivered or may have been, `attempted` everything that was
    tried, `size` the bytes of what was delivered (all bytes of a storm's aggregate of which
    a part was: an upper bound). Times are Unix nanoseconds. Made by `Incidents` alone.
    """

    __slots__ = (
        "_lock",
        "_max_pairs",
        "attempted",
        "events",
        "first_ns",
        "id",
        "last_ns",
        "managers",
        "pairs",
        "rule",
        "service",
        "severity",
        "sites",
        "size",
        "trace_ids",
        "versions",
    )

    def __init__(self, name: str, finding: Finding, max_pairs: int | None, lock: RLock) -> None:
        self._lock = lock
        self._max_pairs = max_pairs
        self.id = name
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

    def fold(self, finding: Finding) -> None:
        """Add a finding of this cause; the book holds the lock."""

        # Events that are no delivery have no outcome to wait for: they happened.
        events = finding.count if finding.rule in EVENT_RULES else finding.delivered

        self.events += events
        self.attempted += finding.count
        if events:
            self.size += finding.size

        self.severity = _worse(self.severity, finding.severity)
        self.first_ns = min(self.first_ns, finding.first_ns)
        self.last_ns = max(self.last_ns, finding.last_ns)

        pair = self._pair(finding)
        pair.events += events
        pair.severity = _worse(pair.severity, finding.severity)
        pair.first_ns = min(pair.first_ns, finding.first_ns)
        pair.last_ns = max(pair.last_ns, finding.last_ns)

        _note(self.managers, finding.manager)
        _note(self.sites, finding.site)
        _note(self.versions, finding.version)
        if finding.trace_id and len(self.trace_ids) < MAX_TRACE_IDS:
            self.trace_ids[finding.trace_id] = None

    def _pair(self, finding: Finding) -> Pair:
        key = (finding.recipient, finding.owner)
        pair = self.pairs.get(key)
        if pair is None:
            # Past the cap all further pairs share one line, so that the sums stay exact.
            if self._max_pairs is not None and len(self.pairs) >= self._max_pairs:
                key = (OTHER, OTHER)
            pair = self.pairs.setdefault(key, Pair(finding))
        return pair

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
                "acknowledged": False,
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


class Incidents:
    """The book of incidents: findings go in, incidents come out.

    A running agent gives `max_pairs`: the book then holds that many pairs per incident (and
    one line for the rest) and of each cause the latest incident only. The review gives none
    and keeps everything.

    Safe from any thread, also when a finalizer or signal handler adds in the middle of an
    add. Not across a fork: a child whose parent has threads begins a new book.
    """

    def __init__(self, *, max_pairs: int | None = None) -> None:
        # The lock is re-entrant: the collector may run application code (a `__del__` that
        # sends) at any allocation, also at one made while the lock is held.
        self._lock = RLock()
        self._max_pairs = max_pairs
        self._latest: dict[tuple[str, str, str], tuple[Incident, int]] = {}
        self._earlier: list[Incident] = []

    def add(self, finding: Finding) -> Incident:
        """Fold a finding into its incident, which begins here if there is none yet.

        Findings of one cause are expected in order of time: 24 hours between the last of an
        incident and the next finding begin the next incident, `-2`, `-3` and so on.
        """
        with self._lock:
            cause = (finding.service, finding.rule, _place(finding.site))
            incident, number = self._latest.get(cause, (None, 0))

            if incident is None or finding.first_ns - incident.last_ns >= SILENCE_NS:
                if incident is not None and self._max_pairs is None:
                    self._earlier.append(incident)
                number += 1
                name = incident_id(finding.service, finding.rule, finding.site)
                if number > 1:
                    name = f"{name}-{number}"
                incident = Incident(name, finding, self._max_pairs, self._lock)
                self._latest[cause] = (incident, number)

            incident.fold(finding)
            return incident

    def fold(self, findings: Iterable[Finding]) -> list[Incident]:
        """Add findings that come in any order, oldest first, and return all incidents."""
        for finding in sorted(findings, key=lambda finding: finding.first_ns):
            self.add(finding)
        return self.all()

    def all(self) -> list[Incident]:
        """Return the incidents of the book, in no particular order."""
        with self._lock:
            return self._earlier + [incident for incident, _ in self._latest.values()]

    def ongoing(self, now_ns: int) -> int:
        """Count the incidents that are going on at `now_ns`."""
        with self._lock:
            return sum(
                now_ns - incident.last_ns <= ONGOING_NS for incident, _ in self._latest.values()
            )


def _place(site: str) -> str:
    """Return `module:function` of a `module:function:line`; anything else unchanged."""
    return site.rpartition(":")[0] if site.count(":") >= 2 else site


def _worse(one: str, other: str) -> str:
    return one if _RANK.get(one, 9) <= _RANK.get(other, 9) else other


def _note(names: set[str], name: str) -> None:
    if name and name not in names:
        names.add(name if len(names) < MAX_NAMES else OTHER)
