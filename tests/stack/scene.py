# SPDX-License-Identifier: Apache-2.0
"""Four services under load, one Prometheus, one Alertmanager, and who was paged for what.

Why it exists: from a frame on the wrong connection to a person's pager it is five programs, and
each is configured by somebody. So they run as a team would run them, with the committed rules and
routing, and each account (the clients', the pager's, Prometheus', the agent's) is held against the
others.

It must never leave a process behind.
"""

from __future__ import annotations

import calendar
import contextlib
import json
import re
import signal
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from examples.stack import parts
from tests.real.receivers import listening
from tests.real.world import SECOND, eventually
from tests.requirements import require_binary

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

USERS = 6
PATIENCE = 60.0  # seconds; what is waited for takes a third of it
# In a copy of the rules: a missing agent is told after five minutes, which no test can wait. A new
# one needs up to three scrapes to be there: none without a heartbeat, none with the first only.
MISSING_FOR = "15s"
# What is waited for; whether it came is for the tests to say.
EXPECTED = (
    ("leaky", "WsAuditLeakConfirmed"),
    ("killed", "WsAuditLeakConfirmed"),
    ("gone", "WsAuditAgentMissing"),
)


@dataclass(frozen=True)
class Page:
    """One alert as it came to a receiver of Alertmanager's."""

    ns: int
    receiver: str
    labels: dict[str, str]
    fired_ns: int


@dataclass
class Pager:
    """What came by Alertmanager, and by each agent's own webhook."""

    port: int = 0
    pages: list[Page] = field(default_factory=list)
    pushed: dict[str, list[tuple[int, dict[str, Any]]]] = field(default_factory=dict)

    def take(self, path: str, content: bytes) -> None:
        now, body = time.time_ns(), json.loads(content)
        if "alerts" not in body:
            self.pushed.setdefault(path.strip("/"), []).append((now, body))
            return
        for alert in body["alerts"]:
            if alert["status"] == "firing":
                fired = _nanoseconds(alert["startsAt"])
                self.pages.append(Page(now, body["receiver"], alert["labels"], fired))

    def told(self, job: str) -> set[str]:
        """The alerts somebody was told of, of one job."""
        return {page.labels["alertname"] for page in self.pages if page.labels.get("job") == job}

    def page(self, job: str, alert: str) -> Page | None:
        return next(
            (
                page
                for page in self.pages
                if (page.labels["alertname"], page.labels.get("job")) == (alert, job)
            ),
            None,
        )


def _nanoseconds(text: str) -> int:
    """RFC 3339 as Alertmanager writes it: UTC, any number of digits."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    seconds = calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S"))
    return seconds * SECOND + int(fraction.ljust(9, "0"))


@dataclass
class Job:
    """A service with its clients. `metrics_port` 0: its own page has the agent's metrics."""

    name: str
    folder: Path
    webhook_port: int
    port: int
    metrics_port: int
    users: dict[str, str] = field(default_factory=dict)
    service: parts.Part | None = None
    clients: parts.Part | None = None
    said: list[dict[str, Any]] = field(default_factory=list)  # by the clients

    @property
    def store(self) -> Path:
        return self.folder / "trace"

    @property
    def target(self) -> tuple[int, str]:
        return (self.metrics_port, "/metrics") if self.metrics_port else (self.port, "/metrics/")

    def serve(self, *, audited: bool = True) -> parts.Part:
        """Begin, or begin again at the same place."""
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "ws-audit.toml"
        url = f"http://{parts.HOST}:{self.webhook_port}/{self.name}"
        config.write_text(f'[push]\nwebhook = "{url}"\n')
        settings = {
            "WS_AUDIT_ENABLED": "1" if audited else "0",
            "WS_AUDIT_CONFIG": str(config),
            "WS_AUDIT_TRACE_DIR": str(self.store),
            "OTEL_SERVICE_NAME": self.name,
        }
        if self.metrics_port:
            settings["WS_AUDIT_METRICS_ADDR"] = f"{parts.HOST}:{self.metrics_port}"
        self.service = parts.chat(self.folder, self.port, self.users, settings)
        return self.service

    def answers(self) -> None:
        assert self.service is not None
        parts.await_page(self.service, f"http://{parts.HOST}:{self.port}/health")

    def rush(self) -> None:
        """Clients, for as long as the scene lasts."""
        clients = self.clients = parts.load(self.folder, self.port, self.users)

        def read() -> None:
            for line in clients.lines():
                self.said.append(json.loads(line))

        threading.Thread(target=read, daemon=True).start()

    def slip(self) -> dict[str, Any]:
        """One frame goes astray; answers as soon as its client has it."""
        parts.ask(f"http://{parts.HOST}:{self.port}/slip", post=True)
        frame: dict[str, Any] = eventually(
            "a client has somebody else's words",
            10,
            lambda: next((each for each in self.said if "owner" in each), None),
        )
        return frame

    def alarms(self) -> list[dict[str, Any]]:
        """The agent's JSON lines in the service's log."""
        log = (self.folder / "chat.log").read_text()
        return [json.loads(line) for line in log.splitlines() if line.startswith("{")]

    def end(self) -> None:
        for part in (self.clients, self.service):
            if part is not None:
                part.stop()


@dataclass(frozen=True)
class Prometheus:
    port: int

    def ask(self, path: str, **parameters: str) -> Any:
        url = f"http://{parts.HOST}:{self.port}/api/v1/{path}?{urlencode(parameters)}"
        return json.loads(parts.ask(url))["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("query", query=expression)["result"]
        return found

    def value(self, expression: str) -> float:
        """The sum; 0 if there is nothing."""
        return sum(float(each["value"][1]) for each in self.query(expression))


@dataclass
class Scene:
    """All of it, and what each scenario wrote down."""

    pager: Pager
    prometheus: Prometheus
    alertmanager: int  # its port
    jobs: dict[str, Job]
    ends: contextlib.ExitStack
    frames: dict[str, dict[str, Any]] = field(default_factory=dict)  # the leaked one, by job
    scraped: float = -1.0  # violations Prometheus had seen of the killed worker at its end
    alarms: list[dict[str, Any]] = field(default_factory=list)  # in the killed worker's log then
    restarted_ns: int = 0


@contextlib.contextmanager
def scene(folder: Path) -> Iterator[Scene]:
    """Everything runs, and has been scraped twice."""
    for each in ("prometheus", "prometheus-alertmanager"):
        require_binary(each)
    pager = Pager()
    with contextlib.ExitStack() as ends:
        pager.port = ends.enter_context(listening(pager.take))
        later = parts.free_port()  # nobody listens there when the worker dies
        jobs = {
            name: Job(
                name,
                folder / name,
                later if name == "killed" else pager.port,
                parts.free_port(),
                0 if name == "gone" else parts.free_port(),
                {f"{name}-token-{n}": f"{name}-user-{n}" for n in range(USERS)},
            )
            for name in ("leaky", "killed", "gone", "clean")
        }
        alerts = parts.free_port()
        routing = parts.alertmanager_config(pager.port)
        ends.callback(parts.alertmanager(folder, alerts, routing).stop)
        targets = {name: job.target for name, job in jobs.items()}
        config = parts.prometheus_config(shortened(folder), alerts, targets)
        server = Prometheus(parts.free_port())
        running = parts.prometheus(folder, server.port, config)
        ends.callback(running.stop)
        for job in jobs.values():
            ends.callback(job.end)
            job.serve()
        for job in jobs.values():
            job.answers()
            job.rush()
        parts.await_page(running, f"http://{parts.HOST}:{server.port}/-/ready")
        seen = "count(count_over_time(ws_audit_build_info[5m]) >= 2)"
        eventually("all are scraped twice", 30, lambda: server.value(seen) == len(jobs))
        yield Scene(pager, server, alerts, jobs, ends)


def shortened(folder: Path) -> Path:
    """The committed rules; a missing agent is missed sooner. The leak rules are as they are."""
    rules = parts.RULES.read_text()
    changed, count = re.subn(
        r"(?s)(- alert: WsAuditAgentMissing\n.*?\n +for: )\S+", rf"\g<1>{MISSING_FOR}", rules
    )
    assert count == 1
    copy = folder / "rules.yml"
    copy.write_text(changed)
    return copy


def play(played: Scene) -> None:
    """One leak; one leak and a SIGKILL; one redeployment without the agent; and nothing."""
    redeploy(played)  # what takes longest to be told comes first
    kill(played)
    played.frames["leaky"] = played.jobs["leaky"].slip()
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if all(played.pager.page(*each) for each in EXPECTED):
            break
        time.sleep(0.05)
    for job in played.jobs.values():
        assert job.clients is not None
        job.clients.stop()


def kill(played: Scene) -> None:
    """SIGKILL at the leaked frame, with no scrape in between; the pager is down for a moment."""
    job, server = played.jobs["killed"], played.prometheus
    last = 'timestamp(up{job="killed"})'
    before = server.value(last)
    eventually("a scrape has just been", 10, lambda: server.value(last) > before)
    frame = job.slip()
    assert job.service is not None
    job.service.kill()
    assert job.service.process.returncode == -signal.SIGKILL
    played.frames["killed"] = frame
    played.alarms = job.alarms()
    played.scraped = server.value('sum(max_over_time(ws_audit_violations_total{job="killed"}[5m]))')
    played.ends.enter_context(listening(played.pager.take, job.webhook_port))
    played.restarted_ns = time.time_ns()
    job.serve()
    job.answers()


def redeploy(played: Scene) -> None:
    """The new version answers at the same place, and nobody has set the variable."""
    job = played.jobs["gone"]
    assert job.service is not None
    job.service.stop()
    job.serve(audited=False)
    job.answers()
