# SPDX-License-Identifier: Apache-2.0
"""One run of the demonstration: the example service under audit, and its clients beside it.

Why it exists: what the agent says is only worth something next to what the users really
received. So the service, the clients and the review are three processes, and nothing passes
from one to the other but WebSocket frames and the store.

It must never touch the example application, nor tell the clients that somebody audits.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .demo_cast import Cast

HOST = "127.0.0.1"
START_SECONDS = 30.0
STOP_SECONDS = 15.0


class StageError(Exception):
    """The demonstration could not be carried out; the text says which part failed and where."""


@dataclass(frozen=True)
class Stage:
    """What a run left: the agent's metrics and review, the clients' record, and where they are."""

    leak: str  # "" for none
    metrics: str
    review: dict[str, Any]
    clients: dict[str, Any]
    metrics_url: str
    store: Path


def examples() -> Path:
    """Where the example lives: inside an installed package, else in the source checkout."""
    package = Path(__file__).resolve().parents[1]

    for folder in (package / "examples", package.parents[1] / "examples"):
        if (folder / "agent_chat" / "app.py").is_file():
            return folder

    raise StageError(f"the example application is in neither {package} nor a checkout around it")


def play(
    leak: str, cast: Cast, runs: int, folder: Path, progress: Callable[[int, int], None]
) -> Stage:
    """Serve, drive, scrape, stop and review one service with this defect."""
    port, metrics_port = free_ports(2)
    store = folder / "trace"
    folder.mkdir(mode=0o700, parents=True)
    settings = {
        "WS_AUDIT_ENABLED": "1",
        "WS_AUDIT_INCLUDE": "agent_chat.*",
        "WS_AUDIT_TRACE_DIR": str(store),
        "WS_AUDIT_METRICS_ADDR": f"{HOST}:{metrics_port}",
        "WS_AUDIT_HASH_KEY": cast.hash_key,
        "AGENT_CHAT_USERS": json.dumps(cast.tokens),
        "AGENT_CHAT_DEFECTS": leak,
    }

    with service(port, settings, folder):
        clients = drive(port, cast, runs, folder, progress)
        metrics = scrape(metrics_port, folder)

    review = read_store(store, folder)

    return Stage(leak, metrics, review, clients, f"http://{HOST}:{metrics_port}/metrics", store)


@contextlib.contextmanager
def service(port: int, settings: dict[str, str], folder: Path) -> Iterator[None]:
    """The example service, as its team would start it, from ready to stopped."""
    command = ["uvicorn", "agent_chat.app:app", "--host", HOST, "--port", str(port)]
    command += ["--log-level", "warning"]
    log = folder / "service.log"

    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            env=environment() | settings,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )

        try:
            await_ready(process, port, log)
            yield
            process.terminate()

            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                raise StageError(
                    f"the service did not stop within {STOP_SECONDS:g} s of SIGTERM: see {log}"
                ) from None

        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def await_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS

    while time.monotonic() < deadline:
        if process.poll() is not None:
            said = f"the service ended with code {process.returncode}: {last_line(log)}"
            raise StageError(f"{said} (more in {log})")

        with contextlib.suppress(OSError):
            get(port, "/health")
            return

        time.sleep(0.05)

    raise StageError(f"the service did not answer within {START_SECONDS:g} s: see {log}")


def drive(
    port: int, cast: Cast, runs: int, folder: Path, progress: Callable[[int, int], None]
) -> dict[str, Any]:
    """Let the clients run; answers what they wrote down."""
    users, result = folder / "users.json", folder / "clients.json"
    users.write_text(json.dumps(cast.tokens))
    command = [sys.executable, "-m", "agent_chat.clients", "--url", f"ws://{HOST}:{port}/ws"]
    command += ["--users", str(users), "--runs", str(runs), "--out", str(result)]
    said = ""

    with subprocess.Popen(
        command,
        env=environment(),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None

        try:
            for line in process.stderr:
                if line.startswith("{"):
                    step = json.loads(line)
                    progress(step["done"], step["total"])
                else:
                    said = line.strip()

        except BaseException:
            process.kill()
            raise

    if not result.is_file():
        raise StageError(f"the clients ended with code {process.returncode}: {said}")

    observed: dict[str, Any] = json.loads(result.read_text())

    return observed


def scrape(port: int, folder: Path) -> str:
    try:
        page = get(port, "/metrics")
    except OSError as error:
        raise StageError(
            f"no metrics at {HOST}:{port} ({error}), so the agent is not active in the service: "
            f"see {folder / 'service.log'}, and `ws-audit doctor`"
        ) from None

    (folder / "metrics.txt").write_text(page)

    return page


def read_store(store: Path, folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "ws_audit", "review", str(store), "--format", "json"]
    done = subprocess.run(
        command, env=environment(), cwd=folder, capture_output=True, text=True, check=False
    )

    if done.returncode not in (0, 1):
        said = done.stderr.strip().rpartition("\n")[2]
        raise StageError(f"the review of {store} ended with code {done.returncode}: {said}")

    review: dict[str, Any] = json.loads(done.stdout)

    return review


def environment() -> dict[str, str]:
    """Ours without any audit setting, so that nobody's shell decides how the demo goes."""
    found = {name: value for name, value in os.environ.items() if not name.startswith("WS_AUDIT_")}
    # The processes start in a directory of their own: relative entries would mean another place.
    inherited = [entry for entry in found.get("PYTHONPATH", "").split(os.pathsep) if entry]
    paths = [examples(), *(Path(entry).absolute() for entry in inherited)]
    found["PYTHONPATH"] = os.pathsep.join(map(str, paths))

    return found


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]

        for each in sockets:
            each.bind((HOST, 0))

        return [each.getsockname()[1] for each in sockets]


def get(port: int, path: str) -> str:
    """A page from this machine, past any proxy the environment names."""
    connection = http.client.HTTPConnection(HOST, port, timeout=10)

    with contextlib.closing(connection):
        connection.request("GET", path)

        return connection.getresponse().read().decode()


def last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()

    return lines[-1] if lines else "no output"
