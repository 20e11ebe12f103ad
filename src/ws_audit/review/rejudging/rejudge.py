# SPDX-License-Identifier: Apache-2.0
"""One stored violation judged again: by the agent's own functions, from what was stored of it.

Why it exists: judge and policies decide from their arguments alone, so the same record gives the
same verdict later, and another one under other policies.

It must never guess. What was not stored is tried both ways; where that makes a difference, or the
stored evidence does not give the stored verdict, the answer is why it cannot be told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from ws_audit.configuration.policy_tables import BROADCAST, FRAMEWORKS
from ws_audit.model import CALL, EXCUSED, MATCH, STRONG, VIOLATION
from ws_audit.principals.identity import DIFFERENT, SAME, agree
from ws_audit.schema import EVENT_RULES
from ws_audit.verdict import stored
from ws_audit.verdict.judge import judge
from ws_audit.verdict.policy import Policies, first, refuted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ws_audit.configuration.policy_tables import PolicyTable
    from ws_audit.model import Evidence, Verdict
    from ws_audit.review.segments.rows import ViolationRow
    from ws_audit.verdict.policy import Rule
    from ws_audit.verdict.stored import Stored

OLD: Final = "written by a version that did not store what judging again takes"
GARBLED: Final = "what is stored of it cannot be read"
OTHERWISE: Final = "its stored evidence does not give its stored verdict"
EVENT: Final = "its event's name was not stored, as no code or setting names it"
USERS: Final = "the key of the hashes is not known, so nobody can say whom the policies name"
ANSWER: Final = "a membership was not asked about its recipient"
ADDRESS: Final = "how it was addressed was not weighed, as its room had been asked for"
TOGETHER: Final = "its severity hung on another message of the same call, which is excused"

# Of the evidence, what the way a message was addressed can make weak.
_WEIGHED: Final = ("payload", "instance")
_ANY: Final = ("*", "?*", "*?")  # patterns that take every name an event can have


class Again(NamedTuple):
    """What a violation would be. `untold`: why that cannot be said; then it stands as it was.

    `by` are the numbers of the tables that excuse it; `owner` is whose data, as a hash.
    """

    verdict: str
    rule: str = ""
    severity: str = ""
    owner: str = ""
    reason: str = ""
    by: tuple[int, ...] = ()
    untold: str = ""
    joint: bool = False  # its severity hangs on what else the same call has sent


class Ways:
    """Policies as they are asked of records that may lack something.

    `users` are as records have them. `everybody` is None if these are known; else whoever they
    may be.
    """

    def __init__(
        self, tables: tuple[PolicyTable, ...], everybody: frozenset[str] | None = None
    ) -> None:
        most = least = tables
        if everybody is not None and any(table.users for table in tables):
            least = tuple(table for table in tables if not table.users)
            whoever = tuple(sorted(everybody))
            most = tuple(it._replace(users=whoever) if it.users else it for it in tables)
        # For events with a name and without: fewest first, then most.
        self.sets = [(Policies(least), Policies(_of_any_event(least)))]
        whatever = tuple(table._replace(events=()) for table in most)
        self.sets.append((Policies(most), Policies(whatever)))
        self.users_known = most is least
        self.said = frozenset(map(bare, tables))
        # What makes evidence of a membership, and what keeps it from doing so.
        self.members = {
            table
            for table in self.said
            if table.kind == BROADCAST or table.membership not in ("", *FRAMEWORKS)
        }
        self.asks = any(table.kind != BROADCAST for table in self.members)
        self.named = any(table.events for table in tables)
        self.lasting = not any(table.expires for table in tables)


def bare(table: PolicyTable) -> PolicyTable:
    """What a policy says, whatever its place in the file and its reason."""
    return table._replace(
        number=0, reason="", events=tuple(sorted(table.events)), users=tuple(sorted(table.users))
    )


def _of_any_event(tables: tuple[PolicyTable, ...]) -> tuple[PolicyTable, ...]:
    """The tables, with what they take of events whose name is not known: all or nothing."""
    return tuple(
        table._replace(events=())
        for table in tables
        if not table.events or any(pattern in _ANY for pattern in table.events)
    )


class Judge:
    """Judges violations again; each that is like another only once."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], Again] = {}
        self._read: dict[tuple[object, ...], Stored | None] = {}

    def again(self, row: ViolationRow, then: Ways | None, now: Ways) -> Again:
        """What the violation would be under `now`; `then` is what was in force, if it is known."""
        key: tuple[object, ...] = (
            *(row.judged, row.evidence, row.event, row.kind, row.rule, row.severity, row.owner),
            *(id(then), id(now)),
        )
        if not now.lasting or (then is not None and not then.lasting):
            key += (row.first_ns, row.last_ns)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._again(row, then, now)
        return known

    def read(self, row: ViolationRow) -> Stored | None:
        """What was stored of it; None if that cannot be read."""
        key = (row.judged, row.evidence, row.event)
        if key not in self._read:
            try:
                self._read[key] = stored.read(row.judged, row.evidence, row.event)
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                self._read[key] = None
        return self._read[key]

    def _again(self, row: ViolationRow, then: Ways | None, now: Ways) -> Again:
        as_it_was = Again(VIOLATION, row.rule, row.severity, row.owner)
        if row.rule in EVENT_RULES or row.rule == "canary":
            return as_it_was  # no delivery, or certain: no policy has a say in it
        if then is not None and then.said == now.said:
            return as_it_was  # the same policies, so the same verdict, whatever was stored
        if not row.judged:
            return as_it_was._replace(untold=OLD)
        record = self.read(row)
        if record is None:
            return as_it_was._replace(untold=GARBLED)
        if _told(judge(record.evidence, row.kind))[:4] != as_it_was[:4]:
            return as_it_was._replace(untold=OTHERWISE)
        kept = _kept(record, row.first_ns, then, now)
        if kept is None:
            return as_it_was._replace(untold=ANSWER)

        found = [
            _Case(record, kept, row.kind, time_ns).judged(*completion)
            for time_ns in (row.first_ns, row.last_ns)
            for completion in _completions(record, now)
        ]
        if any(again.untold for again in found):
            return as_it_was._replace(untold=ADDRESS)
        if len({again._replace(by=()) for again in found}) == 1:
            return found[0]  # with the policies that surely do it
        if None in record.names and now.named:
            return as_it_was._replace(untold=EVENT)
        if not now.users_known:
            return as_it_was._replace(untold=USERS)
        return as_it_was._replace(untold=ANSWER)


def _completions(record: Stored, now: Ways) -> Iterator[tuple[list[tuple[Policies, str]], bool]]:
    """Every way in which what is not known may be: whom to ask by which name, and what is said."""
    for named, unnamed in now.sets:
        asked = [(unnamed, "") if name is None else (named, name) for name in record.names]
        yield asked, False
        yield asked, True


class _Case:
    """One record under one completion, with the evidence that there would be."""

    def __init__(self, record: Stored, kept: tuple[Evidence, ...], kind: str, time_ns: int) -> None:
        self._inputs = record.inputs
        self._evidence = kept
        self._kind = kind
        self._time_ns = time_ns

    def judged(self, asked: list[tuple[Policies, str]], default: bool) -> Again:
        """The verdict, as `excuses.Doubts` and `excuses.Excuses` come to it."""
        evidence = self._evidence
        verdict = judge(evidence, self._kind)
        answers: list[tuple[str, str, bool]] = []

        def belongs(membership: str, where: str) -> bool:
            for known in (*answers, *self._inputs.answers):
                if known[:2] == (membership, where):
                    found = known[2]
                    break
            else:
                found = default
            answers.append((membership, where, found))
            return found

        if verdict.verdict != MATCH:
            rules, _ = first(asked, verdict, evidence, self._time_ns, belongs)
            if rules:
                return _excused(rules)
        if verdict.verdict != VIOLATION or refuted(answers):
            return _told(verdict)
        # How a message was addressed is weighed unless its room leaves the recipient out. (The
        # other way round, an answer is not known that would have excused it.)
        if refuted(self._inputs.answers) and _weighable(evidence):
            return Again(VIOLATION, untold=ADDRESS)
        joint = _weighable(evidence) and any(
            one.name == "argument" and one.attests and agree(evidence[0], one.principal) == SAME
            for one in evidence
        )
        return _told(verdict)._replace(joint=joint)


def _weighable(evidence: tuple[Evidence, ...]) -> bool:
    """Whether how it was addressed may make some of it weak."""
    different = [one for one in evidence[1:] if agree(evidence[0], one.principal) == DIFFERENT]
    if any(one.name == "argument" and one.attests for one in different):
        return False
    return any(one.name in _WEIGHED and one.strength == STRONG for one in different)


def _kept(
    record: Stored, time_ns: int, then: Ways | None, now: Ways
) -> tuple[Evidence, ...] | None:
    """The evidence that there would be: a membership that is not declared leaves nobody out.

    None if a function that was not asked then would be asked now.
    """
    everything = record.evidence
    if then is not None and then.members == now.members:
        return everything
    connection, *others = everything
    if any(
        one.name == "argument" and agree(connection, one.principal) == DIFFERENT for one in others
    ):
        return everything  # no membership changes that
    event = record.names[0]
    if not now.asks or (event is not None and not _asked(now, event, time_ns)):
        return tuple(one for one in everything if not _from_membership(one))
    if then is None or event is None:
        return None
    same = _asked(then, event, time_ns) == _asked(now, event, time_ns)
    return everything if same else None


def _asked(ways: Ways, event: str, time_ns: int) -> set[tuple[str, str, bool]]:
    """The memberships that are asked who may see an event, as `outsiders.Outsiders` does."""
    rules = ways.sets[0][0].members(event, time_ns)
    return {(rule.membership, rule.where, event in rule.events) for rule in rules}


def _from_membership(one: Evidence) -> bool:
    """Whether a declared membership has said this, as `outsiders.Outsiders` makes it."""
    return one.name == "resource" and one.at == CALL and not one.attests


def _excused(rules: tuple[Rule, ...]) -> Again:
    return Again(EXCUSED, reason=rules[0].kind, by=tuple(sorted({rule.number for rule in rules})))


def _told(verdict: Verdict) -> Again:
    dissent = verdict.dissent
    owner = "" if dissent is None else stored.hash_of(dissent.principal)
    return Again(verdict.verdict, verdict.rule, verdict.severity, owner, verdict.reason)
