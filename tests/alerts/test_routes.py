# SPDX-License-Identifier: Apache-2.0
"""Who is told: every alert by Alertmanager's own amtool, inhibitions by an Alertmanager itself."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

import pytest

from tests.alerts.promtool import ROOT, TESTS, read
from tests.real.world import eventually, get
from tests.requirements import require_binary
from ws_audit.grafana.alertmanager import sample
from ws_audit.grafana.alerts import alerts
from ws_audit.tools.demo_stage import HOST, free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONFIG = ROOT / "grafana" / "alertmanager" / "alertmanager.yml"
PAGE, HOURS, TICKET = "ws-audit-page", "ws-audit-page-in-hours", "ws-audit-tickets"

# As they come from Prometheus: every set of labels that its rules' tests have seen fire.
TOLD = {
    "WsAuditLeakConfirmed": {PAGE},
    "WsAuditLeakSuspected": {HOURS, TICKET},
    "WsAuditIncidentOpen": {HOURS},
    "WsAuditAgentMissing": {PAGE},
    "WsAuditHeartbeatStale": {PAGE, TICKET},
    "WsAuditSelfTestStale": {PAGE},
    "WsAuditUnjudgedTraffic": {TICKET},
    "WsAuditTargetsFailed": {PAGE, HOURS, TICKET},
    "WsAuditRecordsDropped": {HOURS, TICKET},
    "WsAuditImplementationsDiffer": {TICKET},
}


def amtool(*arguments: str) -> str:
    done = subprocess.run(
        [require_binary("amtool"), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def receiver(labels: dict[str, str]) -> str:
    words = [f"{label}={value}" for label, value in labels.items()]
    return amtool("config", "routes", "test", f"--config.file={CONFIG}", *words).strip()


def fired() -> dict[str, list[dict[str, str]]]:
    """Alert -> the labels it fires with, one set for each severity."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    for file in TESTS:
        for sample_ in re.findall(
            r"ALERTS\{(alertname=[^}]*)\}'", file.read_text(encoding="utf-8")
        ):
            labels = dict(re.findall(r'(\w+)="([^"]*)"', sample_))
            found.setdefault(labels["alertname"], {})[labels["severity"]] = labels
    return {name: list(them.values()) for name, them in found.items()}


def test_the_committed_routes_are_what_is_made() -> None:
    assert sample() == CONFIG.read_text(encoding="utf-8")


def test_they_are_well_formed() -> None:
    assert "SUCCESS" in amtool("check-config", str(CONFIG))


def test_a_test_for_each_alert() -> None:
    assert set(TOLD) == {alert.name for alert in alerts()} == set(fired())


@pytest.mark.parametrize("name", TOLD)
def test_each_alert_reaches_who_deals_with_it(name: str) -> None:
    seen = {labels["severity"]: receiver(labels) for labels in fired()[name]}

    wanted = {"page": PAGE, "page_in_hours": HOURS, "ticket": TICKET}
    assert seen == {severity: wanted[severity] for severity in seen}
    assert set(seen.values()) == TOLD[name]


def test_what_is_not_ours_goes_elsewhere() -> None:
    assert receiver({"alertname": "DiskFull", "severity": "page", "job": "chat"}) == "others"
    assert receiver({"alertname": "NotWsAudit", "severity": "ticket"}) == "others"


def test_an_unknown_severity_is_not_lost() -> None:
    assert receiver({"alertname": "WsAuditLeakConfirmed", "severity": "sev1"}) == TICKET


def routes(route: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield route
    for below in route.get("routes", []):
        yield from routes(below)


def test_a_leak_waits_for_nothing_and_working_hours_mute_no_page() -> None:
    ours = list(routes(read(CONFIG)["route"]))
    (leak,) = [it for it in ours if it["receiver"] == PAGE and it.get("group_by")]

    assert leak["group_wait"] == "0s"
    assert leak["group_by"] == ["job", "rule"]
    for route in ours:
        assert ("active_time_intervals" in route) == (route["receiver"] == HOURS)
        assert "mute_time_intervals" not in route


def test_no_address_leads_anywhere() -> None:
    urls = re.findall(r"url: (\S+)", sample())

    assert len(urls) == 3
    assert all(url.startswith("http://placeholder.invalid/") for url in urls)


# --- inhibition, which amtool does not know ---------------------------------------------------


@contextlib.contextmanager
def alertmanager(folder: Path) -> Iterator[str]:
    binary = shutil.which("prometheus-alertmanager") or require_binary("alertmanager")
    (port,) = free_ports(1)
    with (folder / "alertmanager.log").open("wb") as log:
        process = subprocess.Popen(
            [
                binary,
                f"--config.file={CONFIG}",
                f"--storage.path={folder / 'data'}",
                f"--web.listen-address={HOST}:{port}",
                "--cluster.listen-address=",
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            url = f"http://{HOST}:{port}"
            eventually("Alertmanager is ready", 20, lambda: _ready(process, url))
            yield url
        finally:
            process.kill()
            process.wait()


def _ready(process: subprocess.Popen[bytes], url: str) -> bool:
    assert process.poll() is None, "Alertmanager has ended: see alertmanager.log"
    with contextlib.suppress(OSError):
        return bool(get(f"{url}/-/ready"))
    return False


def test_a_sure_leak_silences_its_lesser_signs_and_nothing_else(tmp_path: Path) -> None:
    def leak(name: str, job: str, rule: str, severity: str) -> dict[str, Any]:
        labels = {"alertname": name, "job": job, "rule": rule, "severity": severity}
        return {"labels": labels}

    def other(name: str, job: str, severity: str) -> dict[str, Any]:
        return {"labels": {"alertname": name, "job": job, "severity": severity}}

    posted = [
        leak("WsAuditLeakConfirmed", "chat", "canary", "page"),
        leak("WsAuditLeakSuspected", "chat", "canary", "page_in_hours"),
        leak("WsAuditLeakSuspected", "chat", "rebound_connection", "page_in_hours"),
        leak("WsAuditLeakSuspected", "bot", "canary", "ticket"),
        other("WsAuditIncidentOpen", "chat", "page_in_hours"),
        other("WsAuditIncidentOpen", "bot", "page_in_hours"),
        other("WsAuditAgentMissing", "chat", "page"),
        other("WsAuditUnjudgedTraffic", "chat", "ticket"),
    ]
    with alertmanager(tmp_path) as url:
        request = Request(
            f"{url}/api/v2/alerts",
            json.dumps(posted).encode(),
            {"Content-Type": "application/json"},
        )
        with urlopen(request, timeout=10) as answer:
            assert answer.status == 200

        def inhibited() -> Any:
            found = json.loads(get(f"{url}/api/v2/alerts"))
            states = {it["status"]["state"] for it in found}
            if len(found) < len(posted) or "unprocessed" in states:
                return None
            return [it["labels"] for it in found if it["status"]["inhibitedBy"]]

        silent = eventually("all are worked off", 20, inhibited)

    assert sorted((it["alertname"], it["job"], it.get("rule")) for it in silent) == [
        ("WsAuditIncidentOpen", "chat", None),
        ("WsAuditLeakSuspected", "chat", "canary"),
    ]
