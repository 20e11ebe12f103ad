# SPDX-License-Identifier: Apache-2.0
"""What every panel promises: names of the contract, an answer when red, a meaning when empty."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.grafana.made import GROUPING, MATCHER, METRIC, PANELS, SELECTOR, files
from tests.requirements import CONTRACT
from ws_audit import schema
from ws_audit.grafana.alerts import alerts
from ws_audit.grafana.dashboards import DASHBOARDS
from ws_audit.grafana.dashboards.common import STARTS
from ws_audit.grafana.panels import Series, Spans, Stat, Table
from ws_audit.tools import cli

METRICS: dict[str, Any] = json.loads((CONTRACT / "contract.json").read_text())["metrics"]

# Metrics of the contract that no panel shows, and why.
NOT_SHOWN = {
    "ws_audit_sequence_runs_total": "not in this version",
    "ws_audit_sequence_duration_seconds": "not in this version",
    "ws_audit_events_undelivered_total": "not in this version",
}
# What every scrape adds, and the labels of build_info, which the contract leaves open.
ALSO = {"job", "instance", "le", "version", "mode", "python"}

QUESTIONS = {
    **{
        f"{name} {query.expr[:60]}": query.expr
        for name, panel in PANELS.items()
        for query in panel.queries
    },
    **{alert.name: alert.graded for alert in alerts()},
    "starts": STARTS,
}

every_panel = pytest.mark.parametrize("name", PANELS)


def of_contract(name: str) -> str:
    """The metric a series belongs to."""
    return name if name in METRICS else re.sub(r"_(bucket|sum|count)$", "", name)


def faults(expr: str) -> list[str]:
    """Names and labels in it that the contract has not."""
    names = {of_contract(each) for each in METRIC.findall(expr)}
    strangers = sorted(names - set(METRICS))
    known = ALSO | {label for each in names & set(METRICS) for label in METRICS[each]["labels"]}
    labels = set(MATCHER.findall(expr))
    for group in GROUPING.findall(expr):
        labels |= {label.strip() for label in group.split(",") if label.strip()}
    return strangers + sorted(labels - known)


@pytest.mark.parametrize("question", QUESTIONS)
def test_it_asks_for_names_of_the_contract(question: str) -> None:
    assert faults(QUESTIONS[question]) == []


@pytest.mark.parametrize(
    ("expr", "fault"),
    [
        ("sum(ws_audit_frame_total)", "ws_audit_frame_total"),
        ('ws_audit_frames_total{judge="true"}', "judge"),
        ("sum by (job, ruel) (ws_audit_violations_total)", "ruel"),
        ("up * on (job) group_left (verison) ws_audit_build_info", "verison"),
        ("ws_audit_violations_total_bucket", "ws_audit_violations_total_bucket"),
    ],
)
def test_a_name_the_contract_has_not_is_noticed(expr: str, fault: str) -> None:
    assert fault in faults(expr) or of_contract(fault) != fault


def test_every_metric_is_shown_or_left_out_with_a_reason() -> None:
    shown = {
        of_contract(each)
        for panel in PANELS.values()
        for query in panel.queries
        for each in METRIC.findall(query.expr)
    }
    assert shown | set(NOT_SHOWN) == set(METRICS)
    assert shown & set(NOT_SHOWN) == set()


@every_panel
def test_no_self_test_is_shown_as_a_leak(name: str) -> None:
    for query in PANELS[name].queries:
        for selector in re.findall(r"ws_audit_(?:last_)?violation\w*\{[^}]*\}", query.expr):
            assert 'synthetic="false"' in selector


# What asks for whole jobs: a target without an agent is none that can be chosen.
WHOLE_JOBS = {"up", "ws_audit_build_info", "ws_audit_heartbeat_timestamp_seconds"}


@every_panel
def test_it_asks_for_what_was_chosen(name: str) -> None:
    for query in PANELS[name].queries:
        for selector in SELECTOR.findall(query.expr):
            assert 'job=~"$job"' in selector
            chosen = 'instance=~"$instance"' in selector
            assert chosen or selector.partition("{")[0] in WHOLE_JOBS


@pytest.mark.parametrize("page", DASHBOARDS, ids=lambda page: page.uid)
def test_each_panel_says_what_to_type_and_what_empty_means(page: Any) -> None:
    for panel in page.panels:
        commands = re.findall(r"`ws-audit\s+(\w+)", panel.about)
        assert commands, panel.title
        assert set(commands) <= set(cli.COMMANDS), panel.title
        assert len(panel.about) > 60
        assert panel.unit
        assert panel.empty
        assert panel.queries
        assert panel.steps[0][0] is None
        values = [value for value, _ in panel.steps[1:]]
        assert values == sorted(values, key=lambda value: value or 0)


def test_a_zero_and_no_agent_never_look_the_same() -> None:
    """A number has a text for "nothing there", and none of them looks like a number or a yes."""
    for name, panel in PANELS.items():
        if isinstance(panel, Stat):
            assert "no agent" in panel.empty.lower(), name
            assert panel.empty not in {text for text, _ in panel.texts.values()}
            assert not re.search(r"or vector\(0\)", panel.queries[0].expr), name


def test_the_first_row_says_whether_a_zero_means_anything() -> None:
    first = {page.uid: {panel.title for panel in page.first} for page in DASHBOARDS}
    assert {"Judged share", "Targets without agent", "Messages in this range"} <= first[
        "ws-audit-isolation"
    ]
    assert "Hooked methods and functions" in first["ws-audit-managers"]
    assert {"Targets without agent", "Oldest heartbeat"} <= first["ws-audit-agent"]


@every_panel
def test_a_table_has_a_column_for_each_answer(name: str) -> None:
    panel = PANELS[name]
    if not isinstance(panel, Table):
        return
    assert len(panel.values) == len(panel.queries)
    headings = [*panel.labels.values(), *(column.title for column in panel.values)]
    assert len(set(headings)) == len(headings)
    assert panel.sort in headings
    for query in panel.queries:
        # Rows with the same labels become one: so each answer has just these.
        for group in re.findall(r"group_left \(([^)]*)\)", query.expr):
            assert {"job", "instance", *group.split(", ")} == set(panel.labels)
        if "group_left" not in query.expr:
            assert f"by ({', '.join(panel.labels)}" in query.expr


def test_exemplars_are_asked_for_where_violations_are() -> None:
    asking = [query.expr for panel in PANELS.values() for query in panel.queries if query.exemplar]
    assert asking
    assert all("ws_audit_violations_total" in expr for expr in asking)


def test_traces_are_asked_for_by_names_of_the_schema() -> None:
    (panel,) = (each for page in DASHBOARDS for each in page.panels if isinstance(each, Spans))
    (query,) = panel.queries
    names = {value for value in vars(schema).values() if isinstance(value, str)}
    assert f'name = "{schema.VIOLATION_SPAN}"' in query.expr
    for attribute in re.findall(r"span\.([\w.]+)", query.expr):
        assert attribute in names


# --- where they stand -----------------------------------------------------------------------------


@pytest.mark.parametrize("page", DASHBOARDS, ids=lambda page: page.uid)
def test_nothing_overlaps_and_every_line_is_full(page: Any) -> None:
    document = json.loads(files()[f"dashboards/{page.uid}.json"])
    taken: dict[tuple[int, int], str] = {}
    for panel in document["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                assert (x, y) not in taken, (panel["title"], taken.get((x, y)))
                taken[x, y] = panel["title"]
    for y in {y for _, y in taken}:
        assert sum((x, y) in taken for x in range(24)) == 24, y
    ids = [panel["id"] for panel in document["panels"]]
    ids += [inner["id"] for panel in document["panels"] for inner in panel.get("panels", ())]
    assert len(set(ids)) == len(ids)


def texts_of(mappings: list[Any]) -> dict[int, tuple[str, str]]:
    return {
        int(value): (shown["text"], shown["color"])
        for mapping in mappings
        for value, shown in mapping["options"].items()
    }


def limits_of(panel: Any) -> dict[str, tuple[tuple[float | None, str], ...]]:
    """The thresholds of single columns and values."""
    return {
        override["matcher"]["options"]: tuple(
            (step["value"], step["color"]) for step in each["value"]["steps"]
        )
        for override in panel["fieldConfig"]["overrides"]
        for each in override["properties"]
        if each["id"] == "thresholds"
    }


def test_what_was_written_in_the_panels_is_in_the_files() -> None:
    made = files()
    for page in DASHBOARDS:
        document = json.loads(made[f"dashboards/{page.uid}.json"])
        drawn = {
            panel["title"]: panel
            for outer in document["panels"]
            for panel in (outer, *outer.get("panels", ()))
            if panel["type"] != "row"
        }
        assert len(drawn) == len(page.panels)
        for panel in page.panels:
            found = drawn[panel.title]
            assert found["description"] == panel.about
            defaults = found["fieldConfig"]["defaults"]
            assert (defaults["unit"], defaults["noValue"]) == (panel.unit, panel.empty)
            asked = [target.get("expr", target.get("query")) for target in found["targets"]]
            assert asked == [query.expr for query in panel.queries]
            exemplars = [target.get("exemplar", False) for target in found["targets"]]
            assert exemplars == [query.exemplar for query in panel.queries]
            steps = [(step["value"], step["color"]) for step in defaults["thresholds"]["steps"]]
            assert steps == list(panel.steps)
            if isinstance(panel, Stat):
                assert texts_of(defaults.get("mappings", [])) == panel.texts
                assert limits_of(found) == {
                    name: query.steps
                    for name, query in zip("ABCD", panel.queries, strict=False)
                    if query.steps
                }
            if isinstance(panel, Table):
                merge, arrange = found["transformations"]
                assert merge["id"] == "merge"
                values = {f"Value #{each['refId']}" for each in found["targets"]}
                assert set(arrange["options"]["renameByName"]) == {*panel.labels, *values}
                assert arrange["options"]["excludeByName"] == {"Time": True}
                assert limits_of(found) == {
                    column.title: column.steps for column in panel.values if column.steps
                }
                assert {each["format"] for each in found["targets"]} == {"table"}
            instant = {target.get("instant", False) for target in found["targets"]}
            assert instant == {isinstance(panel, (Stat, Table))}
            assert any(
                isinstance(panel, kind) and found["type"] == drawn_as
                for kind, drawn_as in KINDS.items()
            )


KINDS = {Stat: "stat", Series: "timeseries", Table: "table", Spans: "table"}
