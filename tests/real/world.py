# SPDX-License-Identifier: Apache-2.0
"""A real service under audit, its clients in another process, and what each of them says.

Why it exists: every test of this folder starts processes as a team would and then holds two
independent accounts against each other: the agent's and the clients'.

It must never leave a process behind, and never look inside the agent: only at what leaves it.
"""

from __future__ import annotations

import calendar
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import ProxyHandler, Request, build_opener

from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families

from ws_audit.model import HYGIENE
from ws_audit.tools.demo_stage import HOST, environment, free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prometheus_client.metrics_core import Metric

    from ws_audit.tools.demo_cast import Cast

APPS = Path(__file__).parent / "apps"
EXAMPLE, SWITCHBOARD = "agent_chat.app:app", "switchboard:app"
START_SECONDS, STOP_SECONDS, DRIVE_SECONDS = 20.0, 15.0, 60.0
SECOND = 1_000_000_000
OPENMETRICS = "application/openmetrics-text; version=1.0.0"

Pair = tuple[str, str]  # hash of whose data, hash of whose connection


# --- waiting and fetching -------------------------------------------------------------------


def eventually(what: str, seconds: float, look: Any) -> Any:
    """What `look` answers as soon as it is true; fails with `what` if it never is."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.02)


def get(url: str, accept: str = "*/*") -> str:
    """A page of this machine, past any proxy the environment names."""
    opener = build_opener(ProxyHandler({}))
    with opener.open(Request(url, headers={"Accept": accept}), timeout=10) as answer:
        text: str = answer.read().decode()
    return text


# --- metrics ----------------------------------------------------------------------------------


class Page:
    """One /metrics page."""

    def __init__(self, text: str) -> None:
        read = openmetrics_families if text.rstrip().endswith("# EOF") else None
        self.text = text
        self.families: list[Metric] = list((read or text_string_to_metric_families)(text))

    def series(self, name: str, **labels: str) -> dict[tuple[tuple[str, str], ...], float]:
        """The samples of that name whose labels include these."""
        return {
            tuple(sorted(sample.labels.items())): sample.value
            for family in self.families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        }

    def total(self, name: str, **labels: str) -> int:
        """The sum over them."""
        return int(sum(self.series(name, **labels).values()))

    def by(self, name: str, label: str, **labels: str) -> dict[str, int]:
        """Sums by one label, without those that are 0."""
        sums: Counter[str] = Counter()
        for key, value in self.series(name, **labels).items():
            sums[dict(key)[label]] += int(value)
        return {value: amount for value, amount in sums.items() if amount}

    def balanced(self) -> int:
        """The number of frames; the sum of verdicts is the same, or this fails."""
        frames = self.total("ws_audit_frames_total")
        assert self.total("ws_audit_verdicts_total") == frames
        assert self.total("ws_audit_unattributed_total") == self.total(
            "ws_audit_frames_total", judged="false"
        )
        return frames

    def troubles(self) -> dict[str, dict[str, int]]:
        """What the agent says went wrong in it: nothing, as a rule."""
        return {
            "dropped": self.by("ws_audit_records_dropped_total", "stage"),
            "errors": self.by("ws_audit_internal_errors_total", "stage"),
        }


# --- the service ---------------------------------------------------------------------------------


@dataclass
class Service:
    """One uvicorn process with an application and, unless told otherwise, the agent in it."""

    process: subprocess.Popen[bytes]
    folder: Path
    store: Path
    cast: Cast
    port: int
    metrics_port: int
    log: Path
    ended: float = field(default=0.0)  # how long the last stop() took

    @property
    def url(self) -> str:
        return f"ws://{HOST}:{self.port}/ws"

    @property
    def metrics_url(self) -> str:
        return f"http://{HOST}:{self.metrics_port}/metrics"

    def metrics(self, accept: str = "text/plain") -> Page:
        return Page(get(self.metrics_url, accept))

    def said(self) -> str:
        """Everything the process has written to stderr and stdout."""
        return self.log.read_text(errors="replace")

    def alarms(self) -> list[dict[str, Any]]:
        """The JSON log lines on stderr."""
        return [json.loads(line) for line in self.said().splitlines() if line.startswith("{")]

    def kill(self) -> None:
        """SIGKILL: nothing of the process runs afterwards."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(5)

    def stop(self) -> int:
        """SIGTERM, as an orchestrator would; answers the exit code."""
        begun = time.monotonic()
        self.process.terminate()
        code = self.process.wait(STOP_SECONDS)
        self.ended = time.monotonic() - begun
        return code

    def review(self) -> dict[str, Any]:
        """`ws-audit review DIR --format json`, in a process of its own."""
        document: dict[str, Any] = json.loads(review(self.store, "json"))
        return document


def review(store: Path, form: str) -> str:
    command = [sys.executable, "-m", "ws_audit", "review", str(store), "--format", form]
    done = subprocess.run(
        command,
        env=environment(),
        cwd=store.parent,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    assert done.stderr == ""
    return done.stdout


@contextlib.contextmanager
def serve(
    folder: Path,
    cast: Cast,
    *,
    app: str = EXAMPLE,
    defects: str = "",
    settings: Mapping[str, str] | None = None,
    config: str = "",
    store: Path | None = None,
) -> Iterator[Service]:
    """An application under audit, from ready to gone. `config` is a TOML file's text."""
    folder.mkdir(parents=True, exist_ok=True)
    port, metrics_port = free_ports(2)
    store = store or folder / "trace"
    log = folder / "service.log"
    told = {
        "WS_AUDIT_ENABLED": "1",
        "WS_AUDIT_INCLUDE": "agent_chat.*,switchboard.*,traced.*",
        "WS_AUDIT_TRACE_DIR": str(store),
        "WS_AUDIT_METRICS_ADDR": f"{HOST}:{metrics_port}",
        "WS_AUDIT_HASH_KEY": cast.hash_key,
        "AGENT_CHAT_USERS": json.dumps(cast.tokens),
        "AGENT_CHAT_DEFECTS": defects,
        **(settings or {}),
    }
    if config:
        (folder / "ws-audit.toml").write_text(config)
        told["WS_AUDIT_CONFIG"] = str(folder / "ws-audit.toml")
    command = [sys.executable, "-m", "uvicorn", app, "--host", HOST, "--port", str(port)]
    command += ["--log-level", "warning"]
    if app.endswith(".py"):
        command = [sys.executable, str(APPS / app), str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=surroundings() | told,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    service = Service(process, folder, store, cast, port, metrics_port, log)
    try:
        eventually("the service answers", START_SECONDS, lambda: _ready(service))
        yield service
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _ready(service: Service) -> bool:
    assert service.process.poll() is None, service.said()[-2000:]
    with contextlib.suppress(OSError):
        get(f"http://{HOST}:{service.port}/health")
        return True
    return False


def hears() -> None:
    """In the new process: tests that run in the background begin with Ctrl-C ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def surroundings() -> dict[str, str]:
    """The environment of every process here: no setting of ours or of OpenTelemetry's in it."""
    found = {
        name: value
        for name, value in environment().items()
        if not name.startswith(("OTEL_", "PROMETHEUS_", "AGENT_CHAT_"))
    }
    found["PYTHONPATH"] = os.pathsep.join([str(APPS), found["PYTHONPATH"]])
    return found


# --- the clients ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Received:
    """What the clients wrote down, in the agent's terms."""

    result: dict[str, Any]
    frames: list[dict[str, Any]]
    cast: Cast

    @property
    def leaked(self) -> list[dict[str, Any]]:
        """The frames with somebody else's secret in them."""
        return [
            frame
            for frame in self.frames
            if any(owner != frame["recipient"] for owner in frame["owners"])
        ]

    def pairs(self) -> dict[Pair, int]:
        """Whose data came to whom, how often."""
        pairs: Counter[Pair] = Counter()
        for frame in self.frames:
            for owner in frame["owners"]:
                if owner != frame["recipient"]:
                    pairs[self.cast.hash_of(owner), self.cast.hash_of(frame["recipient"])] += 1
        return dict(pairs)


def drive(service: Service, users: int = 0, runs: int = 5, patience: float = 2.0) -> Received:
    """The example's own clients: all users at once (or the first few), each some runs."""
    tokens = dict(list(service.cast.tokens.items())[: users or None])
    paths = {name: service.folder / f"{name}.json" for name in ("users", "clients", "frames")}
    paths["users"].write_text(json.dumps(tokens))
    command = [sys.executable, "-m", "agent_chat.clients", "--url", service.url]
    command += ["--users", str(paths["users"]), "--runs", str(runs)]
    command += ["--out", str(paths["clients"]), "--frames", str(paths["frames"])]
    command += ["--patience", str(patience)]
    return told_by(command, service, paths["clients"], paths["frames"])


def carry_out(service: Service, plan: dict[str, Any]) -> Received:
    """The switchboard's clients; the plan says who sends what (see there)."""
    paths = [service.folder / f"{name}.json" for name in ("users", "plan", "result", "frames")]
    paths[0].write_text(json.dumps(service.cast.tokens))
    paths[1].write_text(json.dumps(plan))
    command = [sys.executable, str(APPS / "switchboard_clients.py"), service.url]
    return told_by([*command, *map(str, paths)], service, paths[2], paths[3])


def told_by(command: list[str], service: Service, result: Path, frames: Path) -> Received:
    """Run clients and read what they wrote down."""
    done = subprocess.run(
        command,
        env=surroundings(),
        cwd=service.folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DRIVE_SECONDS,
        check=False,
    )
    assert result.is_file(), done.stderr[-2000:]
    lines = [json.loads(line) for line in frames.read_text().splitlines()]
    return Received(json.loads(result.read_text()), lines, service.cast)


def at_rest(service: Service) -> Page:
    """The metrics once the service has seen the last client leave."""

    def look() -> Page | None:
        page = service.metrics()
        return None if page.total("ws_audit_connections_alive") else page

    page: Page = eventually("all connections are closed", 5, look)
    return page


# --- what the agent claims ----------------------------------------------------------------------


def leaks(document: dict[str, Any]) -> list[dict[str, Any]]:
    """A review's incidents above hygiene."""
    return [incident for incident in document["incidents"] if incident["severity"] != HYGIENE]


def claimed(document: dict[str, Any]) -> dict[Pair, int]:
    """Frames a review says were delivered to somebody else, by pair."""
    pairs: Counter[Pair] = Counter()
    for incident in leaks(document):
        for pair in incident["pairs"]:
            pairs[pair["owner"], pair["recipient"]] += pair["events"]
    return dict(pairs)


def nanoseconds(text: str) -> int:
    """RFC 3339 in UTC with nanoseconds, as the review writes it."""
    whole, fraction = text.removesuffix("Z").split(".")
    assert len(fraction) == 9, text
    seconds = time.strptime(f"{whole}+0000", "%Y-%m-%dT%H:%M:%S%z")
    return calendar.timegm(seconds) * SECOND + int(fraction)


# --- the store, line by line ----------------------------------------------------------------------


def stored(store: Path, kind: str = "violations") -> list[dict[str, Any]]:
    """Every span of the segments: name, ids, times, attributes as plain values."""
    found = []
    for path in sorted(store.glob(f"{kind}-*.jsonl")):
        for line in path.read_text().splitlines():
            for resource in json.loads(line)["resourceSpans"]:
                for scope in resource["scopeSpans"]:
                    found += [{**span, "attributes": plain(span)} for span in scope["spans"]]
    return found


def plain(span: dict[str, Any]) -> dict[str, Any]:
    values = {}
    for attribute in span.get("attributes", ()):
        ((form, value),) = attribute["value"].items()
        values[attribute["key"]] = int(value) if form == "intValue" else value
    return values
