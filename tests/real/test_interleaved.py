# SPDX-License-Identifier: Apache-2.0
"""Two users on fifty connections who send at random, at once: no verdict mixed.

Most messages name nobody, so the agent has the caller's argument alone. Evidence that came to
the wrong delivery would call a match a leak or a leak a match, and the sums could not agree.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from tests.real.world import SWITCHBOARD, carry_out, claimed, leaks, serve
from ws_audit.tools.demo_cast import Cast

if TYPE_CHECKING:
    from pathlib import Path

WAYS = ("direct", "nested", "task", "queue", "plain")


@pytest.mark.parametrize("seed", [1, 2])
def test_no_verdict_is_mixed(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    commands: list[Any] = [
        [chance.randrange(50), {"way": chance.choice(WAYS), "wrong": chance.random() < 0.2}]
        for _ in range(2000)
    ]
    wrong = sum(command["wrong"] for _, command in commands)
    plan = {"connections": 25, "commands": commands, "frames": len(commands)}
    with serve(tmp_path, Cast.of(2), app=SWITCHBOARD) as service:
        received = carry_out(service, plan)
        page = service.metrics()
        service.stop()
        review = service.review()

    assert received.result["errors"] == []
    assert received.result["frames"] == len(commands) + 50
    assert sum(received.pairs().values()) == wrong
    assert claimed(review) == received.pairs()
    assert page.balanced() == received.result["frames"]
    assert page.by("ws_audit_verdicts_total", "verdict") == {
        "match": received.result["frames"] - wrong,
        "violation": wrong,
    }
    # Each way by its own evidence: a message without an owner by the argument, one that no
    # manager sent by its payload.
    by_rule: Counter[str] = Counter()
    for incident in leaks(review):
        by_rule[incident["rule"]] += incident["events"]
    plain = sum(c["wrong"] for _, c in commands if c["way"] == "plain")
    assert by_rule == {"argument_vs_connection": wrong - plain, "payload_vs_connection": plain}
    assert {incident["severity"] for incident in leaks(review)} == {"probable"}
    assert page.by("ws_audit_events_sent_total", "outcome") == {
        "ok": sum(command["way"] != "plain" for _, command in commands)
    }
    assert page.troubles() == {"dropped": {}, "errors": {}}
