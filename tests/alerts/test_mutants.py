# SPDX-License-Identifier: Apache-2.0
"""Every rule, broken in every place in turn: each time a test of the rules has to fail.

All mutants of an alert are evaluated together, under names of their own, against one situation
after the other; who has been found out drops out.
"""

from __future__ import annotations

import dataclasses
import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.alerts.mutants import mutants
from tests.alerts.promtool import TESTS, promtool, read
from ws_audit.grafana.alert import Alert, Group
from ws_audit.grafana.alerts import alerts
from ws_audit.grafana.prometheus import rules

if TYPE_CHECKING:
    from pathlib import Path

ALERTS = {alert.name: alert for alert in alerts()}
_METRIC = re.compile(r"\b(?:up|ws_audit_\w+)\b")
_EVERYONE = re.compile(r"ALERTS(?:\{([^}]*)\})?")


def situations(alert: Alert) -> list[tuple[str, dict[str, Any]]]:
    """Evaluation interval and test group, of its own and of those in which all is quiet.

    The shortest come first: who is found out there need not be tried for hours.
    """
    asked = set(_METRIC.findall(alert.expression))
    found = []
    for file in map(read, TESTS):
        groups = [group for group in file["tests"] if "promql_expr_test" in group]
        if any(alert.name in _expected(group) for group in groups):
            found += [
                (file["evaluation_interval"], group)
                for group in groups
                if alert.name in _expected(group)
                or (not _expected(group) and asked & _given(group))
            ]
    return sorted(found, key=lambda it: _minutes(it[1]))


def _expected(group: dict[str, Any]) -> set[str]:
    return set(re.findall(r'alertname="(\w+)"', str(group["promql_expr_test"])))


def _given(group: dict[str, Any]) -> set[str]:
    return {name for it in group["input_series"] for name in _METRIC.findall(it["series"])}


def _minutes(group: dict[str, Any]) -> int:
    times = [re.findall(r"(\d+)([hm])", test["eval_time"]) for test in group["promql_expr_test"]]
    return max(sum(int(n) * {"h": 60, "m": 1}[unit] for n, unit in time) for time in times)


def survivors(alert: Alert, changed: dict[str, Alert], folder: Path) -> set[str]:
    """The names of those that behave in every situation as the alert should."""
    alive = set(changed)
    for number, (interval, group) in enumerate(situations(alert)):
        here = folder / f"{alert.name}.{number}"
        again = True
        while alive and again:
            told, again = _play(
                alert.name, {name: changed[name] for name in alive}, interval, group, here
            )
            alive -= told
    return alive


def _play(
    original: str, changed: dict[str, Alert], interval: str, group: dict[str, Any], here: Path
) -> tuple[set[str], bool]:
    """Those that did not behave as the original should; whether others were not looked at."""
    here.mkdir(exist_ok=True)
    silent = [
        dataclasses.replace(alert, group=Group("mutants"), name=name, remark="")
        for name, alert in changed.items()
    ]
    (here / "rules.yml").write_text(rules(silent), encoding="utf-8")
    asked = [_asked(original, name, test) for test in group["promql_expr_test"] for name in changed]
    test = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": interval,
        "tests": [group | {"promql_expr_test": asked, "alert_rule_test": []}],
    }
    (here / "one.test.yml").write_text(json.dumps(test), encoding="utf-8")  # JSON is YAML
    code, said = promtool("test", "rules", "one.test.yml", folder=here)
    failed = set(re.findall(r"rule: (\w+__\d+)", said))  # it cannot even be evaluated
    told = failed or set(re.findall(r"alertname=\W+(\w+__\d+)", said))
    assert bool(told) == bool(code), said[:2000]
    return told, bool(failed)


def _asked(original: str, name: str, test: dict[str, Any]) -> dict[str, Any]:
    """What a test asks of all alerts, asked of one."""

    def one(place: re.Match[str]) -> str:
        return f'ALERTS{{alertname="{name}"{"," + place.group(1) if place.group(1) else ""}}}'

    return {
        "expr": _EVERYONE.sub(one, test["expr"]),
        "eval_time": test["eval_time"],
        "exp_samples": [
            sample | {"labels": sample["labels"].replace(f'"{original}"', f'"{name}"')}
            for sample in test["exp_samples"]
            if f'alertname="{original}"' in sample["labels"]
        ],
    }


def changes(alert: Alert) -> list[tuple[str, Alert]]:
    """Its mutants; what the weaker leaks' rule shares with the sure ones' is tried there."""
    sure = ALERTS["WsAuditLeakConfirmed"]
    found = list(mutants(alert))
    if alert.name != "WsAuditLeakSuspected":
        return found
    assert alert.expression.replace('=~"probable|suspected|hygiene"', '="confirmed"') == (
        sure.expression
    )
    return [(what, each) for what, each in found if not what.startswith("line")]


@pytest.mark.timeout(400)  # some twenty seconds of two cores, which may have others to serve
def test_each_change_of_each_alert_is_noticed(tmp_path: Path) -> None:
    changed = {name: changes(alert) for name, alert in ALERTS.items()}

    def alive(name: str) -> set[str]:
        named = {f"{name}__{n}": each for n, (_, each) in enumerate(changed[name])}
        left = survivors(ALERTS[name], named, tmp_path)
        return {f"{name}: {changed[name][int(it.rpartition('__')[2])][0]}" for it in left}

    with ThreadPoolExecutor(2) as pool:  # it is promtool that works
        unnoticed = set().union(*pool.map(alive, ALERTS))

    print(f"{sum(map(len, changed.values()))} changes of {len(ALERTS)} alerts")
    assert unnoticed == set()
    assert min(map(len, changed.values())) >= 10


def test_an_alert_that_was_not_changed_survives(tmp_path: Path) -> None:
    """Else the test above would be passed by whatever breaks promtool."""
    alert = ALERTS["WsAuditIncidentOpen"]
    same = {f"{alert.name}__0": alert}

    assert survivors(alert, same, tmp_path) == set(same)
