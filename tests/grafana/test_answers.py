# SPDX-License-Identifier: Apache-2.0
"""The panels that answer in words, by promtool: each word in its situation, and in no other.

What happens in no test of a real service within seconds is written down as series here: a target
without an agent, an agent that has stopped, a job nobody audits.
"""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.grafana.made import PANELS, filled
from tests.requirements import require_binary
from ws_audit.grafana.panels import Stat

if TYPE_CHECKING:
    from pathlib import Path

ISOLATION = "ws-audit-isolation: Is anybody seeing somebody else's data?"
LOOKING = "ws-audit-agent: Is the agent looking?"
AT = 3600  # when it is asked, in seconds; a scrape every 5 s
STEPS = AT // 5

# Series of one target that is audited and well. A value is a start and a growth with each scrape.
HEALTHY = {
    "up": (1, 0),
    "ws_audit_build_info": (1, 0),
    "ws_audit_heartbeat_timestamp_seconds": (0, 5),
    "ws_audit_open_incidents": (0, 0),
    "ws_audit_selftest_success_timestamp_seconds": (0, 0),
    'ws_audit_targets{state="patched"}': (10, 0),
    'ws_audit_targets{state="too_late"}': (0, 0),
    'ws_audit_targets{state="failed"}': (0, 0),
    'ws_audit_frames_total{judged="true"}': (0, 100),
    'ws_audit_frames_total{judged="false"}': (0, 0),
    **{
        f'ws_audit_violations_total{{severity="{severity}",synthetic="{synthetic}"}}': (0, 0)
        for severity in ("confirmed", "probable", "suspected", "hygiene")
        for synthetic in ("false", "true")
    },
    **{
        f'ws_audit_last_violation_timestamp_seconds{{severity="{severity}",synthetic="false"}}': (
            0,
            0,
        )
        for severity in ("confirmed", "probable", "suspected", "hygiene")
    },
}


def last(severity: str) -> str:
    return f'ws_audit_last_violation_timestamp_seconds{{severity="{severity}",synthetic="false"}}'


def count(severity: str, synthetic: str = "false") -> str:
    return f'ws_audit_violations_total{{severity="{severity}",synthetic="{synthetic}"}}'


# What differs from the healthy target, and the word that stands for it: None for "no agent".
Value = tuple[float, float] | str | None
SITUATIONS: dict[str, tuple[dict[str, Value], int | None, int | None]] = {
    "all is well": ({}, 0, 0),
    "a confirmed leak": ({count("confirmed"): (0, 1)}, 6, 0),
    "a confirmed leak, counted before the first scrape": ({last("confirmed"): (AT - 20, 0)}, 6, 0),
    "a confirmed leak, before the range": ({last("confirmed"): (AT - 70, 0)}, 0, 0),
    "a probable leak": ({count("probable"): (0, 1)}, 5, 0),
    "an open incident from before a restart": ({"ws_audit_open_incidents": (1, 0)}, 5, 0),
    "a suspected leak": ({count("suspected"): (0, 1)}, 3, 0),
    "hygiene": ({count("hygiene"): (0, 1)}, 0, 0),
    "a self-test": ({count("confirmed", "true"): (0, 1)}, 0, 0),
    "many messages are not judged": ({'ws_audit_frames_total{judged="false"}': (0, 5)}, 2, 0),
    "a few messages are not judged": ({'ws_audit_frames_total{judged="false"}': (0, 0.5)}, 0, 0),
    "no messages": ({'ws_audit_frames_total{judged="true"}': (7, 0)}, 1, 0),
    "the agent has stopped": ({"ws_audit_heartbeat_timestamp_seconds": (AT - 90, 0)}, 4, 3),
    "nothing is hooked": ({'ws_audit_targets{state="patched"}': (0, 0)}, 0, 2),
    "a hook came too late": ({'ws_audit_targets{state="too_late"}': (1, 0)}, 0, 1),
    "a hook failed": ({'ws_audit_targets{state="failed"}': (1, 0)}, 0, 1),
    "nobody audits this job": (dict.fromkeys(name for name in HEALTHY if name != "up"), None, None),
    "the only target is gone": (
        {
            "up": "1+0x500 0+0x300",
            **dict.fromkeys((name for name in HEALTHY if name != "up"), "0+0x500 stale"),
            "ws_audit_build_info": "1+0x500 stale",
        },
        4,
        4,
    ),
    "the target is not there": (dict.fromkeys(HEALTHY), None, None),
}
# A second target of the same job, which is up and shows nothing of an agent.
WITHOUT_AGENT = {"up": (1, 0)}


def labelled(series: str, job: str, instance: str) -> str:
    name, _, rest = series.partition("{")
    labels = f'job="{job}",instance="{instance}"'
    if name == "ws_audit_build_info":
        labels += ',version="0.1.0",mode="observe"'
    if "violation" in name:
        labels += ',rule="payload_vs_connection"'
    return f"{name}{{{labels}{',' + rest if rest else '}'}"


def inputs(series: Any, instance: str) -> list[dict[str, str]]:
    return [
        {
            "series": labelled(name, "chat", instance),
            "values": value if isinstance(value, str) else f"{value[0]}+{value[1]}x{STEPS}",
        }
        for name, value in series.items()
        if value is not None
    ]


def expected(answer: int | None) -> list[dict[str, Any]]:
    return [] if answer is None else [{"labels": "{}", "value": answer}]


def group(name: str, series: list[dict[str, str]], answers: dict[str, int | None]) -> Any:
    return {
        "name": name,
        "interval": "5s",
        "input_series": series,
        "promql_expr_test": [
            {
                "expr": filled(PANELS[panel].queries[0].expr),
                "eval_time": f"{AT}s",
                "exp_samples": expected(answer),
            }
            for panel, answer in answers.items()
        ],
    }


def promtool(folder: Path, groups: list[Any]) -> str:
    path = folder / "answers.test.yml"
    path.write_text(json.dumps({"evaluation_interval": "1h", "tests": groups}))  # JSON is YAML
    done = subprocess.run(
        [require_binary("promtool"), "test", "rules", path],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = done.stdout + done.stderr
    assert (done.returncode == 0) == ("SUCCESS" in said)
    return "" if done.returncode == 0 else said


def test_each_situation_has_its_word(tmp_path: Path) -> None:
    groups = [
        group(
            name,
            inputs(HEALTHY | changes, "a:1"),
            {ISOLATION: isolation, LOOKING: looking},
        )
        for name, (changes, isolation, looking) in SITUATIONS.items()
    ]
    groups.append(
        group(
            "one of two targets has no agent",
            inputs(HEALTHY, "a:1") + inputs(WITHOUT_AGENT, "b:1"),
            {ISOLATION: 4, LOOKING: 4, "ws-audit-isolation: Targets without agent": 1},
        )
    )
    assert promtool(tmp_path, groups) == ""


def test_a_wrong_word_is_noticed(tmp_path: Path) -> None:
    changes, isolation, looking = SITUATIONS["a confirmed leak"]
    assert isolation == 6
    series = inputs(HEALTHY | changes, "a:1")
    said = promtool(tmp_path, [group("wrong", series, {ISOLATION: 0, LOOKING: looking})])

    assert "wrong" in said


@pytest.mark.parametrize(("panel", "case"), [(ISOLATION, 1), (LOOKING, 2)])
def test_every_word_has_its_situation(panel: str, case: int) -> None:
    drawn = PANELS[panel]
    assert isinstance(drawn, Stat)
    words = {situation[case] for situation in SITUATIONS.values()} | {4, None}
    assert words == {*drawn.texts, None}


def test_numbers_that_tell_nothing_from_zero(tmp_path: Path) -> None:
    """What is -1 behind its text, what is 0, and what is empty."""
    share = "ws-audit-isolation: Judged share"
    selftest = "ws-audit-agent: Since the last self-test"
    silent = {'ws_audit_frames_total{judged="true"}': (7, 0)}
    tested = {"ws_audit_selftest_success_timestamp_seconds": (AT - 60, 0)}
    nobody = dict.fromkeys(HEALTHY)
    groups = [
        group("well", inputs(HEALTHY, "a:1"), {share: 1, selftest: -1}),
        group("no messages", inputs(HEALTHY | silent, "a:1"), {share: -1}),
        group("tested", inputs(HEALTHY | tested, "a:1"), {selftest: 60}),
        group("nobody", inputs(HEALTHY | nobody, "a:1"), {share: None, selftest: None}),
    ]
    assert promtool(tmp_path, groups) == ""
