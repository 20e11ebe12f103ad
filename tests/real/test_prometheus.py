# SPDX-License-Identifier: Apache-2.0
"""A real Prometheus scrapes the agent, its rules fire, and the exemplar leads to the evidence."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest

from tests.real.world import (
    OPENMETRICS,
    Page,
    Service,
    drive,
    eventually,
    get,
    leaks,
    serve,
    stored,
)
from tests.requirements import CONTRACT, require_binary
from ws_audit.tools.demo_cast import Cast
from ws_audit.tools.demo_stage import HOST, free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parents[2]
RULES = ROOT / "grafana" / "prometheus" / "ws_audit.rules.yml"
CHECK = CONTRACT / "check_metrics.py"
LEAK_ALERTS = {"WsAuditLeakConfirmed", "WsAuditLeakSuspected"}


@dataclass(frozen=True)
class Prometheus:
    port: int

    def ask(self, path: str, **parameters: str) -> Any:
        url = f"http://{HOST}:{self.port}/api/v1/{path}?{urlencode(parameters)}"
        return json.loads(get(url))["data"]

    def value(self, query: str) -> float:
        return sum(float(each["value"][1]) for each in self.ask("query", query=query)["result"])

    def firing(self) -> dict[str, dict[str, str]]:
        """Alerts that fire, by name, with their labels."""
        return {
            alert["labels"]["alertname"]: alert["labels"]
            for alert in self.ask("alerts")["alerts"]
            if alert["state"] == "firing"
        }


@contextlib.contextmanager
def prometheus(
    folder: Path, metrics_port: int, others: Mapping[str, int] | None = None
) -> Iterator[Prometheus]:
    """One that scrapes `chat`, and the jobs in `others` at their ports."""
    binary = require_binary("prometheus")
    (port,) = free_ports(1)
    # The shipped rules as they are, save that a test cannot wait 15 s for an evaluation.
    rules = RULES.read_text()
    assert "interval: 15s" in rules
    rules = rules.replace("interval: 15s", "interval: 1s").replace("for: 15m", "for: 1s")
    (folder / "rules.yml").write_text(rules)
    ports = {"chat": metrics_port, **(others or {})}
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yml"],
        "storage": {"exemplars": {"max_exemplars": 1000}},
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": [f"{HOST}:{at}"]}]}
            for job, at in ports.items()
        ],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                binary,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'tsdb'}",
                f"--web.listen-address={HOST}:{port}",
                "--enable-feature=exemplar-storage",
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            running = Prometheus(port)
            eventually("Prometheus is ready", 20, lambda: _scraped(process, running, len(ports)))
            yield running
        finally:
            process.kill()
            process.wait()


def _scraped(process: subprocess.Popen[bytes], running: Prometheus, targets: int) -> bool:
    assert process.poll() is None, "Prometheus has ended: see prometheus.log"
    with contextlib.suppress(OSError):
        return running.value("up") == targets
    return False


@pytest.mark.parametrize(
    ("defect", "alert", "severity"),
    [
        ("fanout_bug", "WsAuditLeakConfirmed", "confirmed"),
        ("last_socket", "WsAuditLeakSuspected", "probable"),
    ],
)
def test_a_leak_fires_its_alert(tmp_path: Path, defect: str, alert: str, severity: str) -> None:
    # With one witness less, of two that agree.
    config = "" if severity == "confirmed" else '[payload]\nresources = ["of_nothing"]\n'
    with (
        serve(tmp_path / "service", Cast.of(3), defects=defect, config=config) as service,
        prometheus(tmp_path, service.metrics_port) as server,
    ):
        # Before anything has happened every permitted series is there, at 0.
        assert server.value("count(ws_audit_violations_total)") > 0
        assert server.value("sum(ws_audit_violations_total)") == 0
        assert server.firing() == {}

        received = drive(service, runs=1, patience=0.5)
        begun = time.monotonic()
        labels = eventually(f"{alert} fires", 20, lambda: server.firing().get(alert))
        print(f"{alert} {time.monotonic() - begun:.1f} s after the last frame")
        counted = f'sum(ws_audit_violations_total{{severity="{severity}",synthetic="false"}})'
        # The clock is the scrape's; a scrape folds first, so the last one has it all.
        eventually("scraped", 5, lambda: server.value(counted) == len(received.leaked))
        # A clean frame may be the last one, and come after the scrape with the leaks.
        frames = received.result["frames"]
        eventually("all scraped", 5, lambda: server.value("sum(ws_audit_frames_total)") == frames)
        eventually("all judged", 5, lambda: server.value("sum(ws_audit_verdicts_total)") == frames)
        exemplars = eventually(
            "an exemplar is stored", 5, lambda: _exemplars(server, "ws_audit_violations_total")
        )
        assert server.firing().keys() & LEAK_ALERTS == {alert}
        service.stop()
        (rule, *others) = {each["rule"] for each in leaks(service.review())}
        traces = {
            span["traceId"]
            for span in stored(service.store)
            if span["name"] == "ws_audit.violation"
        }

    assert not others
    assert labels["ws_audit_severity"] == severity
    assert labels["rule"] == rule
    assert labels["severity"] == {"confirmed": "page", "probable": "page_in_hours"}[severity]
    assert exemplars <= traces


def _exemplars(server: Prometheus, query: str) -> set[str]:
    found = server.ask(
        "query_exemplars", query=query, start=str(time.time() - 600), end=str(time.time() + 60)
    )
    return {each["labels"]["trace_id"] for series in found for each in series["exemplars"]}


def test_a_clean_run_fires_nothing(tmp_path: Path) -> None:
    with (
        serve(tmp_path / "service", Cast.of(5)) as service,
        prometheus(tmp_path, service.metrics_port) as server,
    ):
        received = drive(service, runs=2, patience=10)
        frames = received.result["frames"]
        eventually("scraped", 5, lambda: server.value("sum(ws_audit_frames_total)") == frames)
        time.sleep(3)  # some evaluations with all of it
        rules = [rule for group in server.ask("rules")["groups"] for rule in group["rules"]]
        assert {rule["health"] for rule in rules} == {"ok"}
        assert {rule["name"] for rule in rules} > LEAK_ALERTS
        assert server.firing() == {}
        assert server.ask("alerts")["alerts"] == []
        assert server.value("ws_audit_last_violation_timestamp_seconds > 0") == 0


# --- the contract ---------------------------------------------------------------------------------


def kept(url: str, *options: str) -> None:
    """Hold a live endpoint against the contract, in both expositions."""
    done = subprocess.run(
        [sys.executable, str(CHECK), url, *options],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "contract kept"), done.stdout + done.stderr


REQUIRED = [
    "ws_audit_instances_created_total",
    "ws_audit_instances_alive",
    "ws_audit_connections_alive",
    "ws_audit_events_sent_total",
    "ws_audit_send_duration_seconds",
    "ws_audit_verdicts_total",
    "ws_audit_unattributed_total",
    "ws_audit_violations_total",
    "ws_audit_last_violation_timestamp_seconds",
    "ws_audit_excused_total",
    "ws_audit_frames_total",
    "ws_audit_targets",
    "ws_audit_backlog_records",
    "ws_audit_agent_cpu_seconds_total",
    "ws_audit_heartbeat_timestamp_seconds",
    "ws_audit_build_info",
    "ws_audit_records_dropped_total",
    "ws_audit_internal_errors_total",
]


def both(url: str) -> list[Page]:
    return [Page(get(url, accept)) for accept in ("text/plain", OPENMETRICS)]


def agree(service: Service, url: str, users: int) -> None:
    """The page keeps the contract before anything happened, and after a leak."""
    kept(url, "--require", *REQUIRED)
    received = drive(service, users, runs=1, patience=0.5)
    kept(url, "--expect-exemplar", "--require", *REQUIRED)
    for page in both(url):
        assert page.balanced() == received.result["frames"]
        assert page.total("ws_audit_violations_total") == len(received.leaked) > 0


def test_the_agents_own_endpoint_keeps_the_contract(tmp_path: Path) -> None:
    with serve(tmp_path, Cast.of(3), defects="fanout_bug") as service:
        agree(service, service.metrics_url, 3)


def test_the_applications_own_page_keeps_the_contract(tmp_path: Path) -> None:
    """No address of ours: the metrics are in the default registry, which the team serves."""
    settings = {"WS_AUDIT_METRICS_ADDR": ""}
    with serve(
        tmp_path, Cast.of(3), app="mounted:app", defects="fanout_bug", settings=settings
    ) as service:
        url = f"http://{HOST}:{service.port}/metrics/"
        assert "metrics in the default registry" in service.said()
        agree(service, url, 3)
        assert all(page.total("team_pages_total") == 1 for page in both(url))
        with pytest.raises(OSError, match="refused"):
            get(service.metrics_url)
