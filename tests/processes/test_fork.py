# SPDX-License-Identifier: Apache-2.0
"""A fork in the middle of everything: no deadlock, nothing lost, nothing twice.

A child begins anew: with counts, ids, files and a metrics page of its own, once something happens
in it, and with nothing at all until then.
"""

from __future__ import annotations

import socket
import sys
import time
from typing import TYPE_CHECKING

from tests.processes.scene import APPS, agrees, end, play, start
from ws_audit.tools.demo_stage import HOST, free_ports

if TYPE_CHECKING:
    from pathlib import Path

CHILDREN = 24


def test_under_load_from_threads(tmp_path: Path) -> None:
    played = play(tmp_path, "forking", str(CHILDREN))
    agrees(played, covered=False)  # who ends by os._exit writes no last words

    told = {each["kind"]: each for each in played.told}
    assert len(told) == CHILDREN + 1
    written = {pid for pid, _ in [*played.violations, *played.coverage]}
    for kind, each in told.items():
        frames = sum(frame["pid"] == each["pid"] for frame in played.frames)
        assert each["frames"] == frames  # none of the parent's
        if kind % 2:
            assert frames == 0 or kind == -1
            assert each["threads"] == []
            assert kind == -1 or each["pid"] not in written
        else:
            assert frames == 40
            # And for a moment the one that reads what the parent has found.
            assert [it for it in each["threads"] if it != "ws-audit-recall"] == ["ws-audit-drain"]
        if kind % 4 == 2 or kind == -1:
            assert played.covered(each["pid"]) == frames


def test_out_of_an_event_loop_that_serves(tmp_path: Path) -> None:
    played = play(tmp_path, "forking_loop", "12")
    agrees(played, covered=False)
    for each in played.told:
        frames = sum(frame["pid"] == each["pid"] for frame in played.frames)
        assert each["frames"] == frames
        # The parent's connections are the parent's, though they ended in the child as well.
        assert each["alive"] == 0
    assert sorted(each["number"] for each in played.told) == list(range(-1, 12))
    assert played.covered(played.pid) == sum(frame["pid"] == played.pid for frame in played.frames)


def test_a_fork_waits_a_moment_and_a_child_for_nobody(tmp_path: Path) -> None:
    played = play(tmp_path, "waiting")
    agrees(played)
    briefly, long, ours = played.told
    assert briefly["waited"] > 0.3  # until the other thread was out
    assert 0.9 < long["waited"] < 3  # no longer: the application goes on
    assert ours["waited"] < 0.9  # of our own locks a child gets new ones
    assert max(each["child"] for each in played.told) < 3


def test_a_child_that_does_nothing_leaves_no_trace(tmp_path: Path) -> None:
    played = play(tmp_path, "quiet", WS_AUDIT_METRICS_ADDR=f"{HOST}:{free_ports(1)[0]}")
    child, parent = played.told
    assert child["threads"] == []
    assert parent["before"] == parent["after"]
    assert parent["before"]
    said = [line for line in played.err.splitlines() if not line.startswith("{")]
    assert len(said) == 1, played.err  # the parent's first line
    agrees(played)


def test_a_child_does_not_keep_the_port_of_a_parent_that_is_gone(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    command = [sys.executable, str(APPS / "orphan.py")]
    process = start(tmp_path, command, WS_AUDIT_METRICS_ADDR=f"{HOST}:{port}")
    try:
        assert process.stdout is not None
        assert "orphan" in process.stdout.readline()
        # The system may say a parent is gone a moment before it has closed what the parent held.
        _refused(port, within=5)
        with socket.socket() as next_start:
            next_start.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            next_start.bind((HOST, port))
            next_start.listen()
    finally:
        end(process)
        process.communicate()


def test_a_child_that_serves_has_a_metrics_page_of_its_own(tmp_path: Path) -> None:
    first = two_ports()
    address = f"{HOST}:{first}-{first + 1}"
    played = play(tmp_path, "ports", str(first), str(first + 1), WS_AUDIT_METRICS_ADDR=address)
    (told,) = played.told
    assert told["parents"] == 20
    assert told["childs"] == 7
    agrees(played)


def _refused(port: int, within: float) -> None:
    """Nobody listens there, after `within` seconds at the latest."""
    deadline = time.monotonic() + within
    while True:
        with socket.socket() as attempt:
            attempt.settimeout(2)
            if attempt.connect_ex((HOST, port)) != 0:
                return
        assert time.monotonic() < deadline, f"{HOST}:{port} still answers"
        time.sleep(0.05)


def two_ports() -> int:
    """The first of two free ports in a row."""
    for _ in range(100):
        (first,) = free_ports(1)
        with socket.socket() as second:
            try:
                second.bind((HOST, first + 1))
            except OSError:
                continue
        return first
    raise AssertionError("no two free ports in a row")
