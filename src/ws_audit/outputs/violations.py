# SPDX-License-Identifier: Apache-2.0
"""What happens to a violation at once, before the application's own call goes on.

Why it exists: the process may be killed in the next instant. So the evidence is with the
kernel (one write to the store, one to stderr) before the frame is.

It must never lose a violation, whatever else is full or broken, and in a storm never write
a line for each: past the first hundred of a pair one aggregate line a second keeps counts,
bytes, first and last exact.
"""

from __future__ import annotations

import json
import os
import time
from threading import RLock
from typing import TYPE_CHECKING, Any, Final

from ws_audit.book import Book
from ws_audit.messages.intents import getrandbits
from ws_audit.model import CONFIRMED, NONE, OTHER, PROBABLE, Delivery, Finding, Span

if TYPE_CHECKING:
    from collections.abc import Callable

    from ws_audit.incidents import Incident
    from ws_audit.tally import Tally

    from .spans import SpanMaker
    from .store import Store

FULL_EVIDENCE: Final = 100  # lines per (incident, pair); then aggregates
MAX_PAIRS: Final = 1_000  # per live incident; the store has all
_MAX_KNOWN: Final = 100_000
_MAX_LIKE: Final = 10_000  # ways of being judged, in a storm's second; then only pairs are apart
_LINE: Final = 4096  # PIPE_BUF: a longer line may be torn apart by other writers
_LOG_SEVERITY: Final = {CONFIRMED: "CRITICAL", PROBABLE: "WARNING"}

Pair = tuple[str, str, str]


class Violations:
    """Writes violations and their outcomes; keeps the live book of incidents."""

    def __init__(
        self,
        maker: SpanMaker,
        store: Store | None,
        tally: Tally,
        *,
        log: bool,
        export: Callable[[Span], None],
        push: Callable[[Incident], None],
        wake: Callable[[], None],
    ) -> None:
        self._maker = maker
        self._store = store
        self._tally = tally
        self._log = log
        self._export = export
        self._push = push
        self._wake = wake
        self._lock = RLock()
        self._ending = False
        self.book = Book(max_pairs=MAX_PAIRS)
        self._written: dict[Pair, int] = {}
        # Delivery id -> finding, has a line, what was judged.
        self._open: dict[int, tuple[Finding, bool, Delivery]] = {}
        self._storm: dict[tuple[object, ...], tuple[Finding, Delivery | None]] = {}
        # Incident -> the number of violations to tell of next, the severity told last.
        self._milestones: dict[str, tuple[int, str]] = {}
        self._latest: dict[tuple[str, str, str], tuple[str, int]] = {}

    def record(self, delivery: Delivery) -> None:
        """A violation was judged: on disk, in the book and in the log when this returns."""
        finding = self._maker.finding(delivery)
        with self._lock:
            incident = self.book.add(finding)
            pair = (incident.id, finding.recipient, finding.owner)
            number = self._written.get(pair, 0) + 1
            known = len(self._written) < _MAX_KNOWN or pair in self._written
            if known:
                self._written[pair] = number
            full = known and (number <= FULL_EVIDENCE or self._ending)
            self._open[delivery.delivery_id] = (finding, full, delivery)
            series = (finding.rule, finding.severity, finding.manager)
            # The exemplar's trace is one the store has: an aggregate names only its first.
            trace_id = finding.trace_id if full else self._latest.get(series, ("", 0))[0]
            self._latest[series] = (trace_id, finding.last_ns)
            reached = self._milestone(incident)
        # One way out that fails is no reason to try the others less.
        try:
            if full:
                self._keep(self._maker.violation(delivery, finding, outcome=False))
        finally:
            try:
                if reached and self._log:
                    self.log_line(incident)
            finally:
                if reached:
                    self._push(incident)
                self._wake()

    def tell(self, incident: Incident) -> None:
        """Tell of an incident that turned out to be another one than it was told to be."""
        with self._lock:
            self._milestone(incident)
        try:
            if self._log:
                self.log_line(incident)
        finally:
            self._push(incident)

    def outcome(self, delivery: Delivery) -> None:
        """The transport took it or not: added to what is already written."""
        with self._lock:
            known = self._open.pop(delivery.delivery_id, None)
            if known is None:
                return
            recorded, full, _ = known
            finding = self._maker.finding(delivery)
            if finding.delivered != recorded.delivered:
                # The book counted it as delivered, as it had to while nobody knew.
                self.book.correct(recorded._replace(count=0, delivered=-1, size=-recorded.size))
            if not full:
                self._aggregate(finding, delivery)
                return
        try:
            self._keep(self._maker.outcome(delivery, time.time_ns()))
        finally:
            self._export(self._maker.violation(delivery, finding, outcome=True))

    def synthetic(self, delivery: Delivery, *, outcome: bool) -> None:
        """The self-test's violation: on disk, and exported with its outcome; in no book or log."""
        finding = self._maker.finding(delivery)._replace(synthetic=True)
        span = self._maker.violation(delivery, finding, outcome=outcome)
        if not outcome:
            self._keep(span)
            return
        try:
            self._keep(self._maker.outcome(delivery, time.time_ns(), synthetic=True))
        finally:
            self._export(span)

    def _aggregate(self, finding: Finding, delivery: Delivery) -> None:
        like: Delivery | None = delivery
        if not finding.delivered:
            finding = finding._replace(size=0)  # bytes are those that went out
        if len(self._storm) >= _MAX_KNOWN:
            finding = finding._replace(recipient=OTHER, owner=OTHER)  # the counts stay exact
        inputs = delivery.inputs
        # What was judged alike, so that a line can be judged again for all it stands for.
        key: tuple[object, ...] = (
            *finding[:9],
            delivery.kind,
            delivery.evidence,
            inputs and inputs[1:],
        )
        if len(self._storm) >= _MAX_LIKE and key not in self._storm:
            like, key = None, (*finding[:9],)
        known = self._storm.get(key)
        if known is None:
            self._storm[key] = finding, like
        else:
            so_far, like = known
            so_far = so_far._replace(
                first_ns=min(so_far.first_ns, finding.first_ns),
                last_ns=max(so_far.last_ns, finding.last_ns),
                count=so_far.count + finding.count,
                delivered=so_far.delivered + finding.delivered,
                size=so_far.size + finding.size,
            )
            self._storm[key] = so_far, like

    def flush(self) -> None:
        """Write what a storm has piled up: one line per pair (the drain, once a second)."""
        with self._lock:
            storm, self._storm = self._storm, {}
        for finding, like in storm.values():
            trace_id = int(finding.trace_id, 16)
            span = self._maker.aggregate(finding, like, trace_id, getrandbits(64) or 1)
            self._keep(span)
            self._export(span)

    def end(self) -> None:
        """Flush for the last time: what a daemon thread sends from here on has a line for each.

        What is under way counts as delivered: its thread may be stopped before it could say.
        """
        with self._lock:
            self._ending = True
            for delivery_id, (finding, full, delivery) in list(self._open.items()):
                if not full:
                    del self._open[delivery_id]
                    self._aggregate(finding, delivery)
        self.flush()

    def resume(self) -> None:
        """Somebody flushes again."""
        self._ending = False

    def _keep(self, span: Span) -> None:
        if self._store is not None and not self._store.write_violation(span):
            self._tally.add(("dropped", "store"))

    def _milestone(self, incident: Incident) -> bool:
        """Whether the incident has reached 1, 10, 100, ... violations, or become worse."""
        goal, told = self._milestones.get(incident.id, (1, incident.severity))
        if incident.attempted < goal and incident.severity == told:
            return False
        while goal <= incident.attempted:
            goal *= 10
        self._milestones[incident.id] = (goal, incident.severity)
        return True

    def latest(self, key: tuple[str, str, str]) -> tuple[str, int]:
        """(trace id in the store, Unix nanoseconds) of the newest of (rule, severity, manager)."""
        return self._latest.get(key, ("", time.time_ns()))

    def open(self) -> int:
        """How many incidents should have woken somebody, and nobody has acknowledged."""
        return self.book.open()

    def log_line(self, incident: Incident) -> None:
        """One JSON line on stderr, one write(2): it survives the process."""
        told = incident.as_dict(time.time_ns())
        severity = _LOG_SEVERITY.get(incident.severity, "NOTICE")
        message = summary(told)
        while True:
            line = json.dumps(
                {"severity": severity, "message": message, "incident": told},
                separators=(",", ":"),
            )
            if len(line) < _LINE or not (_halve(told, "pairs") or _halve(told, "trace_ids")):
                break
        try:
            os.write(2, line.encode() + b"\n")
        except OSError:
            self._tally.add(("dropped", "push"))

    def forget(self) -> None:
        """After a fork: a new book; the parent goes on with the old one."""
        self._lock = RLock()
        self._ending = False
        self.book = Book(max_pairs=MAX_PAIRS)
        self._written, self._open, self._storm = {}, {}, {}
        self._milestones, self._latest = {}, {}


def summary(incident: dict[str, Any]) -> str:
    """One sentence a person understands without knowing the product."""
    rule, events = incident["rule"], incident["events"]
    site = incident["sites"][0] if incident["sites"] else NONE
    where = "" if site == NONE else f" at {site}"
    times = "once" if events == 1 else f"{events} times"
    if rule == "rebound_connection":
        said = f"a connection was given to a second user {times}{where}"
    elif rule == "inbound_vs_connection":
        said = f"a client claimed to be someone else {times}"
    elif rule == "shared_instance":
        said = f"one object was built for, or handed to, two users {times}{where}"
    elif rule == "shared_state":
        said = f"two users' objects share something that changes{where}"
    elif rule == "thread_as_user":
        said = f"a thread or run id stood for a user {times}{where}"
    else:
        what = "1 message" if events == 1 else f"{events} messages"
        said = f"{what} for one user went to another's connection{where}"
    return f"user isolation ({incident['severity']}, {rule}): {said}"


def _halve(told: dict[str, Any], key: str) -> bool:
    if len(told[key]) <= 1:
        return False
    told[key] = told[key][: len(told[key]) // 2]
    return True
