# SPDX-License-Identifier: Apache-2.0
"""The alert rules, by Prometheus' own promtool: well formed, and firing when and only when."""

from __future__ import annotations

import dataclasses
import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.alerts.promtool import PROMETHEUS, RULES, TESTS, promtool, read
from ws_audit import schema
from ws_audit.grafana.alert import PAGE, PAGE_IN_HOURS, TICKET
from ws_audit.grafana.alerts import alerts
from ws_audit.grafana.prometheus import rules

if TYPE_CHECKING:
    from pathlib import Path

ALERTS = {alert.name: alert for alert in alerts()}
each_alert = pytest.mark.parametrize("name", ALERTS)

# What the issue asks for, of what has its metrics already.
EXPECTED = {
    "WsAuditLeakConfirmed",
    "WsAuditLeakSuspected",
    "WsAuditIncidentOpen",
    "WsAuditAgentMissing",
    "WsAuditHeartbeatStale",
    "WsAuditSelfTestStale",
    "WsAuditUnjudgedTraffic",
    "WsAuditTargetsFailed",
    "WsAuditRecordsDropped",
    "WsAuditImplementationsDiffer",
}


def committed() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for group in read(RULES)["groups"] for rule in group["rules"]}


def test_the_committed_rules_are_what_is_made() -> None:
    assert rules(alerts()) == RULES.read_text(encoding="utf-8")


def test_rules_are_well_formed() -> None:
    code, said = promtool("check", "rules", "--lint=all", "--lint-fatal", RULES.name)

    assert code == 0, said
    assert f"{len(EXPECTED)} rules found" in said


def test_rules_fire_when_and_only_when() -> None:
    with ThreadPoolExecutor(2) as pool:
        for code, said in pool.map(lambda file: promtool("test", "rules", file.name), TESTS):
            assert code == 0, said


def test_every_alert_is_there_and_under_test() -> None:
    assert set(committed()) == set(ALERTS) == EXPECTED
    fired, quiet = set(), 0
    for group in (group for file in TESTS for group in read(file)["tests"]):
        for test in group.get("promql_expr_test", []):
            fired |= set(re.findall(r'alertname="(\w+)"', str(test["exp_samples"])))
            quiet += not test["exp_samples"]
    assert fired == EXPECTED
    read_by = {
        test["alertname"]
        for group in read(PROMETHEUS / "ws_audit.texts.test.yml")["tests"]
        for test in group["alert_rule_test"]
    }
    assert read_by == EXPECTED
    assert quiet > len(EXPECTED)


def test_what_is_written_is_what_was_meant() -> None:
    """The YAML is written by hand; read back it is the alert, word for word."""
    for name, rule in committed().items():
        alert = ALERTS[name]
        assert rule["expr"] == alert.expression + "\n"
        assert rule.get("for") == alert.pending
        assert rule.get("keep_firing_for") == alert.keep_firing
        assert rule["labels"] == alert.labels
        assert rule["annotations"] == {
            "summary": alert.summary,
            "description": alert.description,
            "runbook": alert.runbook,
        }


def test_a_label_with_a_quote_in_it_stays_one(tmp_path: Path) -> None:
    alert = ALERTS["WsAuditLeakConfirmed"]
    labels = {"team": 'it\'s "theirs": #1', "severity": "page"}
    (tmp_path / "one.yml").write_text(rules([dataclasses.replace(alert, labels=labels)]))

    (group,) = read(tmp_path / "one.yml")["groups"]
    assert group["rules"][0]["labels"] == labels


@each_alert
def test_it_says_who_is_to_hear_of_it(name: str) -> None:
    severities = set(re.findall(r"\w+", ALERTS[name].labels["severity"]))

    assert severities & {PAGE, PAGE_IN_HOURS, TICKET}


@each_alert
def test_grafana_is_told_what_no_data_means(name: str) -> None:
    alert = ALERTS[name]

    # A rule whose query is empty while all is well cannot be told from one without data; one that
    # says what it watches can, and one such is enough: no agent anywhere is one cause.
    assert (alert.no_data == "Alerting") == (name == "WsAuditAgentMissing")
    assert (alert.no_data == "Alerting") == (alert.watched is not None)
    assert alert.error == "Alerting"


def test_a_leak_never_waits() -> None:
    leaks = [alert for alert in ALERTS.values() if alert.name.startswith("WsAuditLeak")]

    assert [alert.pending for alert in leaks] == [None, None]
    assert [alert.keep_firing for alert in leaks] == ["1h", "1h"]


def test_every_severity_is_watched() -> None:
    severities = {severity for permitted in schema.PERMITTED.values() for severity in permitted}
    watched = set(re.findall(r'severity=~?"([\w|]+)",synthetic="false"', RULES.read_text()))

    assert {each for alternatives in watched for each in alternatives.split("|")} == severities


def test_every_metric_and_label_value_is_of_the_schema() -> None:
    text = RULES.read_text()

    states = {
        each for some in re.findall(r'\bstate=~?"([\w|]+)"', text) for each in some.split("|")
    }
    assert states == set(schema.TARGET_STATES)
    stages = set(re.findall(r'eq \$labels\.stage "(\w+)"', text))
    assert stages < set(schema.DROP_STAGES)


@pytest.mark.parametrize("job", ["chat|bot", 'a"b\\d', "$job"])
def test_every_selector_is_of_the_jobs_that_are_asked_for(job: str) -> None:
    escaped = job.replace("\\", "\\\\").replace('"', '\\"')
    for alert in alerts(job):
        metrics = re.findall(r"\b(?:up|ws_audit_(?!severity)\w+)\b(?=(.*))", alert.expression)
        assert metrics
        for following in metrics:
            assert following.startswith(f'{{job=~"{escaped}"')


def test_rules_for_some_jobs_are_well_formed_too(tmp_path: Path) -> None:
    (tmp_path / "some.yml").write_text(rules(alerts("chat|bot-.+")))

    code, said = promtool(
        "check", "rules", "--lint=all", "--lint-fatal", "some.yml", folder=tmp_path
    )
    assert code == 0, said


def test_what_is_wrong_is_above_0_for_grafana(tmp_path: Path) -> None:
    """Grafana's condition is "above 0": no arm may give 0 or less where something is wrong."""
    groups = read(PROMETHEUS / "ws_audit.texts.test.yml")["tests"]
    for group in groups:
        (told,) = group.pop("alert_rule_test")
        asked = {"eval_time": told["eval_time"], "exp_samples": []}
        expression = ALERTS[told["alertname"]].expression
        group["promql_expr_test"] = [asked | {"expr": f"({expression}) <= 0"}]
    (tmp_path / "zero.yml").write_text(json.dumps({"evaluation_interval": "1m", "tests": groups}))

    code, said = promtool("test", "rules", "zero.yml", folder=tmp_path)
    assert code == 0, said


def test_what_is_well_is_0_for_grafana_where_no_data_is_an_alarm() -> None:
    missing = ALERTS["WsAuditAgentMissing"]

    assert missing.graded.endswith(f"({missing.watched}) * 0")
    assert missing.expression in missing.graded
    for alert in ALERTS.values():
        assert alert.watched or alert.graded == alert.expression
