# SPDX-License-Identifier: Apache-2.0
"""The processes that help a review to read."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.real.world import eventually, surroundings
from ws_audit.review.databases import shelf

REVIEW = """
import time
from ws_audit.review.databases import helpers

if __name__ == "__main__":
    with helpers.pool(2) as pool:
        busy = [pool.submit(time.sleep, 0.2) for _ in range(4)]
        print(*pool._processes, flush=True)
        time.sleep(60)
"""


def test_they_do_not_outlive_a_review_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(REVIEW)
    with subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, text=True, env=surroundings()
    ) as process:
        assert process.stdout is not None
        pids = [int(pid) for pid in process.stdout.readline().split()]
        assert len(pids) == 2
        process.send_signal(signal.SIGKILL)
    eventually("their end", 15, lambda: not any(map(_there, pids)))


def _there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_what_somebody_left_unfinished_is_removed_when_nobody_can_be_at_it(tmp_path: Path) -> None:
    old, new = tmp_path / f"{shelf.UNFINISHED}1", tmp_path / f"{shelf.UNFINISHED}2"
    for path in (old, new):
        path.touch()
    hours_ago = time.time() - 7200
    os.utime(old, (hours_ago, hours_ago))
    shelf.sweep(tmp_path)
    assert list(tmp_path.iterdir()) == [new]
