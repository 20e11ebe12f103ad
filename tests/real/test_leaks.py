# SPDX-License-Identifier: Apache-2.0
"""Every seeded leak: the agent says what the clients in another process saw, frame for frame."""

from __future__ import annotations

import ast
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.real.world import SECOND, claimed, leaks, nanoseconds, stored
from ws_audit.tools.demo_stage import examples

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.real.conftest import Run

# Defect -> (severity, functions the leaking sends come from, rule).
SEEDED = {
    "stale_route": ("confirmed", {"agent_chat.emitter"}, "argument_vs_connection"),
    "fanout_bug": ("confirmed", {"agent_chat.emitter"}, "argument_vs_connection"),
    "shared_emitter": ("probable", {"agent_chat.emitter"}, "payload_vs_connection"),
    # The payload's owner and, by another way, whose run it is.
    "queue_mixup": ("confirmed", {"agent_chat.emitter"}, "payload_vs_connection"),
    "last_socket": ("confirmed", {"agent_chat.usage"}, "payload_vs_connection"),
}


@pytest.fixture(params=list(SEEDED))
def leak(request: pytest.FixtureRequest, run_of: Callable[[str], Run]) -> tuple[str, Run]:
    return request.param, run_of(request.param)


def test_the_review_says_pair_for_pair_what_the_clients_saw(leak: tuple[str, Run]) -> None:
    _, run = leak

    assert run.received.result["errors"] == []
    assert run.received.pairs()
    assert claimed(run.review) == run.received.pairs()


def test_counts_and_bytes_are_those_of_the_clients(leak: tuple[str, Run]) -> None:
    _, run = leak
    found = leaks(run.review)
    leaked = run.received.leaked

    assert sum(each["events"] for each in found) == len(leaked)
    assert sum(each["attempted"] for each in found) == len(leaked)
    assert sum(each["bytes"] for each in found) == sum(frame["bytes"] for frame in leaked)
    assert run.metrics.total("ws_audit_violations_total", synthetic="false") == len(leaked)
    assert run.metrics.by("ws_audit_verdicts_total", "verdict").get("violation") == len(leaked)
    assert run.metrics.balanced() == run.received.result["frames"]
    assert run.review["coverage"] == {
        "frames": run.received.result["frames"],
        "judged": run.received.result["frames"],
        "unattributed": 0,
        "excused": 0,
        "dropped": 0,
    }
    assert run.review["problems"] == []
    assert run.metrics.troubles() == {"dropped": {}, "errors": {}}


def test_since_when_and_until_when(leak: tuple[str, Run]) -> None:
    _, run = leak
    found = leaks(run.review)
    came = [frame["ns"] for frame in run.received.leaked]

    first = min(nanoseconds(each["first_seen"]) for each in found)
    last = max(nanoseconds(each["last_seen"]) for each in found)
    # Judged before it was sent, so before it came; both clocks are this machine's.
    assert min(came) - 2 * SECOND < first <= min(came)
    assert max(came) - 2 * SECOND < last <= max(came)
    assert all(each["ongoing"] for each in found)


def test_how_sure_and_which_rule(leak: tuple[str, Run]) -> None:
    defect, run = leak
    severity, _, rule = SEEDED[defect]

    assert {each["severity"] for each in leaks(run.review)} == {severity}
    assert {each["rule"] for each in leaks(run.review)} == {rule}


def test_the_line_of_code_is_one_that_sends(leak: tuple[str, Run]) -> None:
    defect, run = leak
    _, modules, _ = SEEDED[defect]

    for incident in leaks(run.review):
        for site in incident["sites"]:
            module, function, line = site.split(":")
            assert module in modules
            assert _sends(examples() / (module.replace(".", "/") + ".py"), function, int(line)), (
                site
            )


def test_every_violation_has_its_outcome(leak: tuple[str, Run]) -> None:
    _, run = leak
    spans = [span for span in stored(run.service.store) if span["name"] == "ws_audit.violation"]
    evidence = {s["spanId"] for s in spans if "security_rule.name" in s["attributes"]}
    outcomes = {s["spanId"]: s["attributes"] for s in spans if s["spanId"] in evidence}

    settled = [s for s in spans if "security_rule.name" not in s["attributes"]]
    assert {s["spanId"] for s in settled} == evidence
    assert {s["attributes"]["ws_audit.outcome"] for s in settled} == {"ok"}
    assert len(settled) == len(outcomes) == len(run.received.leaked)


def test_a_log_line_per_incident_tells_the_same(leak: tuple[str, Run]) -> None:
    _, run = leak
    expected = {"confirmed": "CRITICAL", "probable": "WARNING", "suspected": "NOTICE"}
    alarms = run.service.alarms()

    for incident in leaks(run.review):
        told = [alarm for alarm in alarms if alarm["incident"]["id"] == incident["id"]]
        # The first, and again at 10 and at 100.
        assert [alarm["incident"]["attempted"] for alarm in told] == [
            goal for goal in (1, 10, 100, 1000) if goal <= incident["attempted"]
        ]
        for alarm in told:
            assert alarm["severity"] == expected[incident["severity"]]
            for key in ("rule", "severity", "first_seen", "managers", "services"):
                assert alarm["incident"][key] == incident[key], key
            assert alarm["incident"].keys() == incident.keys()
    assert {alarm["incident"]["id"] for alarm in alarms} == {
        incident["id"] for incident in leaks(run.review)
    }


def _sends(source: Path, function: str, line: int) -> bool:
    """Whether this line lies in that function and calls something that sends."""
    body: list[ast.stmt] = ast.parse(source.read_text()).body
    if sys.version_info < (3, 11):  # code knows no qualified name there
        body = [n for outer in body for n in ast.walk(outer) if isinstance(n, ast.stmt)]
    for part in function.split("."):
        (holder,) = (n for n in body if getattr(n, "name", None) == part)
        body = holder.body  # type: ignore[attr-defined]
    calls: list[Any] = [n for part in body for n in ast.walk(part) if isinstance(n, ast.Call)]
    return any(
        call.lineno <= line <= call.end_lineno
        and getattr(call.func, "attr", "") in {"emit", "enqueue", "send_json", "send_to_user"}
        for call in calls
    )
