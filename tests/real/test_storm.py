# SPDX-License-Identifier: Apache-2.0
"""Thousands of leaked frames in a second, and clients that vanish meanwhile: exact, and bounded.

Three accounts are held against each other: the agent's, the clients', and for what nobody
received the ledger of the application, which knows which of its sends failed.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.real.world import (
    SWITCHBOARD,
    Page,
    Received,
    Service,
    at_rest,
    carry_out,
    claimed,
    get,
    leaks,
    nanoseconds,
    serve,
    stored,
)
from ws_audit.tools.demo_cast import Cast
from ws_audit.tools.demo_stage import HOST

if TYPE_CHECKING:
    from pathlib import Path

MESSAGES, USERS = 2000, 5
FULL_EVIDENCE = 100  # lines of each (incident, pair) before they become aggregates
STORM = [[0, {"way": "storm", "count": MESSAGES}]]


@dataclass(frozen=True)
class Storm:
    received: Received
    ledger: list[dict[str, Any]]
    page: Page
    exposition: Page
    review: dict[str, Any]
    service: Service

    @property
    def leaked(self) -> list[dict[str, Any]]:
        return [line for line in self.ledger if line["owner"] != line["recipient"]]

    def pair(self, line: dict[str, Any]) -> tuple[str, str]:
        cast = self.service.cast
        return cast.hash_of(line["owner"]), cast.hash_of(line["recipient"])


@pytest.fixture(scope="module")
def storm(tmp_path_factory: pytest.TempPathFactory) -> Storm:
    """One user's storm on everybody's connection; two of these vanish, early and late."""
    vanish = {"3": FULL_EVIDENCE // 2, "4": 3 * FULL_EVIDENCE}
    plan = {"connections": 1, "commands": STORM, "frames": 10**9, "vanish": vanish}
    with serve(tmp_path_factory.mktemp("storm"), Cast.of(USERS), app=SWITCHBOARD) as service:
        received = carry_out(service, plan)
        page = at_rest(service)
        exposition = service.metrics("application/openmetrics-text; version=1.0.0")
        ledger = json.loads(get(f"http://{HOST}:{service.port}/ledger"))
        service.stop()
        return Storm(received, ledger, page, exposition, service.review(), service)


def test_it_was_one(storm: Storm) -> None:
    failures: Counter[str] = Counter()
    for line in storm.leaked:
        failures.update(line["failures"])
    print(f"{sum(line['attempted'] for line in storm.leaked)} leaked, failed: {dict(failures)}")

    assert len(storm.leaked) == USERS - 1
    assert [line["sent"] for line in storm.leaked].count(MESSAGES) == USERS - 3
    assert failures.total() > FULL_EVIDENCE
    assert storm.received.result["errors"] == []


def test_counts_and_pairs_are_exact(storm: Storm) -> None:
    sent = {storm.pair(line): line["sent"] for line in storm.leaked}
    (incident,) = leaks(storm.review)

    assert claimed(storm.review) == sent
    assert incident["events"] == sum(sent.values())
    assert incident["attempted"] == sum(line["attempted"] for line in storm.leaked)
    # The clients that stayed got what the agent says they got; the others at most that.
    for pair, received in storm.received.pairs().items():
        assert received == sent[pair] if sent[pair] == MESSAGES else received <= sent[pair]


def test_bytes_are_exact(storm: Storm) -> None:
    (incident,) = leaks(storm.review)

    assert incident["bytes"] == sum(line["sent_bytes"] for line in storm.leaked)


def test_first_and_last_are_exact(storm: Storm) -> None:
    (incident,) = leaks(storm.review)
    lines = {storm.pair(line): line for line in storm.leaked}

    for pair in incident["pairs"]:
        line = lines[pair["owner"], pair["recipient"]]
        # The application looked at the clock just before it sent: a blink earlier than the agent.
        assert 0 <= nanoseconds(pair["first_seen"]) - line["first_ns"] < 50_000_000
        assert 0 <= nanoseconds(pair["last_seen"]) - line["last_ns"] < 50_000_000
    assert incident["first_seen"] == min(pair["first_seen"] for pair in incident["pairs"])
    assert incident["last_seen"] == max(pair["last_seen"] for pair in incident["pairs"])


def test_the_store_is_bounded_and_every_line_settled(storm: Storm) -> None:
    spans = [span for span in stored(storm.service.store) if span["name"] == "ws_audit.violation"]
    full = [s for s in spans if "ws_audit.delivery.id" in s["attributes"]]
    aggregates = [s for s in spans if "ws_audit.count" in s["attributes"]]
    outcomes = [s for s in spans if "security_rule.name" not in s["attributes"]]
    per_pair = Counter(
        (s["attributes"]["ws_audit.owner.hash"], s["attributes"]["user.hash"]) for s in full
    )
    print(f"{len(full)} full lines, {len(aggregates)} aggregates, {len(outcomes)} outcomes")

    assert per_pair == dict.fromkeys((storm.pair(line) for line in storm.leaked), FULL_EVIDENCE)
    # One or two (sent and failed) a pair and second; the storm takes a few.
    assert len(aggregates) <= 60
    assert len(spans) == len(full) + len(aggregates) + len(outcomes)
    assert {s["spanId"] for s in outcomes} == {s["spanId"] for s in full}
    told = Counter(s["attributes"]["ws_audit.outcome"] for s in outcomes)
    assert set(told) == {"ok", "error"}
    counted = sum(s["attributes"]["ws_audit.count"] for s in aggregates)
    assert counted + len(full) == sum(line["attempted"] for line in storm.leaked)


def test_metrics_are_exact(storm: Storm) -> None:
    attempted = sum(line["attempted"] for line in storm.leaked)
    everything = sum(line["attempted"] for line in storm.ledger) + USERS  # and the welcomes

    assert storm.page.balanced() == everything
    assert storm.page.total("ws_audit_violations_total", synthetic="false") == attempted
    assert storm.page.by("ws_audit_verdicts_total", "verdict") == {
        "match": everything - attempted,
        "violation": attempted,
    }
    assert storm.page.troubles() == {"dropped": {}, "errors": {}}
    assert storm.review["coverage"]["frames"] == everything


def test_the_exemplar_leads_into_the_store(storm: Storm) -> None:
    """Past the hundredth of a pair most deliveries have no line of their own."""
    traces = {span["traceId"] for span in stored(storm.service.store)}
    exemplars = [
        sample.exemplar.labels["trace_id"]
        for family in storm.exposition.families
        for sample in family.samples
        if sample.name == "ws_audit_violations_total" and sample.exemplar
    ]

    assert len(exemplars) == 1
    assert set(exemplars) <= traces
    (incident,) = leaks(storm.review)
    assert set(incident["trace_ids"]) <= traces


def test_the_log_says_it_at_powers_of_ten(storm: Storm) -> None:
    (incident,) = leaks(storm.review)
    told = [alarm["incident"]["attempted"] for alarm in storm.service.alarms()]
    assert told == [goal for goal in (1, 10, 100, 1000, 10_000) if goal <= incident["attempted"]]
    assert all(len(line) < 4096 for line in storm.service.said().splitlines())


def test_killed_in_a_storm_the_evidence_is_there(tmp_path: Path) -> None:
    """What a kill can cost: the aggregate of the last second. Never the evidence."""
    plan: dict[str, Any] = {"connections": 1, "commands": STORM * 5, "frames": 10**9}
    with serve(tmp_path, Cast.of(3), app=SWITCHBOARD) as service:
        plan["kill"] = [service.process.pid, 12 * FULL_EVIDENCE]
        received = carry_out(service, plan)
        service.process.wait(5)
        review = service.review()

    told, saw = claimed(review), received.pairs()
    print(f"clients saw {sum(saw.values())}, the review knows of {sum(told.values())}")
    assert told.keys() == saw.keys()
    assert all(told[pair] >= FULL_EVIDENCE for pair in saw)
