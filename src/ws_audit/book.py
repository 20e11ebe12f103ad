# SPDX-License-Identifier: Apache-2.0
"""The book of incidents: which findings are one incident, which number it has, whether it is open.

Why it exists: the log line, the webhook, the gauge and the review name an incident each on its
own, in several processes and after restarts. All of them fold with this module, so all of them
mean the same by `-2`.

It must never number by what one process alone has seen once more is known, never count a finding
twice, and never hold up the call path for longer than one cause takes to sort.
"""

from __future__ import annotations

from _thread import RLock  # threading itself must not be imported this early
from bisect import bisect_left
from collections import deque
from typing import TYPE_CHECKING, Final

from ws_audit.incidents import ONGOING_NS, Incident, Mark, incident_id, place

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ws_audit.model import Finding

    Cause = tuple[str, str, str]  # service, rule, module:function
    Marks = dict[str, list[Mark]]

SILENCE_NS: Final = 24 * 3600 * 1_000_000_000  # after this the same cause is the next incident
MAX_EARLIER: Final = 31  # incidents of one cause in a running agent: a month of days
MAX_CAUSES: Final = 10_000  # read back into a running agent
RECENT: Final = 1_000  # findings that an acknowledgement noticed late may still divide


class Book:
    """Findings go in, incidents come out.

    A running agent gives `max_pairs`: the book then holds that many pairs per incident (and one
    line for the rest) and of each cause a month's incidents. The review gives none and keeps
    everything. `marks` are the journal's.

    Safe from any thread, also when a finalizer or signal handler adds in the middle of an add.
    Not across a fork: a child whose parent has threads begins a new book.
    """

    def __init__(self, *, max_pairs: int | None = None, marks: Iterable[Mark] = ()) -> None:
        # The lock is re-entrant: the collector may run application code (a `__del__` that
        # sends) at any allocation, also at one made while the lock is held.
        self._lock = RLock()
        self._max_pairs = max_pairs
        self._lines: dict[Cause, _Line] = {}
        self._marks = _by_cause(marks)
        self._recent: deque[tuple[_Line, Finding]] = deque(maxlen=RECENT)
        self._renumbered: set[_Line] = set()

    # -- findings -----------------------------------------------------------------------------

    def add(self, finding: Finding) -> Incident:
        """Fold a finding into its incident, which begins here if there is none yet.

        Findings of one cause are expected in order of time. The next incident, `-2`, `-3` and so
        on, begins with the first finding after an acknowledgement or 24 hours of silence.
        """
        with self._lock:
            line = self._line(cause_of(finding))
            finding = _after(finding, [mark.time_ns for mark in line.journal])
            incident = line.at(finding.first_ns)
            if incident is None or line.busy or line.apart(incident, finding.first_ns):
                part = Incident(finding, self._max_pairs, self._lock)
                part.id, part.own = line.name, True
                part.fold(finding)
                self._settle(line, [part])
                incident = part if line.busy else line.at(finding.first_ns) or part
            else:
                incident.own = True
                incident.fold(finding)
            self._remember(line, finding)
            return incident

    def correct(self, finding: Finding) -> None:
        """Add a finding that takes back some of what one said before: it begins no incident."""
        with self._lock:
            line = self._line(cause_of(finding))
            incident = line.at(finding.first_ns)
            if incident is not None:
                incident.fold(finding)
                self._remember(line, finding)

    def begins(self, finding: Finding) -> int:
        """When a finding begins: an aggregate that goes on after an acknowledgement, after that."""
        if finding.first_ns == finding.last_ns:
            return finding.first_ns
        times = [mark.time_ns for mark in self._line(cause_of(finding)).journal]
        return _after(finding, times).first_ns

    def fold(self, findings: Iterable[Finding]) -> list[Incident]:
        """Add findings that come in any order, oldest first, and return all incidents."""
        for finding in sorted(findings, key=self.begins):
            self.add(finding)
        for line in self._lines.values():
            self._settle(line, [])
        return self.all()

    # -- what others know ---------------------------------------------------------------------

    def parts(self, marks: Iterable[Mark]) -> Parts:
        """Begin to gather findings of other processes, for `learn` with the same marks."""
        return Parts(_by_cause(marks), self._max_pairs, self._lock)

    def learn(self, parts: Parts, marks: Iterable[Mark]) -> list[Incident]:
        """Take in what was read back. Returns incidents to be told of (again).

        That is those of this process that have another id now, and those that began with a
        finding made after an acknowledgement which was noticed only now.
        """
        found = _by_cause(marks)
        with self._lock:
            self._marks = found
            for cause in parts.lines:
                self._line(cause)
            lines = list(self._lines.items())
        changed = []
        for cause, line in lines:
            more = parts.lines.get(cause, [])
            said = found.get(line.name, [])
            if not more and said == line.journal:
                continue
            with self._lock:  # for one cause at a time: the call path takes it, too
                before = {id(it): it.id for it in line.incidents}
                new = [mark for mark in said if mark.time_ns and mark not in line.journal]
                line.journal = said
                self._settle(line, more + self._divided(line, new))
                changed += [
                    it
                    for it in line.incidents
                    if it.own and it.ack is None and before.get(id(it)) != it.id
                ]
        return changed

    @property
    def unmarked(self) -> bool:
        """Whether `begun` may have something to tell."""
        return bool(self._renumbered)

    def begun(self) -> list[Mark]:
        """Incidents that began after a silence, once each: the journal is to keep their numbers.

        To be asked right after `learn`, when what others have found is known as well.
        """
        with self._lock:
            lines, self._renumbered = self._renumbered, set()
            return [mark for line in lines for mark in line.unmarked()]

    # -- incidents ----------------------------------------------------------------------------

    def all(self) -> list[Incident]:
        """Return the incidents of the book, those of one cause in order of time."""
        with self._lock:
            return [incident for line in self._lines.values() for incident in line.incidents]

    def open(self) -> int:
        """Count what should wake or have woken somebody, and nobody has acknowledged."""
        return sum(incident.open for incident in self.all())

    def ongoing(self, now_ns: int) -> int:
        """Count the incidents that are going on at `now_ns`."""
        return sum(now_ns - incident.last_ns <= ONGOING_NS for incident in self.all())

    # -- one cause ----------------------------------------------------------------------------

    def _line(self, cause: Cause) -> _Line:
        line = self._lines.get(cause)
        if line is None:
            name = incident_id(*cause)
            line = self._lines[cause] = _Line(name, self._marks.get(name, []))
        return line

    def _remember(self, line: _Line, finding: Finding) -> None:
        if self._max_pairs is not None:
            self._recent.append((line, finding))

    def _settle(self, line: _Line, parts: list[Incident]) -> None:
        """Put parts among the incidents of a cause, and number all of them."""
        line.waiting += parts
        if line.busy:
            return  # a finalizer in the middle of it: whoever is at it takes these as well
        line.busy = True
        try:
            while True:
                parts, line.waiting = line.waiting, []
                line.incidents = line.joined(parts)
                line.number()
                if self._max_pairs is not None:
                    self._renumbered.add(line)
                    line.shorten()
                if not line.waiting:
                    break
        finally:
            line.busy = False

    def _divided(self, line: _Line, acks: list[Mark]) -> list[Incident]:
        """What was found between an acknowledgement and its being noticed is the next incident."""
        parts = Parts({line.name: line.journal}, self._max_pairs, self._lock)
        for ack in sorted(acks, key=lambda ack: ack.time_ns):
            incident = line.target(ack)
            if incident is None or incident.last_ns <= ack.time_ns:
                continue
            late = [
                it
                for its, it in self._recent
                if its is line and ack.time_ns < it.first_ns <= incident.last_ns
            ]
            incident.take_out(late, ack.time_ns)
            for finding in late:
                parts.add(finding)
        divided = [part for of_cause in parts.lines.values() for part in of_cause]
        for part in divided:
            part.own = True
        return [part for part in divided if part.attempted > 0]


class Parts:
    """Findings on their way into a book: by cause, in any order, as few parts as they allow.

    A part has no silence in it and no acknowledgement, so a part belongs to one incident.
    """

    def __init__(self, marks: Marks, max_pairs: int | None, lock: RLock) -> None:
        self._acks = {
            name: sorted(mark.time_ns for mark in of_cause if mark.time_ns)
            for name, of_cause in marks.items()
        }
        self._max_pairs = max_pairs
        self._lock = lock
        self._times: dict[Cause, list[int]] = {}
        self.lines: dict[Cause, list[Incident]] = {}

    def add(self, finding: Finding) -> None:
        """Fold a finding into its part; one with nothing in its count takes something back."""
        cause = cause_of(finding)
        parts = self.lines.get(cause)
        if parts is None:
            if len(self.lines) >= MAX_CAUSES:
                return
            parts = self.lines[cause] = []
            self._times[cause] = self._acks.get(incident_id(*cause), [])
        times = self._times[cause]
        finding = _after(finding, times)
        for part in reversed(parts):
            if (
                finding.first_ns - part.last_ns < SILENCE_NS
                and part.first_ns - finding.last_ns < SILENCE_NS
                and bisect_left(times, finding.first_ns) == bisect_left(times, part.first_ns)
            ):
                break
        else:
            part = Incident(finding, self._max_pairs, self._lock)
            parts.append(part)
        part.fold(finding)


class _Line:
    """The incidents of one cause in order of time, and what the journal says of them."""

    __slots__ = ("busy", "dropped", "incidents", "journal", "name", "said", "waiting")

    def __init__(self, name: str, journal: list[Mark]) -> None:
        self.name = name
        self.journal = journal
        self.said: list[Mark] = []  # by this process; maybe not in the journal (yet)
        self.incidents: list[Incident] = []
        self.waiting: list[Incident] = []
        self.busy = False
        self.dropped = 0  # the number of the last one that is not kept

    def at(self, ns: int) -> Incident | None:
        """The incident a finding of that time belongs to, or follows."""
        for incident in reversed(self.incidents):
            if incident.first_ns <= ns:
                return incident
        return self.incidents[0] if self.incidents else None

    def apart(self, incident: Incident, ns: int) -> bool:
        """Whether a finding of that time comes after the end of this incident."""
        return ns - incident.last_ns >= SILENCE_NS or any(
            0 < mark.time_ns < ns and mark.meets(incident) for mark in self.journal
        )

    def target(self, ack: Mark) -> Incident | None:
        """The incident that somebody acknowledged; by its time, since numbers may be missing."""
        for incident in reversed(self.incidents):
            if ack.meets(incident):
                return incident
        return None

    def joined(self, parts: list[Incident]) -> list[Incident]:
        """All parts and incidents, what belongs together in one.

        Others may hold one of our incidents: it stays the one that the parts are added to.
        """
        known = set(map(id, self.incidents))
        joined: list[Incident] = []
        for part in sorted([*self.incidents, *parts], key=lambda it: it.first_ns):
            latest = joined[-1] if joined else None
            if latest is None or self.apart(latest, part.first_ns):
                joined.append(part)
            elif id(part) in known and id(latest) not in known:
                part.absorb(latest)
                joined[-1] = part
            else:
                latest.absorb(part)
        return joined

    def number(self) -> None:
        """Give each incident its number and acknowledgement.

        They are counted from 1. Where the evidence of earlier ones has been deleted, a mark says
        where to count from.
        """
        marks = [(mark, self.target(mark) if mark.time_ns else None) for mark in self._marks()]
        number = self.dropped
        for incident in self.incidents:
            number += 1
            acks = []
            for mark, target in marks:
                if not mark.time_ns:
                    if mark.first_ns <= incident.last_ns:
                        number = max(number, mark.number)
                elif target is incident:
                    number = max(number, mark.number)
                    acks.append(mark)
                elif mark.last_ns < incident.first_ns:
                    number = max(number, mark.number + 1)
            incident.ack = min(acks, key=lambda mark: mark.time_ns, default=None)
            incident.number = number
            incident.id = Mark(self.name, number, 0, 0).incident

    def unmarked(self) -> list[Mark]:
        """Incidents whose number nothing but the evidence of earlier ones tells."""
        told = {mark.number for mark in self._marks()}
        told |= {mark.number + 1 for mark in self.journal if mark.time_ns}
        new = [
            Mark(self.name, it.number, it.first_ns, it.first_ns)
            for it in self.incidents
            if it.number > 1 and it.number not in told
        ]
        self.said += new
        return new

    def shorten(self) -> None:
        """Keep a month's incidents."""
        for incident in self.incidents[:-MAX_EARLIER]:
            self.dropped = incident.number
        self.incidents = self.incidents[-MAX_EARLIER:]

    def _marks(self) -> list[Mark]:
        return self.journal + self.said


def cause_of(finding: Finding) -> Cause:
    """What the findings of one incident have in common."""
    return (finding.service, finding.rule, place(finding.site))


def _after(finding: Finding, times: list[int]) -> Finding:
    """An aggregate that goes on after an acknowledgement: all of it, rather than none, is new."""
    if finding.first_ns < finding.last_ns:
        for time_ns in times:
            if finding.first_ns <= time_ns < finding.last_ns:
                finding = finding._replace(first_ns=time_ns + 1)
    return finding


def _by_cause(marks: Iterable[Mark]) -> Marks:
    found: Marks = {}
    for mark in marks:
        found.setdefault(mark.cause, []).append(mark)
    return found
