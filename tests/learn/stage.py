# SPDX-License-Identifier: Apache-2.0
"""`ws-audit learn` with a real server and three real clients, and the same traffic once more.

Real processes: the activation file of the wheel is stood in for by one line, as doctor's tests
have it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from websockets.sync.client import connect

from tests.doctor.stage import Ended, free_port, listening, surroundings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from websockets.sync.client import ClientConnection

HERE = Path(__file__).parent
PEOPLE = ("ann_key", "bob_key", "cyd_key")  # names that stand in no code of the application
# (command, whether it goes to another person, to whom the answers come: all, or one)
TO_OTHERS = ("like", "visit")
TO_ALL = ("arrive", "room")


def command(port: int) -> list[str]:
    """The server."""
    options = ["--port", str(port), "--log-level", "warning", "--app-dir", str(HERE)]
    return [sys.executable, "-m", "uvicorn", "forum:app", *options]


def run(
    folder: Path,
    tool: Sequence[str],
    traffic: Sequence[tuple[str, int]],
    *,
    people: int = 3,
    **environment: str,
) -> Ended:
    """A tool of ours around the server; each person sends each command so often."""
    folder.mkdir(exist_ok=True)
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "ws_audit", *tool, "--", *command(port)],
        env=surroundings(folder, **environment),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        listening(port, process)
        _talk(port, traffic, PEOPLE[:people])
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to everybody
        out, err = process.communicate(timeout=40)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return Ended(process.returncode, out, err)


def verdicts(folder: Path, traffic: Sequence[tuple[str, int]], config: Path) -> dict[str, int]:
    """The same traffic with a configuration: how it was judged, and the violations by severity."""
    ended = run(folder, ["doctor", "--format", "json"], traffic, WS_AUDIT_CONFIG=str(config))
    (process,) = json.loads(ended.out)["processes"]
    assert process["problems"] == []
    return {**process["verdicts"], **process["violations"]}


def _talk(port: int, traffic: Sequence[tuple[str, int]], people: Sequence[str]) -> None:
    with contextlib.ExitStack() as stack:
        clients: list[ClientConnection] = [
            stack.enter_context(connect(f"ws://127.0.0.1:{port}/{name}", proxy=None))
            for name in people
        ]
        for name, times in traffic:
            for _ in range(times):
                for number, client in enumerate(clients):
                    other = (number + 1) % len(people)
                    client.send(f"{name} {people[other]}")
                    if name in TO_ALL:
                        for one in clients:
                            _hear(one)
                    else:
                        _hear(clients[other] if name in TO_OTHERS else client)


def _hear(client: ClientConnection) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(client.recv(timeout=10))
    return found
