# SPDX-License-Identifier: Apache-2.0
"""The tree `ws-audit grafana` writes, for every test here, and what a query consists of."""

from __future__ import annotations

import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.requirements import missing
from ws_audit.grafana.dashboards import DASHBOARDS
from ws_audit.grafana.options import Options
from ws_audit.grafana.panels import Spans

if TYPE_CHECKING:
    from ws_audit.grafana.panels import Panel

COMMITTED = Path(__file__).parents[2] / "grafana"

# Every panel that asks Prometheus something, by page and title.
PANELS: dict[str, Panel] = {
    f"{page.uid}: {panel.title}": panel
    for page in DASHBOARDS
    for panel in page.panels
    if not isinstance(panel, Spans)
}

# What stands for the parts of a selector.
SELECTOR = re.compile(r"\b((?:ws_audit_\w+|up\b)(?:\{[^}]*\})?)")
METRIC = re.compile(r"\b(ws_audit_[a-z_]+)")
MATCHER = re.compile(r'(\w+)(?:=~|!~|!=|=)"')
GROUPING = re.compile(r"\b(?:by|on|group_left|without|ignoring)\s*\(([^)]*)\)")


def sdk() -> None:
    """Needed by every test that makes a file: Grafana's SDK, which is for 3.11 and later."""
    if find_spec("grafana_foundation_sdk") is None:
        if sys.version_info[:2] == (3, 10):
            pytest.skip("Grafana's SDK needs Python 3.11")
        missing("grafana-foundation-sdk")


def files(options: Options | None = None) -> dict[str, str]:
    """All of them, without what the command remembers for itself."""
    sdk()
    from ws_audit.grafana import write

    found = write.files(options or Options())
    del found[write.MANIFEST]
    return found


def filled(expr: str, job: str = ".+", instance: str = ".+") -> str:
    """The expression as Grafana sends it, for a minute that ends now."""
    for variable, value in {
        "$__rate_interval": "10s",
        "$__interval": "1s",
        "$__range_s": "60",
        "$__range": "60s",
        "$job": job,
        "$instance": instance,
    }.items():
        expr = expr.replace(variable, value)
    assert "$" not in expr, expr
    return expr
