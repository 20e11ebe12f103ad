# SPDX-License-Identifier: Apache-2.0
"""Shared state under a real server: two people at their desks, the drain's own thread."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from websockets.sync.client import connect

from tests.faults.live import HOST, Server, server

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 20.0


def _talk(found: Server, kind: str, until: str) -> None:
    """Two people write until stderr says something, or for a while."""
    base = f"ws://{HOST}:{found.port}/{kind}"
    seconds = SECONDS if until else 6.0
    with (
        connect(f"{base}/ann_key") as ann,
        connect(f"{base}/bob_key") as bob,
    ):
        deadline = time.monotonic() + seconds
        number = 0
        while time.monotonic() < deadline and not (until and until in found.said):
            for one in (ann, bob):
                number += 1
                one.send(f"words of mine, {number}")
                assert json.loads(one.recv(timeout=10))["text"] == f"words of mine, {number}"
            time.sleep(0.1)


@pytest.mark.parametrize("kind", ["leaky", "proper"])
def test_two_desks(tmp_path: Path, kind: str) -> None:
    trace = tmp_path / "trace"
    settings: dict[str, Any] = {"WS_AUDIT_ENABLED": "1", "WS_AUDIT_TRACE_DIR": str(trace)}
    with server(tmp_path / "server", "desks:app", **settings) as found:
        _talk(found, kind, "shared_state" if kind == "leaky" else "")
        said = found.said
        assert found.stop() is not None
    assert "internal error" not in said
    stored = "".join(path.read_text() for path in trace.glob("*.jsonl"))
    if kind == "proper":
        assert "shared_state" not in said + stored
        return
    (line,) = [json.loads(one) for one in said.splitlines() if '"shared_state"' in one]
    assert line["message"].startswith(
        "user isolation (hygiene, shared_state): two users' objects share something that changes"
        " at desks:LeakyDeskEmitter.drawers:"
    )
    incident = line["incident"]
    (pair,) = incident["pairs"]
    assert len({pair["recipient"], pair["owner"], ""}) == 3
    assert incident["sites"][0].startswith("desks:LeakyDeskEmitter.drawers:")
    assert incident["managers"] == ["desks:LeakyDeskEmitter"]
    assert "words of mine" not in said + stored
    assert "ann_key" not in said + stored
