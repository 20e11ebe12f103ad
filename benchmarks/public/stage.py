# SPDX-License-Identifier: Apache-2.0
"""One public application played: its own environment, its server, its users, and the agent's word.

Why it exists: the benchmark's applications were written for it. These were not: what they do, and
what the agent can say of it with nothing declared, is what somebody sees on the first day.

It must never change a line of the application: what is served is the package as it was published.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[2]
PINS: Final = Path(__file__).with_name("requirements")
NAMES: Final = ("chainlit", "gradio", "shiny")
USERS: Final = ("ada", "ben", "cleo", "dora")
ROUNDS: Final = 20
INSTALL_SECONDS, START_SECONDS, PLAY_SECONDS, STOP_SECONDS = 900.0, 60.0, 120.0, 8.0
REST_SECONDS = 5.0

# What is new in every run and says nothing of what was sent.
_NEW: Final = (
    (re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}"), "ID"),
    (re.compile(r"[0-9a-f]{32,}"), "ID"),
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:?\d\d)?"), "TIME"),
    (re.compile(r'"(\w*duration|avg_time|eta)": ?([\d.e-]+|null)'), "SECONDS"),
    (re.compile(r"http://127\.0\.0\.1:\d+"), "URL"),
)

# Verdicts, and the reasons of those that are none.
_SAMPLE: Final = re.compile(
    r"^ws_audit_(?:verdicts|unattributed)_total\{[^}]*(?:verdict|reason)=\"(\w+)\"[^}]*\} (\S+)",
    re.MULTILINE,
)


class StageError(Exception):
    """The application could not be installed, started or used: no finding."""


@dataclass
class Visit:
    """One user's visit: where to, how long, and all that came."""

    url: str
    user: str
    rounds: int
    received: int = 0
    messages: list[str] = field(default_factory=list)  # those that are compared

    def took(self, text: str, *, compared: bool = True) -> None:
        """A message came."""
        self.received += 1
        if not compared:
            return
        for pattern, name in _NEW:
            text = pattern.sub(name, text)
        self.messages.append(text)


@dataclass
class Run:
    """What one run left: each user's messages, and what the agent says of them."""

    received: int
    messages: dict[str, list[str]]
    counted: Counter[str]  # verdict, and reason where there is none -> messages
    incidents: list[dict[str, Any]]
    said: str


def environment_of(name: str, folder: Path) -> Path:
    """The Python with this application and the agent in it, made if need be; StageError."""
    python = folder / name / "bin" / "python"
    done = folder / name / ".installed"
    pins = PINS / f"{name}.txt"
    if done.exists() and done.read_text() == pins.read_text():
        return python
    print(f"installing {name} into {folder / name} ...", file=sys.stderr, flush=True)
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--quiet", "--retries", "1"]
    pip += ["--disable-pip-version-check", "install"]
    try:
        for words in (
            [sys.executable, "-m", "venv", "--clear", "--without-pip", str(folder / name)],
            [*pip, "--requirement", str(pins)],
            [*pip, str(ROOT)],
        ):
            subprocess.run(
                words, check=True, timeout=INSTALL_SECONDS, capture_output=True, text=True
            )
    except subprocess.CalledProcessError as error:
        said = error.stderr[-1000:].strip()
        raise StageError(f"could not be installed (is there a network?): {said}") from None
    except subprocess.TimeoutExpired:
        raise StageError(f"was not installed within {INSTALL_SECONDS:g} s") from None
    done.write_text(pins.read_text())
    return python


def play(name: str, python: Path, settings: dict[str, str] | None, rounds: int = ROUNDS) -> Run:
    """Serve, let everybody visit at once, stop, review; without settings, without the agent."""
    app = importlib.import_module(f"benchmarks.public.apps.{name}")
    with tempfile.TemporaryDirectory(prefix="public-") as text:
        folder = Path(text)
        given = {key: value for key, value in os.environ.items() if not key.startswith("WS_AUDIT_")}
        given.update(app.ENVIRONMENT, HOME=text)
        if settings is not None:
            given.update(
                WS_AUDIT_ENABLED="1",
                WS_AUDIT_TRACE_DIR=str(folder / "traces"),
                WS_AUDIT_METRICS_ADDR=f"127.0.0.1:{(metrics := _free_port())}",
                **settings,
            )
            (folder / "declared.py").write_text(app.WHO)
        port, counted = _free_port(), Counter[str]()
        command = [str(python), *app.command(folder, port)]
        with _serving(command, folder, given, port):
            visits = [Visit(f"http://127.0.0.1:{port}", user, rounds) for user in USERS]
            try:
                asyncio.run(_together(app, visits))
                if settings is not None:
                    counted = _at_rest(metrics)
            except Exception as error:
                said = (folder / "server.log").read_text(errors="replace")
                raise StageError(f"{error!r}; the server: {said[-2000:]}") from error
        said = (folder / "server.log").read_text(errors="replace")
        received = sum(one.received for one in visits)
        messages = {one.user: one.messages for one in visits}
        if settings is None:
            return Run(received, messages, Counter(), [], said)
        if "ws-audit" not in said:
            raise StageError(f"the agent has not started: {said[-2000:]}")
        review = _review(python, folder / "traces")
        return Run(received, messages, counted, review["incidents"], said)


async def _together(app: Any, visits: list[Visit]) -> None:
    everybody = asyncio.gather(*(app.visit(one) for one in visits))
    await asyncio.wait_for(everybody, PLAY_SECONDS)


@contextlib.contextmanager
def _serving(
    command: list[str], folder: Path, environment: dict[str, str], port: int
) -> Iterator[None]:
    with (folder / "server.log").open("wb") as output:
        server = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(port):
            if time.monotonic() > deadline or server.poll() is not None:
                said = (folder / "server.log").read_text(errors="replace")
                raise StageError(f"no server: {said[-2000:]}")
            time.sleep(0.1)
        yield
    finally:
        server.send_signal(signal.SIGINT)  # as by Ctrl-C, which all of them know
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _review(python: Path, traces: Path) -> dict[str, Any]:
    words = [str(python), "-m", "ws_audit", "review", str(traces), "--format", "json"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode not in (0, 1):
        raise StageError(f"the review: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _at_rest(port: int) -> Counter[str]:
    """The agent's counts, once they have stopped changing."""
    deadline = time.monotonic() + REST_SECONDS
    before: Counter[str] | None = None
    while True:
        page = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
        counted = Counter[str]()
        for name, value in _SAMPLE.findall(page):
            counted[name] += int(float(value))
        if counted == before or time.monotonic() > deadline:
            return counted
        before = counted
        time.sleep(0.5)
