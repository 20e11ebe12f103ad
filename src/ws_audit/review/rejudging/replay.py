# SPDX-License-Identifier: Apache-2.0
"""A whole review under other policies: what would not be an incident, what stays, what changes.

Why it exists: what a policy would excuse must be seen before somebody declares it.

It must never leave out what it cannot tell, never number an incident otherwise than the review
does, and change nothing that is stored.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from ws_audit.book import Book
from ws_audit.configuration.policy_tables import FRAMEWORKS
from ws_audit.incidents import Mark
from ws_audit.journal import Journal
from ws_audit.model import EXCUSED, UNATTRIBUTED, VIOLATION
from ws_audit.review.segments import read
from ws_audit.verdict import stored

from . import rejudge
from .rejudge import Again, Judge, Ways

if TYPE_CHECKING:
    from collections.abc import Callable

    from ws_audit.configuration.policy_tables import PolicyTable
    from ws_audit.incidents import Incident
    from ws_audit.model import Finding
    from ws_audit.principals.identity import Hasher
    from ws_audit.review.segments.read import Review
    from ws_audit.review.segments.rows import Origin, Rows, ViolationRow

VANISHES, STAYS, CHANGES, NEW = "vanishes", "stays", "changes", "new"
_LEARNED: Final = "resource_vs_connection"


class Change(NamedTuple):
    """What becomes of one incident; or, if `before` is None, one that there was not.

    Counts are deliveries that were tried: `excused` by the numbers of the tables, `moved` to an
    incident of another rule, `cleared` because what spoke against them would not have been asked
    for, `untold` by the reason.
    """

    what: str
    before: Incident | None
    after: Incident | None
    excused: Counter[tuple[int, ...]]
    moved: int
    cleared: int
    untold: Counter[str]


class Replay(NamedTuple):
    """A review, and what it would have been; `changes` in the order of the review's incidents."""

    before: Review
    after: Review
    changes: list[Change]
    notes: list[str]


class Replayer:
    """The violations of a source, ready to be judged again; with the key of the hashes or not."""

    def __init__(self, review: Review, rows: Rows, hasher: Hasher | None) -> None:
        self.rows = [row for row in rows.violations if not row.synthetic]
        self._notes: list[str] = []
        known, there = (
            sum(row.count for row in self.rows),
            sum(it.attempted for it in review.incidents),
        )
        if known != there:
            # A large database gives its newest ones. Then the rest is neither before nor after.
            self._notes.append(
                f"{there:,} violations are stored and {known:,} were read one by one: before and"
                " after are of those"
            )
            findings = [row.finding for row in self.rows]
            marks = Journal(_marks(review.incidents), [])
            review = read.assemble(review.stored._replace(findings=findings), marks)
        self.review = review
        # With another key than that of the records, nobody is known by name.
        others = {process.key for process in rows.processes} - {"", hasher.id if hasher else ""}
        self.hasher = None if others else hasher
        self._coverage = rows.coverage
        self.homes = _homes(self.rows, review.incidents)  # the id of each one's incident
        self._judge = Judge()
        self._ways: dict[tuple[bool, tuple[PolicyTable, ...]], Ways] = {}
        self._everybody: frozenset[str] | None = None
        # What was in force, as each process has said when it began.
        self._then: dict[Origin, tuple[PolicyTable, ...]] = {}
        for process in rows.processes:
            try:
                self._then[process.origin] = stored.read_tables(process.policies)
            except (ValueError, TypeError):
                continue  # by a version that did not tell

    def under(self, tables: tuple[PolicyTable, ...]) -> Replay:
        """The review with these policies in the place of those that were in force."""
        mine = tables if self.hasher is None else stored.hashed(tables, self.hasher)
        return self._replay(lambda _: mine, self._missing(mine))

    def with_more(self, tables: tuple[PolicyTable, ...]) -> Replay:
        """The review with these policies beside those that were in force; users are hashes."""
        return self._replay(lambda origin: (*self._then.get(origin, ()), *tables), [], known=True)

    def record(self, row: ViolationRow) -> stored.Stored | None:
        """What was stored of a violation; None if that is not enough to judge it again."""
        return self._judge.read(row) if row.judged else None

    def _replay(
        self,
        tables: Callable[[Origin], tuple[PolicyTable, ...]],
        notes: list[str],
        *,
        known: bool = False,
    ) -> Replay:
        answers = [self._again(row, tables(row.origin), known=known) for row in self.rows]
        answers = _with_others(self.rows, answers)
        notes = [*self._notes, *notes, *_untold(self.rows, answers)]
        after = self._after(answers, notes)
        learned = sum(
            row.count
            for row, again in zip(self.rows, answers, strict=True)
            if again.verdict == VIOLATION and again.rule == _LEARNED and not again.untold
        )
        if learned and any(again.verdict == EXCUSED for again in answers):
            notes.append(
                f"{learned:,} deliveries that stay rest on what the agent had learned from others;"
                " what it would have learned with these policies is not played again"
            )
        return Replay(self.review, after, self._changes(after, answers), notes)

    def _again(self, row: ViolationRow, tables: tuple[PolicyTable, ...], *, known: bool) -> Again:
        before = self._then.get(row.origin)
        then = None if before is None else self._way(before, known=True)
        return self._judge.again(row, then, self._way(tables, known=known))

    def _way(self, tables: tuple[PolicyTable, ...], *, known: bool) -> Ways:
        """`known`: their users are hashes, whatever the key."""
        known = known or self.hasher is not None
        ways = self._ways.get((known, tables))
        if ways is None:
            everybody = None if known else self._people()
            ways = self._ways[known, tables] = Ways(tables, everybody)
        return ways

    def _people(self) -> frozenset[str]:
        """Everybody whom a policy might name."""
        if self._everybody is None:
            found = set()
            for row in self.rows:
                record = self.record(row)
                for one in () if record is None else record.evidence:
                    found |= {who.user for who in (one.principal, *one.aliases)}
            self._everybody = frozenset(found)
        return self._everybody

    def _after(self, answers: list[Again], notes: list[str]) -> Review:
        """The review as it would be."""
        before = self.review.stored
        coverage, reasons = dict(before.coverage), dict(before.reasons)
        findings = []
        for row, again in zip(self.rows, answers, strict=True):
            if again.verdict == VIOLATION:
                findings.append(_finding(row, again))
            elif again.verdict == EXCUSED:
                coverage["excused"] += row.count
            elif again.verdict == UNATTRIBUTED:
                coverage["unattributed"] += row.count
                coverage["judged"] -= row.count
                reasons[again.reason] += row.count
        problems = [*self.review.problems, *notes]
        stored_ = before._replace(
            findings=findings, coverage=coverage, reasons=reasons, problems=problems
        )
        # An incident keeps its number, also if an earlier one would not have been.
        return read.assemble(stored_, Journal(_marks(self.review.incidents), []))

    def _changes(self, after: Review, answers: list[Again]) -> list[Change]:
        there = {it.id: it for it in after.incidents}
        counts: dict[str, tuple[Counter[tuple[int, ...]], Counter[str], Counter[str]]] = {}
        for row, home, again in zip(self.rows, self.homes, answers, strict=True):
            excused, other, untold = counts.setdefault(home, (Counter(), Counter(), Counter()))
            if again.untold:
                untold[again.untold] += row.count
            elif again.verdict == EXCUSED:
                excused[again.by] += row.count
            elif again.verdict != VIOLATION:
                other["cleared"] += row.count
            elif again.rule != row.rule:
                other["moved"] += row.count
        changes = []
        for before in self.review.incidents:
            now = there.pop(before.id, None)
            excused, other, untold = counts.get(before.id, (Counter(), Counter(), Counter()))
            what = VANISHES if now is None else STAYS
            if now is not None and now.as_dict(0) != before.as_dict(0):
                what = CHANGES
            changes.append(
                Change(what, before, now, excused, other["moved"], other["cleared"], untold)
            )
        new = (Change(NEW, None, it, Counter(), 0, 0, Counter()) for it in there.values())
        return [*changes, *new]

    def _missing(self, tables: tuple[PolicyTable, ...]) -> list[str]:
        """What cannot be told of policies because what they decide left no record."""
        now = {rejudge.bare(table) for table in tables}
        excused: Counter[Origin] = Counter()
        for row in self._coverage:
            excused[row.origin] += row.excused
        left, more = 0, False
        for origin in {*excused, *(row.origin for row in self.rows)}:
            then = self._then.get(origin)
            before = None if then is None else {rejudge.bare(table) for table in then}
            if before is None or not before <= now:
                left += excused[origin]
            more = more or not now <= (before or set())
        unjudged = self.review.stored.coverage["unattributed"]
        notes = []
        if left:
            notes.append(
                f"{left:,} deliveries were excused by the policies then in force and left no"
                " record: whether these policies excuse them cannot be told"
            )
        if more and any(table.membership not in ("", *FRAMEWORKS) for table in tables):
            notes.append(
                "whom the memberships of these policies leave out was not asked then: what would"
                " be a violation for that reason cannot be told"
            )
        if more and unjudged:
            notes.append(
                f"{unjudged:,} deliveries could not be judged and left no record: whether these"
                " policies excuse some of them cannot be told"
            )
        return notes


def _homes(rows: list[ViolationRow], incidents: list[Incident]) -> list[str]:
    """The id of the incident that the book folds each violation into."""
    book = Book(marks=_marks(incidents))
    findings = [row.finding for row in rows]
    order = sorted(range(len(rows)), key=lambda index: findings[index].first_ns)
    homes = {index: book.add(findings[index]) for index in order}
    book.fold(())
    return [homes[index].id for index in range(len(rows))]


def _marks(incidents: list[Incident]) -> list[Mark]:
    """What a journal says that gives the same incidents the same numbers, whichever are there."""
    marks = [it.ack for it in incidents if it.ack is not None]
    return marks + [
        Mark(it.id.partition("-")[0], it.number, it.first_ns, it.first_ns) for it in incidents
    ]


def _with_others(rows: list[ViolationRow], answers: list[Again]) -> list[Again]:
    """The answers, without the severities that hang on what is no violation any more."""
    changed = {
        (row.origin, row.intent_id)
        for row, again in zip(rows, answers, strict=True)
        if again.verdict != VIOLATION and row.intent_id
    }
    return [
        Again(VIOLATION, row.rule, row.severity, row.owner, untold=rejudge.TOGETHER)
        if again.joint and (row.origin, row.intent_id) in changed
        else again
        for row, again in zip(rows, answers, strict=True)
    ]


def _untold(rows: list[ViolationRow], answers: list[Again]) -> list[str]:
    reasons: Counter[str] = Counter()
    for row, again in zip(rows, answers, strict=True):
        if again.untold:
            reasons[again.untold] += row.count
    total = sum(row.count for row in rows)
    return [
        f"{count:,} of {total:,} stored violations cannot be judged again and stand as they were:"
        f" {reason}"
        for reason, count in reasons.most_common()
    ]


def _finding(row: ViolationRow, again: Again) -> Finding:
    return row.finding._replace(rule=again.rule, severity=again.severity, owner=again.owner)
