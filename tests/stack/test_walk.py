# SPDX-License-Identifier: Apache-2.0
"""`make stack`: what it prints is there, a leak reaches its pager, and Ctrl-C leaves nothing."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from examples.stack import parts
from tests.real.world import eventually

if TYPE_CHECKING:
    from tests.stack.conftest import Walk


def test_a_walk_through_it(walk: Walk) -> None:
    eventually("a client saw it", 40, lambda: walk.told(r'^\[load\] \{"recipient"'))
    eventually("the agent pushed it", 5, lambda: walk.told(r"^\[pager\] \S+ ws-audit /incidents"))
    eventually(
        "Alertmanager delivered it",
        40,
        lambda: walk.told(r"^\[pager\] \S+ Alertmanager \S+ WsAuditLeakConfirmed firing \(page\)"),
    )
    for address in re.findall(r"http://\S+", "\n".join(walk.said)):
        assert parts.ask(address), address

    walk.type("k\n")
    eventually("it is back", 20, lambda: walk.told("^the service was killed, and is back$"))
    processes, ports = walk.processes(), walk.ports()
    assert len(processes) == 6  # service, clients, pager, collector, Prometheus, Alertmanager
    walk.process.send_signal(signal.SIGINT)
    assert walk.process.wait(20) == 0
    assert walk.told("^All stopped")
    assert walk.told(r'^\[load\] \{"frames": \d+, "foreign": 1\}$')
    assert not [each for each in processes if Path(f"/proc/{each}").exists()]
    for port in ports:
        with pytest.raises(OSError, match="refused"), socket.create_connection((parts.HOST, port)):
            pass


def test_what_is_missing_is_named_with_its_command(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "examples.stack.local", "--folder", str(tmp_path / "stack")],
        env={**parts.clean_environment(), "PATH": str(tmp_path)},
        cwd=parts.ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert "apt-get install -y --no-install-recommends prometheus\n" in done.stderr
    assert not (tmp_path / "stack").exists()
