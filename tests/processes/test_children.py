# SPDX-License-Identifier: Apache-2.0
"""Children that Python's own modules start: each writes what it saw, and ends in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.processes.scene import agrees, play

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(tmp_path: Path, method: str) -> None:
    played = play(tmp_path, "pools", method)
    # These children end without `atexit`: their last words are spoken all the same.
    agrees(played)
    assert len(played.pids) in range(5, 7)  # of two in the pool one may have had all the jobs
    assert len(played.frames) > 11 * 30


def test_subprocess(tmp_path: Path) -> None:
    played = play(tmp_path, "spawning")
    agrees(played)
    assert len(played.pids) == 4
    assert [each["inherited"] for each in played.told] == [[], [], []]
