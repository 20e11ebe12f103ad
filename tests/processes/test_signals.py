# SPDX-License-Identifier: Apache-2.0
"""A server that is told to end, or is killed, in the middle of traffic from real clients.

Every leaked frame that a client had received by then is in the store. What is there beyond that
was on its way to a client: at most a frame or so for each connection.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from tests.real.world import claimed, review, stored
from tests.soak.rush import Stage, crowd, leaked
from ws_audit.tools.demo_cast import Cast

if TYPE_CHECKING:
    from pathlib import Path

CONNECTIONS = 60


@pytest.mark.parametrize(
    ("sent", "workers"),
    [(signal.SIGTERM, 2), (signal.SIGINT, 1), (signal.SIGKILL, 1)],
    ids=["SIGTERM to two workers", "SIGINT", "SIGKILL"],
)
def test_in_the_middle_of_traffic(tmp_path: Path, sent: signal.Signals, workers: int) -> None:
    stage = Stage(tmp_path, Cast.of(30), workers)
    with (
        stage.open() as process,
        crowd(stage, 4, CONNECTIONS, 15.0, seed=1) as let_in,
    ):
        time.sleep(2.5)
        if sent is signal.SIGKILL:
            os.killpg(process.pid, sent)
        else:
            os.kill(process.pid, sent)
        process.wait(20)
        clients = let_in()
    seen = leaked(stage, clients)
    document: dict[str, Any] = json.loads(review(stage.store, "json"))
    agents = Counter(claimed(document))
    print(f"{clients['count']['frames']} frames, {sum(seen.values())} leaks, {agents - seen} more")

    assert sum(seen.values()) > 5
    assert not seen - agents
    assert sum((agents - seen).values()) <= CONNECTIONS
    lines = [each for each in stored(stage.store) if "security_rule.name" in each["attributes"]]
    ids = [each["attributes"]["ws_audit.delivery.id"] for each in lines]
    # One that was on its way when the server closed its connection was tried, not delivered.
    attempted = sum(each["attempted"] for each in document["incidents"])
    assert len(set(ids)) == len(ids) == attempted >= sum(agents.values())
    if sent is not signal.SIGKILL:
        assert document["coverage"]["frames"] >= clients["count"]["frames"]
        assert document["problems"] == []
