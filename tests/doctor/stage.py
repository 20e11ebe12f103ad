"""A server under `ws-audit doctor -- CMD`, its clients, and the report.

Real processes: the activation file of the wheel is stood in for by one line, as in the tests
of the stages, and everything else is what a user types.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from websockets.sync.client import connect

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE = Path(__file__).parent
SOURCE = HERE.parents[1] / "src"
ACTIVATION = (SOURCE / "ws_audit.pth").read_text(encoding="utf-8")


@dataclass
class Ended:
    code: int
    out: str
    err: str

    @property
    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found

    def finding(self, identifier: str) -> dict[str, Any] | None:
        """The finding of this id, if there is one."""
        return next((one for one in self.report["findings"] if one["id"] == identifier), None)

    @property
    def process(self) -> dict[str, Any]:
        """The one process there was."""
        (found,) = self.report["processes"]
        return dict(found)


def surroundings(folder: Path, **more: str) -> dict[str, str]:
    """An environment in which every Python starts with the activation line."""
    site = folder / "site"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(ACTIVATION, encoding="utf-8")
    clean = {
        name: text
        for name, text in os.environ.items()
        if not name.startswith(("WS_AUDIT_", "OTEL_", "PROMETHEUS_"))
    }
    path = os.pathsep.join([str(SOURCE), str(HERE), str(site)])
    return {**clean, "PYTHONPATH": path, **more}


def tool(folder: Path, *words: str, **environment: str) -> Ended:
    """`ws-audit ...` to its end."""
    done = subprocess.run(
        [sys.executable, "-m", "ws_audit", *words],
        env=surroundings(folder, **environment),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def doctor(folder: Path, *words: str, **environment: str) -> Ended:
    """`ws-audit doctor ...` to its end."""
    return tool(folder, "doctor", *words, **environment)


def serve(
    folder: Path,
    paths: Sequence[str],
    *,
    form: str = "json",
    app: str = "backend:app",
    frames: int = 4,
    end: int = signal.SIGINT,
    **environment: str,
) -> Ended:
    """uvicorn under the doctor; a client on each path sends and hears so many frames; its end."""
    port = free_port()
    command = [sys.executable, "-m", "ws_audit", "doctor", "--format", form, "--"]
    command += [sys.executable, "-m", "uvicorn", app, "--port", str(port), "--log-level", "warning"]
    process = subprocess.Popen(
        command,
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
        for path in paths:
            talk(port, path, frames)
        if end == signal.SIGINT:
            os.killpg(process.pid, end)  # as a terminal does: to everybody
        else:
            process.send_signal(end)
        out, err = process.communicate(timeout=30)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return Ended(process.returncode, out, err)


def talk(port: int, path: str, frames: int) -> None:
    """One client: sends, and waits for the answer."""
    with connect(f"ws://127.0.0.1:{port}{path}", proxy=None) as socket_:
        for number in range(frames):
            socket_.send(str(number))
            socket_.recv(timeout=10)


def free_port() -> int:
    """A port nobody has."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def listening(port: int, process: subprocess.Popen[str]) -> None:
    """Until the server answers."""
    deadline = time.monotonic() + 30
    while True:
        assert process.poll() is None, process.communicate()
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
