# SPDX-License-Identifier: Apache-2.0
"""One case played: a copy of the application, its server, the clients, and what each side says.

Why it exists: three processes that share nothing but a port. The server may or may not be
audited; the clients cannot tell.

It must never give the agent the people's secrets, save the canary tokens of a run with canaries.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .case import Application, Benign, Defect, Swap
from .people import Person, invent, save

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[2]
HASH_KEY: Final = "the leak benchmark's key"
OURS: Final = ("cases.py", "held_back.py", "clients.py", "policy.toml")
START_SECONDS, PLAY_SECONDS, STOP_SECONDS = 30.0, 75.0, 10.0

# How a run is configured -> what of it holds.
MODES: Final = {
    "verify": "no agent: only whether each case is one",
    "reviewed": "the application's policy.toml",
    "canary": "the application's policy.toml, and every user's data carries a canary",
    "none": "nothing declared",
    "payload": "nothing but the connection's user and the payload's owner field",
    "argument": "nothing but the connection's user and the recipient the caller named",
    "binding": "nothing but the connection's binding",
    "learned": "what `ws-audit learn` proposes from benign traffic, as it is: see learned.py",
}
ABLATIONS: Final = ("payload", "argument", "binding")


class BrokenError(Exception):
    """The case could not be played: no finding, neither of the agent nor against it."""


@dataclass(frozen=True)
class Played:
    """What came of a case: what the clients wrote down, and the agent's review of it."""

    people: list[Person]
    journal: list[dict[str, Any]]
    review: dict[str, Any] | None
    said: str  # what the server wrote


def play(
    application: Application,
    case: Defect | Benign,
    kind: str,
    mode: str,
    *,
    clean: bool = False,
    learned: str = "",
) -> Played:
    """Play one case; `kind` is the list it is in, `clean` leaves a defect's edits out.

    `learned` is the configuration of a run in mode "learned".
    """
    with tempfile.TemporaryDirectory(prefix="leaks-") as text:
        directory = Path(text)
        swaps = case.swaps if isinstance(case, Defect) and not clean else ()
        people = copied(application, swaps, directory)
        given = bare(directory)
        if mode != "verify":
            settings = _settings(application, directory, people, mode) or learned
            given = audited(directory, settings)
        with serving(application, directory, given, mode) as port:
            clients = act(application, kind, case.name, port, directory)
        said = (directory / "server.log").read_text(errors="replace")
        if clients.returncode:
            raise BrokenError(f"the clients: {clients.stderr[-2000:]}\nthe server: {said[-2000:]}")
        review = None
        if mode != "verify":
            if " manager class" not in said:
                raise BrokenError(f"the agent has not started: {said[-2000:]}")
            review = _review(directory / "traces")
        return Played(people, journal(directory), review, said)


def copied(application: Application, swaps: tuple[Swap, ...], directory: Path) -> list[Person]:
    """The application as it is tried, with new people in it."""
    shutil.copytree(
        application.directory,
        directory / "app",
        ignore=shutil.ignore_patterns("__pycache__", *OURS),
    )
    for swap in swaps:
        swap.apply(directory / "app")
    people = invent()
    save(people, directory / "app" / "people.json")
    return people


def act(
    application: Application, kind: str, name: str, port: int, directory: Path
) -> subprocess.CompletedProcess[str]:
    """Let the clients of one case play it, in a process of their own."""
    words = ("-m", f"{__package__}.actors", application.name, kind, name, str(port))
    return subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env=bare(directory),
        capture_output=True,
        text=True,
        timeout=PLAY_SECONDS,
        check=False,
    )


def journal(directory: Path) -> list[dict[str, Any]]:
    """What the clients of the last case wrote down."""
    lines = (directory / "app" / "journal.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def bare(directory: Path) -> dict[str, str]:
    """The environment of what has nothing of the agent."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("WS_AUDIT_")}
    return {**kept, "LEAKS_DIRECTORY": str(directory / "app")}


def audited(directory: Path, settings: str) -> dict[str, str]:
    """The environment of a server with the agent, so configured."""
    (directory / "ws-audit.toml").write_text(settings)
    return {
        **bare(directory),
        "WS_AUDIT_ENABLED": "1",
        "WS_AUDIT_CONFIG": str(directory / "ws-audit.toml"),
        "WS_AUDIT_TRACE_DIR": str(directory / "traces"),
        "WS_AUDIT_HASH_KEY": HASH_KEY,
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def _settings(application: Application, directory: Path, people: list[Person], mode: str) -> str:
    if mode not in ("reviewed", "canary"):
        return ""
    text = (application.directory / "policy.toml").read_text()
    if mode == "canary":
        tokens = {str(getattr(one, application.users_by)): one.canary for one in people}
        (directory / "tokens.json").write_text(json.dumps(tokens))
        text += f'\n[canary]\ntokens_file = "{directory / "tokens.json"}"\n'
    return text


@contextlib.contextmanager
def serving(
    application: Application, directory: Path, environment: dict[str, str], mode: str
) -> Iterator[int]:
    """The application's server; yields its port."""
    port = _free_port()
    words = [str(port) if word == "PORT" else word for word in application.command]
    if mode in ABLATIONS:
        words = [str(Path(__file__).with_name("ablated.py")), mode, *words[1:]]  # without its -m
    with (directory / "server.log").open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, *words],
            cwd=directory / "app",
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _await_port(server, port, directory / "server.log")
        yield port
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _await_port(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise BrokenError(f"no server: {log.read_text(errors='replace')[-2000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _review(traces: Path) -> dict[str, Any]:
    words = [sys.executable, "-m", "ws_audit", "review", str(traces), "--format", "json"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode not in (0, 1):
        raise BrokenError(f"the review: {done.stderr[-2000:]}")
    document: dict[str, Any] = json.loads(done.stdout)
    return document
