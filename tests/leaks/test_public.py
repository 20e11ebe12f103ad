# SPDX-License-Identifier: Apache-2.0
"""The measurement of published applications: what it says when something is not as it should be."""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.public import __main__ as command
from benchmarks.public import report
from benchmarks.public.stage import NAMES, PINS, Run, StageError, Visit

if TYPE_CHECKING:
    from pathlib import Path


def figures(*, same: bool = True, incidents: Any = ()) -> dict[str, Any]:
    counted = Counter(match=30, unattributed=10, no_evidence=10)
    without = Run(40, {"ada": ["a"]}, Counter(), [], "")
    run = Run(40, {"ada": ["a" if same else "b"]}, counted, list(incidents), "1 manager class, x")
    runs = {"nothing declared": command._figures(run, without)}
    return {"version": "1", "received": 40, "runs": runs}


LEAK = {"rule": "canary", "severity": "confirmed", "events": 3, "sites": []}


@pytest.mark.parametrize(
    ("measured", "code", "cell"),
    [
        (figures(), 0, "| 75 % | 10 no_evidence | 0 | yes |"),
        (figures(same=False), 1, "| 0 | **no** |"),
        (figures(incidents=[LEAK]), 1, "| 3 canary confirmed | yes |"),
    ],
)
def test_a_difference_or_a_claimed_leak_is_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    measured: dict[str, Any],
    code: int,
    cell: str,
) -> None:
    def measure(name: str, *_: object) -> dict[str, Any]:
        if name == NAMES[0]:
            raise StageError("it does not start")
        return measured

    monkeypatch.setattr(command, "environment_of", lambda *_: None)
    monkeypatch.setattr(command, "measure", measure)
    result = tmp_path / "results.json"
    monkeypatch.setattr(sys, "argv", ["public", "--json", str(result), *NAMES[1:]])
    assert command.main() == code
    assert capsys.readouterr().out.count(cell) == len(NAMES) - 1
    assert set(json.loads(result.read_text())) == set(NAMES[1:])
    monkeypatch.setattr(sys, "argv", ["public", "--json", str(result), *NAMES])
    assert command.main() == 2
    assert f"{NAMES[0]}: it does not start" in capsys.readouterr().err


def test_without_a_network_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    words = ["shiny", "--venvs", str(tmp_path), "--json", str(tmp_path / "results.json")]
    monkeypatch.setattr(sys, "argv", ["public", *words])
    assert command.main() == 2
    assert "could not be installed (is there a network?)" in capsys.readouterr().err
    assert not (tmp_path / "shiny" / ".installed").exists()


def test_what_was_measured_is_what_is_pinned() -> None:
    measured = json.loads(report.RESULTS.read_text())
    assert set(measured) == set(NAMES)
    for name, one in measured.items():
        assert f"{name}=={one['version']}" in (PINS / f"{name}.txt").read_text().splitlines()
        for run in one["runs"].values():
            assert (run["same"], run["incidents"]) == (True, [])


def test_only_what_differs_from_run_to_run_is_taken_out() -> None:
    visit = Visit("", "ada", 1)
    visit.took('{"id": "0b1c2d3e-0000-4000-8000-000000000001", "at": "2026-01-01T10:00:00.5Z"}')
    visit.took('{"eta":0.25,"text":"0.25 of http://127.0.0.1:8123/x"}')
    visit.took("ping", compared=False)
    assert visit.received == 3
    assert visit.messages == ['{"id": "ID", "at": "TIME"}', '{SECONDS,"text":"0.25 of URL/x"}']
