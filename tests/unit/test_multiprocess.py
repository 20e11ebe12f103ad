# SPDX-License-Identifier: Apache-2.0
"""Whose live gauges are removed, and whose are nobody's business."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from prometheus_client.mmap_dict import MmapedDict, mmap_key

from ws_audit.outputs.multiprocess import Undertaker, Workers

if TYPE_CHECKING:
    from pathlib import Path

OURS, THEIRS = "ws_audit_connections_alive", "team_alive"


@pytest.fixture
def dead() -> int:
    """The pid of a process that is gone."""
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


def file(directory: Path, name: str, *metrics: str) -> Path:
    """A worker's file, as prometheus_client writes it."""
    path = directory / name
    values = MmapedDict(str(path))  # type: ignore[no-untyped-call]
    for metric in metrics:
        key = mmap_key(metric, metric, [], [], "help")
        values.write_value(key, 1.0, 0.0)  # type: ignore[no-untyped-call]
    values.close()  # type: ignore[no-untyped-call]
    return path


def after_a_while(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two looks, between which more than the grace has passed."""
    now = 100.0
    monkeypatch.setattr("ws_audit.outputs.multiprocess.time.monotonic", lambda: now)
    undertaker = Undertaker(str(directory))
    undertaker.tick()
    now += Undertaker.GRACE
    undertaker.tick()


def test_those_of_the_dead_go_the_others_stay(
    tmp_path: Path, dead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = file(tmp_path, f"gauge_livesum_{dead}.db", OURS, THEIRS)
    stay = [
        file(tmp_path, f"gauge_livesum_{os.getpid()}.db", OURS),
        file(tmp_path, f"gauge_livesum_{os.getppid()}.db", OURS),
        file(tmp_path, f"gauge_livemax_{dead}.db", THEIRS),  # nothing of ours in it
        file(tmp_path, f"gauge_max_{dead}.db", OURS),  # not live: history stays
        file(tmp_path, f"counter_{dead}.db", OURS),
        file(tmp_path, "gauge_livesum_worker-1.db", OURS),  # no pid
    ]
    after_a_while(tmp_path, monkeypatch)
    assert not gone.exists()
    assert all(path.exists() for path in stay)


def test_none_before_its_parent_has_had_its_turn(tmp_path: Path, dead: int) -> None:
    file(tmp_path, f"gauge_livesum_{os.getpid()}.db", OURS)
    fresh = file(tmp_path, f"gauge_livesum_{dead}.db", OURS)
    undertaker = Undertaker(str(tmp_path))
    for _ in range(3):
        undertaker.tick()
    assert fresh.exists()


def test_none_where_files_are_not_named_by_pid(
    tmp_path: Path, dead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The application may number its workers: then a number says nothing about a process."""
    numbered = file(tmp_path, f"gauge_livesum_{dead}.db", OURS)
    after_a_while(tmp_path, monkeypatch)
    assert numbered.exists()
    (metric,) = Workers(str(tmp_path)).collect()
    assert [sample.value for sample in metric.samples] == [1.0]


def test_our_page_leaves_the_dead_and_the_applications_own_out(tmp_path: Path, dead: int) -> None:
    file(tmp_path, f"gauge_livesum_{dead}.db", OURS)
    file(tmp_path, f"gauge_livesum_{os.getpid()}.db", OURS, THEIRS)
    file(tmp_path, f"gauge_livesum_{os.getppid()}.db", OURS)
    (metric,) = Workers(str(tmp_path)).collect()
    assert [(sample.name, sample.value) for sample in metric.samples] == [(OURS, 2.0)]


def test_a_file_that_another_worker_has_just_begun_is_not_read_yet(tmp_path: Path) -> None:
    file(tmp_path, f"gauge_livesum_{os.getpid()}.db", OURS)
    (tmp_path / f"counter_{os.getppid()}.db").touch()  # prometheus_client sets its length next
    (metric,) = Workers(str(tmp_path)).collect()
    assert [sample.value for sample in metric.samples] == [1.0]
