# SPDX-License-Identifier: Apache-2.0
"""When an incident is told of, and what a collector that stays down may cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from ws_audit.model import (
    ACCEPT,
    CALL,
    CONFIRMED,
    CONTENT,
    OK,
    PROBABLE,
    SEND,
    STRONG,
    UNKNOWN,
    VIOLATION,
    Delivery,
    Evidence,
    Span,
    Verdict,
)
from ws_audit.outputs import violations
from ws_audit.outputs.export import Export
from ws_audit.outputs.spans import SpanMaker
from ws_audit.outputs.violations import Violations
from ws_audit.principals.identity import Hasher, principal
from ws_audit.tally import Tally

if TYPE_CHECKING:
    import pytest

    from ws_audit.incidents import Incident

SITE = "app.chat:reply:7"


def evidence(name: str, user: str, at: str) -> Evidence:
    who = principal(user)
    assert who is not None
    return Evidence(name, who, at, f"{name}.source", STRONG)


def leak(number: int, severity: str = PROBABLE) -> Delivery:
    """A message of ben's on ada's connection."""
    dissent = evidence("argument", "ben", CALL)
    verdict = Verdict(VIOLATION, "", "argument_vs_connection", severity, dissent)
    said = (evidence("connection", "ada", ACCEPT), dissent, evidence("payload", "ben", CONTENT))
    return Delivery(
        1, number, number, "asgi", 1, 1, SEND, "app:Hub", "app:Hub.send:1", "reply", SITE, said,
        "", 10, verdict, UNKNOWN, 1, number, 2,
    )  # fmt: skip


class Told:
    """What left: the incident as it stood at each push."""

    def __init__(self) -> None:
        self.pushed: list[tuple[int, str]] = []
        self.violations = Violations(
            SpanMaker(Hasher("key"), "chat", "1"),
            None,
            Tally(),
            log=False,
            export=lambda _: None,
            push=self._push,
            wake=lambda: None,
        )

    def _push(self, incident: Incident) -> None:
        self.pushed.append((incident.attempted, incident.severity))

    def record(self, delivery: Delivery) -> None:
        self.violations.record(delivery)
        self.violations.outcome(delivery._replace(outcome=OK))


def test_an_incident_is_told_of_at_1_10_and_100() -> None:
    told = Told()
    for number in range(1, 151):
        told.record(leak(number))
    assert told.pushed == [(1, PROBABLE), (10, PROBABLE), (100, PROBABLE)]


def test_an_incident_is_told_of_when_it_becomes_worse() -> None:
    told = Told()
    for number in range(1, 4):
        told.record(leak(number))
    for number in range(4, 7):
        told.record(leak(number, CONFIRMED))
    told.record(leak(7))
    assert told.pushed == [(1, PROBABLE), (4, CONFIRMED)]


def test_a_collector_that_stays_down_costs_bounded_memory_and_the_drops_are_counted() -> None:
    tally = Tally()
    settings: dict[str, Any] = {
        "provider": None,
        "make_exporter": lambda: None,
        "failed": lambda *_: None,
    }
    export = Export(
        SpanMaker(Hasher("key"), "chat", "1"), tally, Resource({}), ALWAYS_ON, **settings
    )
    export._stopping = True  # nobody takes anything
    for number in range(export.QUEUE + 7):
        export.keep(Span("ws_audit.violation", 1, number + 1, 0, number, number, {}, error=True))
    assert len(export._kept) == export.QUEUE
    assert export._kept[-1].start_ns == export.QUEUE + 6
    assert tally.total() == {("dropped", "export"): 7}


class Lines:
    """A store that keeps what it is given."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    def write_violation(self, span: Span) -> bool:
        self.spans.append(span)
        return True

    def violations(self) -> int:
        """How many violations the lines stand for; outcomes are lines without a rule."""
        counts = [
            one.attributes.get("ws_audit.count", 1)
            for one in self.spans
            if "security_rule.name" in one.attributes
        ]
        return sum(int(count) for count in counts)


def test_a_storms_line_is_of_what_was_judged_alike_and_says_by_what() -> None:
    """So that it can be judged again for all it stands for."""
    told, lines = Told(), Lines()
    told.violations._store = lines  # type: ignore[assignment]
    for number in range(1, 101):
        told.record(leak(number))
    for number in range(101, 131):
        one = leak(number)
        if number % 3 == 0:  # the same pair, rule and severity, for another reason
            one = one._replace(evidence=one.evidence[:2])
        told.record(one)
    told.violations.flush()
    few, many = sorted(
        (one for one in lines.spans if "ws_audit.count" in one.attributes),
        key=lambda one: int(one.attributes["ws_audit.count"]),
    )
    assert (few.attributes["ws_audit.count"], many.attributes["ws_audit.count"]) == (10, 20)
    assert "ws_audit.evidence.payload.hash" not in few.attributes
    for line in (few, many):
        assert line.attributes["ws_audit.evidence.argument.source"] == "argument.source"
        assert line.attributes["ws_audit.record"] == "{}"
        assert line.attributes["ws_audit.kind"] == SEND


def test_a_storm_of_too_many_sorts_counts_on_without_its_evidence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(violations, "_MAX_LIKE", 3)
    told, lines = Told(), Lines()
    told.violations._store = lines  # type: ignore[assignment]
    for number in range(1, 151):
        one = leak(number)
        source = one.evidence[1]._replace(source=f"argument {number}")
        told.record(one._replace(evidence=(one.evidence[0], source)))
    told.violations.flush()
    counts = [
        (one.attributes["ws_audit.count"], "ws_audit.record" in one.attributes)
        for one in lines.spans
        if "ws_audit.count" in one.attributes
    ]
    assert counts == [(1, True), (1, True), (1, True), (47, False)]


def test_after_the_last_words_a_storm_is_written_line_by_line() -> None:
    """A daemon thread sends on while the process ends: nobody comes to flush aggregates."""
    told, lines = Told(), Lines()
    told.violations._store = lines  # type: ignore[assignment]
    for number in range(1, 151):
        told.record(leak(number))
    under_way = leak(151)
    told.violations.record(under_way)
    assert lines.violations() == 100
    told.violations.end()
    assert lines.violations() == 151  # with the one under way, which says no more
    told.violations.outcome(under_way._replace(outcome=OK))
    told.violations.flush()
    assert lines.violations() == 151
    told.record(leak(152))
    told.violations.record(leak(153))  # and its thread is stopped before the outcome
    assert lines.violations() == 153
    told.violations.resume()
    told.record(leak(154))
    assert lines.violations() == 153
    told.violations.flush()
    assert lines.violations() == 154
