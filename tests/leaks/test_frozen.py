# SPDX-License-Identifier: Apache-2.0
"""The leak benchmark is what was frozen, has the proportions it promises, and still runs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.leaks.case import applications
from benchmarks.leaks.freeze import content_hash, frozen
from benchmarks.leaks.incidents import timely

ROOT = Path(__file__).parents[2]
# Of the 49 public reports, by the evidence that would have shown them best.
REPORTS = {"shared_state": 13, "ownership": 11, "content": 10, "emitter": 9, "recipient": 6}


def test_nothing_that_is_measured_has_changed_since_it_was_frozen() -> None:
    assert content_hash() == frozen()


def test_it_has_what_it_promises() -> None:
    apps = applications()
    seen = [one for app in apps for one in app.defects]
    held = [one for app in apps for one in app.held_back]
    kinds = [one.kind for app in apps for one in app.benign]
    assert len(apps) >= 8
    assert len(seen) >= 60
    assert len(held) == 20
    assert len(kinds) == len(set(kinds)) >= 40
    names = [one.name for one in (*seen, *held)]
    assert len(names) == len(set(names))
    shares = Counter(one.category for one in seen)
    for category, reports in REPORTS.items():
        assert shares[category] / len(seen) == pytest.approx(reports / 49, abs=0.06)


SAMPLE = ["class_level_history", "publish-to-all", "presence"]


def test_a_sample_is_found_and_a_presence_is_no_leak(tmp_path: Path) -> None:
    for name in SAMPLE:
        result = tmp_path / f"{name}.json"
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.leaks", "canary", "--only", name, "--json", result],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        (case,) = json.loads(result.read_text())["cases"]
        if case["list"] == "DEFECTS":
            assert (case["named"], case["exact"]) == ("confirmed", True), case
            # What the review of the stored traces says of it: one incident, its times the clients'.
            (incident,) = case["review"]["cause"]
            assert (incident["rule"], incident["events"]) == ("canary", case["leaked"])
            assert incident["attempted"] == case["leaked"]
            assert incident["pairs"] == incident["true_pairs"]
            assert timely(case), case
        else:
            assert case["alarms"] == {}, case
