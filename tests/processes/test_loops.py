# SPDX-License-Identifier: Apache-2.0
"""Loops and threads in every combination: each verdict from its own call, each event once."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import pytest

from tests.processes.scene import agrees, play
from ws_audit.tools.demo_stage import HOST, free_ports

if TYPE_CHECKING:
    from pathlib import Path

LIBRARY = {"uvloop": "uvloop", "trio": "trio", "anyio": "anyio"}


@pytest.mark.parametrize(
    "how", ["twice", "many", "executor", "to_thread", "anyio", "trio", "uvloop"]
)
def test_every_verdict_from_its_own_call(tmp_path: Path, how: str) -> None:
    if how in LIBRARY and importlib.util.find_spec(LIBRARY[how]) is None:
        pytest.skip(f"{LIBRARY[how]} is not installed")
    played = play(tmp_path, "loops", how)
    agrees(played)
    (told,) = played.told
    assert told["frames"] == len(played.frames)
    assert told["sent"] == {"ok": len(played.frames)}


def test_no_thread_too_early_or_too_long(tmp_path: Path) -> None:
    played = play(tmp_path, "loops", "ended", WS_AUDIT_METRICS_ADDR=f"{HOST}:{free_ports(1)[0]}")
    told = {key: value for each in played.told for key, value in each.items()}
    assert told["before"] == []
    for moment in ("serving", "enabled"):
        # The thread that reads back what others have written ends by itself.
        lasting = set(told[moment]) - {"ws-audit-recall"}
        assert len(lasting) == 2  # the drain's, and the metrics page's
        assert "ws-audit-drain" in lasting
    assert told["disabled"] == []
    agrees(played)
