# SPDX-License-Identifier: Apache-2.0
"""Which single violations are shown of all there are, and what each of them proves.

Why it exists: nobody reads a thousand records. The first says when it began, the last when it
was seen last, and the worst has the most statements that agree.

It must never show more than its bounds allow without saying how many it left out.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Final, NamedTuple

from ws_audit.model import SEVERITIES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ws_audit.review.segments.rows import EvidenceRow, SendRow, ViolationRow

PAIRS: Final = 8  # of each incident, those with the most events
SENDS: Final = 5  # before each violation

# What a piece of evidence says, seen from the delivery.
RECIPIENT, OWNER, OTHER = "recipient", "owner", "other"


class Statement(NamedTuple):
    """One piece of evidence, and of whom it speaks."""

    evidence: EvidenceRow
    names: str  # RECIPIENT, OWNER or OTHER


class Proof(NamedTuple):
    """A single violation; `why` says what it is of its pair: first, last, worst.

    `agreeing` are the kinds of evidence, the connection's apart, that name the owner;
    `independent` is from how many different capture points they come.
    """

    violation: ViolationRow
    why: tuple[str, ...]
    statements: tuple[Statement, ...]
    agreeing: tuple[str, ...]
    independent: int
    before: tuple[SendRow, ...]


class PairProofs(NamedTuple):
    """What is shown of one pair, `of` so many stored records."""

    owner: str
    recipient: str
    of: int
    proofs: tuple[Proof, ...]


class Sends:
    """The sends that were kept, by process, in order of time."""

    def __init__(self, sends: Iterable[SendRow]) -> None:
        self._rows: dict[tuple[str, int, int], list[SendRow]] = {}
        for row in sorted(sends, key=lambda row: row.first_ns):
            self._rows.setdefault(_process(row), []).append(row)
        self._times = {key: [row.first_ns for row in rows] for key, rows in self._rows.items()}

    def before(self, violation: ViolationRow) -> tuple[SendRow, ...]:
        """The last sends of the same process until this violation, its own included."""
        key = _process(violation)
        end = bisect_right(self._times.get(key, ()), violation.first_ns)
        return tuple(self._rows.get(key, ())[max(end - SENDS, 0) : end])


def proofs(violations: Iterable[ViolationRow], sends: Sends) -> list[PairProofs]:
    """Choose from the violations of one incident; pairs with the most events come first."""
    pairs: dict[tuple[str, str], list[ViolationRow]] = {}
    for row in violations:
        pairs.setdefault((row.owner, row.recipient), []).append(row)
    ranked = sorted(
        pairs.items(), key=lambda item: (-sum(row.delivered for row in item[1]), item[0])
    )
    return [
        PairProofs(owner, recipient, len(rows), tuple(_chosen(rows, sends)))
        for (owner, recipient), rows in ranked[:PAIRS]
    ]


def _chosen(rows: list[ViolationRow], sends: Sends) -> list[Proof]:
    rows.sort(key=lambda row: (row.first_ns, row.span_id))
    worst = min(rows, key=lambda row: (*_weight(row), row.first_ns))
    last = max(rows, key=lambda row: (row.last_ns, row.first_ns))
    reasons: dict[int, list[str]] = {}
    picked: dict[int, ViolationRow] = {}
    # One that says no more than the first did is not shown again as the worst.
    if _weight(worst) == _weight(rows[0]):
        worst = rows[0]
    for why, row in (("first", rows[0]), ("worst", worst), ("last", last)):
        picked[id(row)] = row
        reasons.setdefault(id(row), []).append(why)
    ordered = sorted(picked.values(), key=lambda row: row.first_ns)
    return [proof(row, tuple(reasons[id(row)]), sends.before(row)) for row in ordered]


def proof(row: ViolationRow, why: tuple[str, ...], before: tuple[SendRow, ...]) -> Proof:
    """Say what a violation's evidence says."""
    statements = tuple(Statement(it, _names(it, row)) for it in row.evidence)
    agreeing = [it.evidence for it in statements if _counts(it)]
    return Proof(
        row,
        why,
        statements,
        tuple(it.kind for it in agreeing),
        len({it.at for it in agreeing}),
        before,
    )


def _names(evidence: EvidenceRow, row: ViolationRow) -> str:
    if evidence.hash and evidence.hash == row.recipient:
        return RECIPIENT
    return OWNER if evidence.hash and evidence.hash == row.owner else OTHER


def _counts(statement: Statement) -> bool:
    return statement.names == OWNER and statement.evidence.kind != "connection"


def _weight(row: ViolationRow) -> tuple[int, int]:
    """Small is bad: the severity, then how many pieces of evidence name the other person."""
    agreeing = sum(it.hash == row.owner and it.kind != "connection" for it in row.evidence)
    return SEVERITIES.index(row.severity), -agreeing


def _process(row: SendRow | ViolationRow) -> tuple[str, int, int]:
    return row.origin.host, row.origin.pid, row.origin.began
