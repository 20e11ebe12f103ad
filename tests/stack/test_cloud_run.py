# SPDX-License-Identifier: Apache-2.0
"""docs/cloud_run.md: its filter takes a real leak's log line, and its settings are settings.

Cloud Logging is not here. What it does with a line of JSON on stderr is taken from its
documentation: `severity` becomes the entry's, everything else is `jsonPayload`.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import yaml

from examples.stack.parts import ROOT
from ws_audit.configuration.settings import load

if TYPE_CHECKING:
    from pathlib import Path

    from tests.stack.scene import Scene

PAGE = (ROOT / "docs" / "cloud_run.md").read_text()


def block(language: str) -> str:
    (found, *_) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert isinstance(found, str)
    return found.strip()


FILTER = block("text")


def entry(line: dict[str, Any]) -> dict[str, Any]:
    """The log entry Cloud Run makes of a line."""
    payload = dict(line)
    return {
        "severity": payload.pop("severity"),
        "jsonPayload": payload,
        "resource": {"type": "cloud_run_revision", "labels": {"service_name": "chat"}},
    }


def field(found: Any, path: str) -> Any:
    for name in path.split("."):
        found = found[name]
    return found


def takes(line: dict[str, Any]) -> bool:
    """A filter of equations, one a line, all of which must hold."""
    pairs = [re.fullmatch(r'([\w.]+)="([^"]*)"', each) for each in FILTER.splitlines()]
    assert len(pairs) == 4
    return all(pair and field(entry(line), pair[1]) == pair[2] for pair in pairs)


def test_the_filter_takes_the_line_of_a_leak(played: Scene) -> None:
    lines = played.alarms + played.jobs["leaky"].alarms()
    assert len(lines) == 2
    for line in lines:
        assert takes(line)
        assert line["message"]  # what the list of entries shows
        probable = {**line, "severity": "WARNING"}
        assert not takes(probable)
        assert not takes({**line, "incident": {**line["incident"], "severity": "suspected"}})


def test_the_policy_has_that_filter_and_reads_fields_that_are_there(played: Scene) -> None:
    policy = json.loads(block("json"))
    (condition,) = (each["conditionMatchedLog"] for each in policy["conditions"])
    assert condition["filter"] == FILTER
    for extractor in condition["labelExtractors"].values():
        (path,) = re.findall(r"^EXTRACT\(([\w.]+)\)$", extractor)
        assert field(entry(played.alarms[0]), path)


def test_its_settings_are_ones_the_agent_takes(tmp_path: Path) -> None:
    file = tmp_path / "ws-audit.toml"
    file.write_text(block("toml"))
    told = dict(line.split("#")[0].strip().split("=", 1) for line in block("sh").splitlines())
    settings, problems = load({**told, "WS_AUDIT_CONFIG": str(file)}, str(tmp_path))
    assert problems == []
    assert settings.store_max_bytes == 64 * 1024 * 1024
    assert settings.push_webhook.startswith("https://")
    assert settings.metrics_addr is not None
    (endpoint,) = yaml.safe_load(block("yaml"))["spec"]["endpoints"]
    assert endpoint["port"] == settings.metrics_addr.first
