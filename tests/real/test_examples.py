# SPDX-License-Identifier: Apache-2.0
"""The examples as their READMEs start them, with the agent on and nothing declared."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.real.world import Page
from ws_audit.tools.demo_cast import Cast
from ws_audit.tools.demo_stage import HOST, drive, free_ports, read_store, scrape, service

EXAMPLES = Path(__file__).parents[2] / "examples"
LEAST = 0.99
DRIVEN = ["agent_chat"]  # those that the code below knows how to serve and use
ELSEWHERE = ["consolidated", "fragmented"]  # in `test_inventory`, all of their messages


def test_no_example_is_left_out() -> None:
    assert sorted(path.parent.name for path in EXAMPLES.glob("*/app.py")) == [
        *DRIVEN,
        *ELSEWHERE,
    ]


@pytest.mark.parametrize("name", DRIVEN)
def test_nearly_every_message_of_an_example_is_judged(name: str, tmp_path: Path) -> None:
    assert name == "agent_chat"
    cast = Cast.of(6)
    port, metrics_port = free_ports(2)
    store = tmp_path / "trace"
    settings = {
        "WS_AUDIT_ENABLED": "1",
        "WS_AUDIT_TRACE_DIR": str(store),
        "WS_AUDIT_METRICS_ADDR": f"{HOST}:{metrics_port}",
        "AGENT_CHAT_USERS": json.dumps(cast.tokens),
        # The checkout's, not the copy inside the installed package: that one is nobody's own code.
        "PYTHONPATH": os.pathsep.join([str(EXAMPLES), os.environ.get("PYTHONPATH", "")]),
    }
    with service(port, settings, tmp_path):
        received = drive(port, cast, 4, tmp_path, lambda *_: None)
        page = Page(scrape(metrics_port, tmp_path))
    reasons = page.by("ws_audit_unattributed_total", "reason")
    coverage = read_store(store, tmp_path)["coverage"]
    assert received["errors"] == []
    assert coverage["frames"] == received["frames"] > 100
    assert coverage["judged"] >= LEAST * coverage["frames"], reasons
    assert (coverage["excused"], coverage["dropped"]) == (0, 0)
