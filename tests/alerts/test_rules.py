# SPDX-License-Identifier: Apache-2.0
"""The alert rules, by Prometheus' own promtool: well formed, and firing when and only when."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.requirements import require_binary
from ws_audit import schema
from ws_audit.grafana.alerts import alerts
from ws_audit.grafana.prometheus import rules

PROMETHEUS = Path(__file__).parents[2] / "grafana" / "prometheus"
RULES = PROMETHEUS / "ws_audit.rules.yml"
TESTS = sorted(PROMETHEUS.glob("*.test.yml"))

ALERTS = {
    "WsAuditLeakConfirmed",
    "WsAuditLeakSuspected",
    "WsAuditAgentMissing",
    "WsAuditUnjudgedTraffic",
}


def promtool(*arguments: str) -> str:
    done = subprocess.run(
        [require_binary("promtool"), *arguments],
        cwd=PROMETHEUS,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


def test_the_committed_rules_are_what_is_made() -> None:
    assert rules(alerts()) == RULES.read_text(encoding="utf-8")


def test_rules_are_well_formed() -> None:
    said = promtool("check", "rules", "--lint=all", "--lint-fatal", RULES.name)

    assert f"{len(ALERTS)} rules found" in said


def test_rules_fire_when_and_only_when() -> None:
    promtool("test", "rules", *(each.name for each in TESTS))


def test_every_alert_is_there_and_under_test() -> None:
    assert set(re.findall(r"alert: (\w+)", RULES.read_text())) == ALERTS
    tested = "".join(each.read_text() for each in TESTS)
    assert set(re.findall(r"alertname: (\w+)", tested)) == ALERTS


def test_every_severity_but_hygiene_is_watched() -> None:
    severities = {severity for permitted in schema.PERMITTED.values() for severity in permitted}
    watched = set(re.findall(r'severity=~?"([\w|]+)",synthetic="false"', RULES.read_text()))

    assert {each for alternatives in watched for each in alternatives.split("|")} == (
        severities - {"hygiene"}
    )


def test_what_to_type_comes_first_in_every_runbook() -> None:
    runbooks = re.findall(r"runbook: \|-\n\s+(.*)\n", RULES.read_text())

    assert runbooks == ["ws-audit review DIR"] * len(ALERTS)
