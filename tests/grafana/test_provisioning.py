# SPDX-License-Identifier: Apache-2.0
"""The provisioning files, by the rules of Grafana that can be known without a Grafana."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.grafana.made import COMMITTED, files
from tests.grafana.test_answers import promtool
from ws_audit.grafana.alert import PAGE, PAGE_IN_HOURS, TICKET, Alert
from ws_audit.grafana.alertmanager import RECEIVERS
from ws_audit.grafana.alerts import alerts
from ws_audit.grafana.dashboards import DASHBOARDS
from ws_audit.grafana.options import Options
from ws_audit.grafana.provisioning import escaped

if TYPE_CHECKING:
    from pathlib import Path

ALERTS = {alert.name: alert for alert in alerts()}
RULES = "provisioning/alerting/ws_audit_rules.yml"
SOURCES = "provisioning/datasources/ws_audit.yml"
POINTS = "provisioning/alerting-samples/contact_points.yml"
POLICIES = "provisioning/alerting-samples/notification_policies.yml"

every_alert = pytest.mark.parametrize("name", ALERTS)


def read(path: str) -> Any:
    return yaml.safe_load(files()[path])


def groups() -> list[Any]:
    found: list[Any] = read(RULES)["groups"]
    return found


def rule(name: str) -> Any:
    (found,) = (each for group in groups() for each in group["rules"] if each["title"] == name)
    return found


def expanded(text: str, **environment: str) -> str:
    """A text as Grafana reads it: `$$` is a dollar, what else begins with one is a variable."""
    return "$".join(
        re.sub(
            r"\$(?:\{(\w+)\}|(\w+))",
            lambda found: environment.get(found[1] or found[2], ""),
            part,
        )
        for part in text.split("$$")
    )


# --- alert rules ----------------------------------------------------------------------------------


def test_every_alert_is_a_rule_in_a_group_grafana_can_evaluate() -> None:
    assert read(RULES)["apiVersion"] == 1
    titles = [each["title"] for group in groups() for each in group["rules"]]
    assert sorted(titles) == sorted(ALERTS)
    assert len({group["name"] for group in groups()}) == len(groups())
    for group in groups():
        assert set(group) == {"orgId", "name", "folder", "interval", "rules"}
        # Grafana refuses what is no multiple of its base interval.
        assert int(re.fullmatch(r"(\d+)s", group["interval"])[1]) % 10 == 0  # type: ignore[index]
    uids = [each["uid"] for group in groups() for each in group["rules"]]
    assert len(set(uids)) == len(uids)
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,40}", each) for each in uids)


@every_alert
def test_a_rule_asks_what_the_alert_asks(name: str) -> None:
    alert, found = ALERTS[name], rule(name)
    query, condition = found["data"]

    assert query["model"]["expr"] == alert.graded
    assert (query["model"]["instant"], query["model"]["range"]) == (True, False)
    assert query["datasourceUid"] == Options().prometheus_uid
    assert (query["refId"], query["model"]["refId"]) == ("A", "A")
    # The threshold is what decides, and it looks at the query: anything above 0 is wrong.
    assert found["condition"] == condition["refId"] == condition["model"]["refId"] == "B"
    assert condition["datasourceUid"] == "__expr__"
    assert condition["model"]["type"] == "threshold"
    assert condition["model"]["expression"] == "A"
    (only,) = condition["model"]["conditions"]
    assert only["evaluator"] == {"type": "gt", "params": [0]}
    for each in found["data"]:
        assert set(each["relativeTimeRange"]) == {"from", "to"}


def test_what_is_wrong_is_above_zero_and_what_is_watched_is_not(tmp_path: Path) -> None:
    """In every situation of the rules' own tests: the threshold sees what Prometheus sees."""
    tests = []
    for path in sorted((COMMITTED / "prometheus").glob("*.test.yml")):
        for situation in yaml.safe_load(path.read_text())["tests"]:
            times = {
                each["eval_time"]
                for kind in ("alert_rule_test", "promql_expr_test")
                for each in situation.get(kind, ())
            }
            asked = [
                {"expr": expr, "eval_time": time, "exp_samples": []}
                for alert in ALERTS.values()
                for expr in (
                    f"({alert.expression}) <= 0",
                    f"(({alert.graded}) > 0) unless ({alert.expression})",
                    f"({alert.expression}) unless (({alert.graded}) > 0)",
                )
                for time in sorted(times)[:: max(1, len(times) // 2)]  # two or three of them
            ]
            tests.append(
                {
                    "interval": situation["interval"],
                    "input_series": situation["input_series"],
                    "promql_expr_test": asked,
                }
            )
    assert len(tests) > 10
    assert promtool(tmp_path, tests) == ""


@every_alert
def test_a_rule_waits_and_stays_as_the_alert_does(name: str) -> None:
    alert, found = ALERTS[name], rule(name)

    assert found["for"] == (alert.pending or "0s")
    assert found.get("keepFiringFor") == alert.keep_firing
    if alert.keep_firing:
        (group,) = (each for each in groups() if found in each["rules"])
        stays = found["missing_series_evals_to_resolve"] * int(group["interval"][:-1])
        assert f"{stays // 3600}h" == alert.keep_firing


@every_alert
def test_no_data_and_errors_are_decided_on_purpose(name: str) -> None:
    alert, found = ALERTS[name], rule(name)

    assert found["noDataState"] == alert.no_data
    assert found["execErrState"] == alert.error == "Alerting"
    assert alert.no_data in ("OK", "Alerting")
    # Where no data is an alert, data must be there while all is well.
    assert (alert.no_data == "Alerting") == (alert.watched is not None)


def test_no_data_of_a_leak_is_no_alert_and_of_a_missing_agent_is_one() -> None:
    assert rule("WsAuditLeakConfirmed")["noDataState"] == "OK"
    assert rule("WsAuditAgentMissing")["noDataState"] == "Alerting"


@every_alert
def test_the_environment_takes_nothing_away(name: str) -> None:
    """Whatever Grafana expands, and however its version does it."""
    found = rule(name)
    for text in (*found["labels"].values(), *found["annotations"].values()):
        assert expanded(text) == text
        assert "$" not in text
    assert found["labels"].keys() == ALERTS[name].labels.keys()
    assert found["annotations"]["summary"]
    assert found["annotations"]["runbook"].startswith("ws-audit ")
    for template in re.findall(r"{{(.*?)}}", str(found["annotations"])):
        assert not re.search(r"[$]|\blabels\b", template)


def test_a_template_keeps_its_meaning() -> None:
    template = '{{ if eq $labels.severity "probable" }}{{ $value | humanizePercentage }}{{ end }}'
    assert escaped(template) == (
        '{{ if eq .Labels.severity "probable" }}{{ .Values.A.Value | humanizePercentage }}{{ end }}'
    )
    for template in ("{{ with $labels.a }}{{ $labels.b }}{{ end }}", "costs $5", "{{ $other }}"):
        with pytest.raises(ValueError, match="Grafana"):
            escaped(template)


@every_alert
def test_a_rule_links_to_a_page_that_exists(name: str) -> None:
    found = rule(name)
    assert found["dashboardUid"] == found["annotations"]["__dashboardUid__"]
    assert str(found["panelId"]) == found["annotations"]["__panelId__"] == "1"
    assert found["dashboardUid"] in {page.uid for page in DASHBOARDS}


# --- data sources ---------------------------------------------------------------------------------


def test_an_exemplar_leads_to_its_trace_and_a_trace_to_its_counters() -> None:
    prometheus, tempo, clickhouse = read(SOURCES)["datasources"]

    (link,) = prometheus["jsonData"]["exemplarTraceIdDestinations"]
    assert link["name"] == "trace_id"  # the label the agent's exemplars have
    assert link["datasourceUid"] == tempo["uid"]
    back = tempo["jsonData"]["tracesToMetrics"]
    assert back["datasourceUid"] == prometheus["uid"]
    (query,) = back["queries"]
    assert expanded(query["query"]) == "sum(increase(ws_audit_violations_total{$__tags}[5m]))"
    assert {tag["value"] for tag in back["tags"]} <= {"manager", "rule"}
    assert clickhouse["type"] == "grafana-clickhouse-datasource"
    assert clickhouse["jsonData"]["traces"]["defaultTable"] == "otel_traces"


def test_no_address_and_no_password_is_written_down() -> None:
    text = files()[SOURCES]
    sources = read(SOURCES)["datasources"]
    secrets = [each for source in sources for each in source.get("secureJsonData", {}).values()]
    assert secrets
    addresses = [source["url"] for source in sources if "url" in source]
    for value in (*secrets, *addresses, sources[2]["jsonData"]["host"]):
        assert re.fullmatch(r"\$WS_AUDIT_\w+", value)
        # Each is named where somebody looks first.
        assert value[1:] in text.partition("apiVersion")[0]


def test_dashboards_are_where_the_provider_looks() -> None:
    (provider,) = read("provisioning/dashboards/ws_audit.yml")["providers"]
    assert provider["options"]["path"] == Options().dashboards
    assert provider["type"] == "file"


# --- samples --------------------------------------------------------------------------------------


def test_samples_are_where_grafana_does_not_read_by_itself() -> None:
    """A policy replaces all others, and a contact point without an address stops Grafana."""
    read_by_itself = ("datasources", "plugins", "dashboards", "alerting", "access-control")
    for path in (POINTS, POLICIES):
        assert os.path.dirname(path).rpartition("/")[2] not in read_by_itself  # noqa: PTH120
    for path, text in files().items():
        if os.path.dirname(path).endswith("/alerting"):  # noqa: PTH120
            assert not {"contactPoints", "policies", "muteTimes"} & set(yaml.safe_load(text))


def test_every_route_has_its_receiver_and_its_hours() -> None:
    points = {point["name"] for point in read(POINTS)["contactPoints"]}
    document = read(POLICIES)
    (policy,) = document["policies"]
    (ours,) = policy["routes"]
    hours = {each["name"] for each in document["muteTimes"]}

    assert points == set(RECEIVERS.values())
    assert ours["receiver"] == RECEIVERS[TICKET]
    for route in ours["routes"]:
        *_, (label, operator, severity) = route["object_matchers"]
        assert (label, operator) == ("severity", "=")
        assert route["receiver"] == RECEIVERS[severity]
        muted = set(route.get("mute_time_intervals", ()))
        assert muted == (hours if severity == PAGE_IN_HOURS else set())


def routed(labels: dict[str, str]) -> Any:
    """The first route that takes these labels, as Grafana chooses."""
    (policy,) = read(POLICIES)["policies"]
    found = policy
    while True:
        inner = next(
            (
                route
                for route in found.get("routes", ())
                if all(
                    re.fullmatch(value, labels.get(label, ""))
                    if operator == "=~"
                    else labels.get(label) == value
                    for label, operator, value in route["object_matchers"]
                )
            ),
            None,
        )
        if inner is None:
            return found
        found = inner


def test_a_leak_waits_for_nothing_and_what_is_not_ours_goes_elsewhere() -> None:
    sure = routed({"alertname": "WsAuditLeakConfirmed", "severity": PAGE})
    assert (sure["receiver"], sure["group_wait"]) == (RECEIVERS[PAGE], "0s")
    blind = routed({"alertname": "WsAuditAgentMissing", "severity": PAGE})
    assert blind["receiver"] == RECEIVERS[PAGE]
    likely = routed({"alertname": "WsAuditLeakSuspected", "severity": PAGE_IN_HOURS})
    assert (likely["receiver"], likely["group_wait"]) == (RECEIVERS[PAGE_IN_HOURS], "0s")
    assert likely["mute_time_intervals"]
    open_ = routed({"alertname": "WsAuditIncidentOpen", "severity": PAGE_IN_HOURS})
    assert open_["receiver"] == RECEIVERS[PAGE_IN_HOURS]
    for severity in (TICKET, "whatever"):
        ticket = routed({"alertname": "WsAuditRecordsDropped", "severity": severity})
        assert ticket["receiver"] == RECEIVERS[TICKET]
    theirs = routed({"alertname": "DiskFull", "severity": PAGE})
    assert theirs["receiver"] == "grafana-default-email"


def test_outside_working_hours_is_all_that_is_not_working_hours() -> None:
    (outside,) = read(POLICIES)["muteTimes"]
    minutes = set()
    for interval in outside["time_intervals"]:
        days = {"saturday", "sunday"} & set(interval["weekdays"])
        if interval["weekdays"] == ["monday:friday"]:
            days = {"monday"}
        for each in interval.get("times", [{"start_time": "00:00", "end_time": "24:00"}]):
            begin, end = (
                int(text[:2]) * 60 + int(text[3:])
                for text in (each["start_time"], each["end_time"])
            )
            minutes |= {(day, minute) for day in days for minute in range(begin, end)}
    assert {minute for day, minute in minutes if day == "monday"} == {
        *range(9 * 60),
        *range(17 * 60, 24 * 60),
    }
    assert len(minutes) == 2 * 1440 + 16 * 60


def test_an_alert_that_says_nothing_of_no_data_is_none() -> None:
    """The type has no default for it: it cannot be forgotten."""
    with pytest.raises(TypeError, match="no_data"):
        Alert(  # type: ignore[call-arg]
            "WsAuditNew", ALERTS["WsAuditLeakConfirmed"].group, "up", {}, "s", "d", "c", "h"
        )
