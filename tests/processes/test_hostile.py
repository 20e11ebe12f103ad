# SPDX-License-Identifier: Apache-2.0
"""The metrics page does not grow with users, and no name anybody makes up can break it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families as families

from tests.processes.scene import play

CONTRACT = Path(__file__).parents[1] / "contract"
BOUNDS = json.loads((CONTRACT / "contract.json").read_text())
USERS, EVENTS, CLASSES = 100_000, 1_000, 200


def test_more_users_events_and_classes_than_labels(tmp_path: Path) -> None:
    # It sends as fast as it can: on a busy machine for longer than the circuit breaker bears.
    (tmp_path / "ws-audit.toml").write_text("limits.cpu_share = 1.0")
    played = play(
        tmp_path,
        "hostile",
        *map(str, (USERS, EVENTS, CLASSES)),
        WS_AUDIT_CONFIG=str(tmp_path / "ws-audit.toml"),
    )

    (told,) = played.told
    assert told["frames"] == USERS
    assert told["errors"] == {}
    page = tmp_path / "page"
    checked = subprocess.run(
        [sys.executable, CONTRACT / "check_metrics.py", page],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode, checked.stdout) == (0, "contract kept\n")

    samples = [
        sample
        for family in families(page.read_text())
        if family.name.startswith("ws_audit")
        for sample in family.samples
    ]
    values: dict[str, set[str]] = {}
    for sample in samples:
        for label, value in sample.labels.items():
            values.setdefault(label, set()).add(value)
    # Every label is full: what is held to the bound is the worst there can be.
    full = BOUNDS["max_managers"]
    assert full <= len(values["manager"]) <= full + 2
    assert full <= len(values["factory"]) <= full + 1
    for one, other in (("manager", "event"), ("factory", "product")):
        named = {
            (sample.labels[one], sample.labels[other])
            for sample in samples
            if other in sample.labels and sample.labels[other] != "other"
        }
        assert 150 < len(named) <= 200, other
    assert all(event.startswith(("written.", "other", "none")) for event in values["event"])
    print(f"{len(samples):,} samples of at most {BOUNDS['max_series']:,}")
    # Nobody is named anywhere.
    assert not [value for found in values.values() for value in found if "user-" in value]
