# SPDX-License-Identifier: Apache-2.0
"""Prometheus' own promtool, and the tests of the rules it is given."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.requirements import require_binary

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "grafana" / "prometheus"
RULES = PROMETHEUS / "ws_audit.rules.yml"
TESTS = sorted(PROMETHEUS.glob("*.test.yml"))


def promtool(*arguments: str, folder: Path = PROMETHEUS) -> tuple[int, str]:
    """Its exit code, and what it said."""
    done = subprocess.run(
        [require_binary("promtool"), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def read(path: Path) -> Any:
    return yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
