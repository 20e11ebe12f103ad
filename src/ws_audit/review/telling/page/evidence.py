# SPDX-License-Identifier: Apache-2.0
"""The evidence: single violations, each with every statement that was held against the others.

Why it exists: "how do you know" is answered by records, not by a verdict.

It must never show content of a message, only where in it was read and what kind of thing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ws_audit.incidents import timestamp
from ws_audit.review.telling.proofs import OWNER, RECIPIENT

from . import words
from .banner import severity
from .markup import Html, code, counted, facts, join, moment, more, number, stored, table, tag
from .pairs import person

if TYPE_CHECKING:
    from ws_audit.review.segments.rows import SendRow
    from ws_audit.review.telling.proofs import PairProofs, Proof, Statement
    from ws_audit.review.telling.story import IncidentTold, Story

INCIDENTS: Final = 12  # with evidence on the page
_WHY: Final = {"first": "the first", "worst": "the worst", "last": "the last"}


def evidence(story: Story) -> Html | None:
    """The section; None if there is no incident."""
    shown = with_evidence(story)
    if not shown:
        return None
    left = len(story.incidents) - len(shown)
    return tag(
        "section",
        tag("h2", "Evidence"),
        tag(
            "p",
            "Of each pair the first, the worst and the last violation on record. "
            "No content of a message is recorded: only where it was read, and whom it names.",
        ),
        *[_incident(story, it, open_=it is shown[0]) for it in shown],
        tag("p", f"{counted_text(left, 'more incident')}: see the JSON.") if left else None,
        id="evidence",
    )


def with_evidence(story: Story) -> list[IncidentTold]:
    """The incidents that the section shows."""
    return [it for it in story.incidents if it.proofs][:INCIDENTS]


def counted_text(count: int, noun: str) -> str:
    """A count with its noun, as plain text."""
    return f"{count:,} {noun if count == 1 else f'{noun}s'}"


def title(incident: IncidentTold) -> Html:
    """What an incident is called in headings."""
    return join(f"{incident.number}. ", stored(incident.json["rule"]))


def _incident(story: Story, incident: IncidentTold, *, open_: bool) -> Html:
    shown = sum(len(it.proofs) for it in incident.proofs)
    pairs = len(incident.json["pairs"])
    return tag(
        "article",
        tag("h3", title(incident), " ", severity(incident.json["severity"])),
        tag("p", words.RULES.get(incident.json["rule"], "")),
        tag(
            "p",
            f"Shown: {shown:,} of {counted_text(incident.records, 'record')}, from "
            f"{len(incident.proofs):,} of {counted_text(pairs, 'pair')}.",
            class_="dim",
        ),
        *[
            _pair(story, incident, it, open_=open_ and number_ == 0)
            for number_, it in enumerate(incident.proofs)
        ],
        id=f"evidence-{incident.number}",
    )


def _pair(story: Story, incident: IncidentTold, pair: PairProofs, *, open_: bool) -> Html:
    before, between = words.PAIRED.get(incident.json["rule"], words.DELIVERED)
    return more(
        join(
            before,
            person(story, pair.owner),
            between,
            person(story, pair.recipient),
            ", ",
            counted(pair.of, "record"),
        ),
        *[
            _proof(story, proof, again=bool(at) and _alike(proof, pair.proofs[at - 1]))
            for at, proof in enumerate(pair.proofs)
        ],
        open_=open_,
    )


def _alike(proof: Proof, other: Proof) -> bool:
    """Whether two violations rest on the same statements."""
    return proof.statements == other.statements


def _proof(story: Story, proof: Proof, *, again: bool) -> Html:
    row = proof.violation
    why = " and ".join(_WHY[it] for it in proof.why)
    single = row.count == 1
    outcome = words.OUTCOMES.get(row.outcome, row.outcome)
    if not single:
        outcome = f"sum of {row.count:,} deliveries, {row.delivered:,} delivered"
    origin = row.origin
    return tag(
        "div",
        tag("h4", f"{why[:1].upper()}{why[1:]}: ", moment(row.first_ns)),
        tag("p", tag("strong", _sentence(proof)), class_="says") if single else None,
        _told(story, proof, again=again) if proof.statements else None,
        facts(
            ("Outcome", stored(outcome)),
            ("Size", counted(row.size, "byte")),
            ("Event", stored(row.event)),
            ("Owner read from", code(row.payload_path, "not from the content")),
            ("Code", code(row.site)),
            ("Function", code(row.function)),
            ("Manager", code(row.manager)),
            ("Kind, transport", join(stored(row.kind), ", ", stored(row.transport))),
            ("Connection", code(row.connection_id)),
            ("Delivery", code(row.delivery_id)),
            ("Trace", code(row.trace_id)),
            ("Span", code(row.span_id)),
            (
                "Process",
                join(
                    stored(origin.service),
                    " ",
                    stored(origin.version, ""),
                    f" pid {origin.pid} ",
                    "on ",
                    stored(origin.host),
                ),
            ),
            class_="facts",
        ),
        _before(story, proof.before) if proof.before else None,
        class_="proof",
    )


def _sentence(proof: Proof) -> str:
    kinds = proof.agreeing
    if not kinds:
        return "No statement but the verdict itself names the other person."
    listed = " and ".join([", ".join(kinds[:-1]), kinds[-1]] if len(kinds) > 1 else kinds)
    if len(kinds) == 1:
        return f"One statement names the other person: {listed}."
    if proof.independent == 1:
        return f"{len(kinds)} statements from one place name the same other person: {listed}."
    return (
        f"{len(kinds)} statements from {proof.independent} different places name the same "
        f"other person: {listed}."
    )


def _told(story: Story, proof: Proof, *, again: bool) -> Html:
    """The statements; they are written out once."""
    if again:
        count = counted_text(len(proof.statements), "statement")
        return tag("p", f"By the same {count} as the one above.", class_="again")
    return _statements(story, proof)


def _statements(story: Story, proof: Proof) -> Html:
    rows = [
        [
            stored(it.evidence.kind),
            tag("span", words.KINDS.get(it.evidence.kind, "")),
            join(person(story, it.evidence.hash), " ", tag("small", _says(it))),
            stored(words.POINTS.get(it.evidence.at, it.evidence.at)),
            code(it.evidence.source),
            stored(it.evidence.strength),
        ]
        for it in proof.statements
    ]
    return table(
        "Statements",
        ["Statement", "Says", "Names", "Captured", "Read from", "Strength"],
        rows,
        class_="statements",
        captioned=False,
        row_attributes=[{"class": it.names} for it in proof.statements],
    )


def _says(statement: Statement) -> str:
    if statement.names == RECIPIENT:
        return "(whose connection)"
    return "(whose data)" if statement.names == OWNER else "(somebody else)"


def _before(story: Story, sends: tuple[SendRow, ...]) -> Html:
    rows = [
        [
            tag("span", timestamp(it.first_ns)[11:26]),
            stored(it.event),
            code(it.manager),
            code(it.site),
            stored(it.outcome),
            number(it.deliveries),
            join(
                *[
                    piece
                    for one in it.evidence
                    for piece in (one.kind, " ", person(story, one.hash), " ")
                ]
            ),
        ]
        for it in sends
    ]
    return more(
        tag("span", f"The last {counted_text(len(sends), 'send')} of this process up to then"),
        table(
            "Sends of this process, the latest last",
            ["Time (UTC)", "Event", "Manager", "Code", "Outcome", "Deliveries", "Names"],
            rows,
            numeric=(5,),
        ),
    )
