# SPDX-License-Identifier: Apache-2.0
"""Every dashboard by Grafana's own published types: a misspelt key or value is an error."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.grafana.made import files
from tests.requirements import missing, require_binary

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent
LOCK = HERE / "package-lock.json"


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Grafana's types and a compiler, in the versions of package-lock.json.

    Kept in the environment the tests run in, so that they are fetched once.
    """
    npm = require_binary("npm")
    digest = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]
    folder = Path(sys.prefix) / "share" / "ws-audit-tests" / f"grafana-types-{digest}"
    if not os.access(sys.prefix, os.W_OK):
        folder = tmp_path_factory.mktemp("grafana-types")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            for name in ("package.json", LOCK.name):
                shutil.copy(HERE / name, folder)
            done = subprocess.run(
                [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=110,
                check=False,
            )
            if done.returncode:
                missing(f"what npm could not install ({done.stderr.strip()[-300:]})")
            (folder / "complete").touch()
    return folder


def compiled(packages: Path, folder: Path, documents: dict[str, Any]) -> str:
    """What the compiler says of these dashboards; nothing if they are right."""
    (folder / "node_modules").symlink_to(packages / "node_modules")
    for name in ("tsconfig.json", "wire.ts"):
        shutil.copy(HERE / name, folder)
    for name, document in documents.items():
        (folder / f"{name}.ts").write_text(
            'import type { Document } from "./wire";\n'
            f"export const document: Document = {json.dumps(document, indent=1)};\n"
        )
    done = subprocess.run(
        [folder / "node_modules" / ".bin" / "tsc", "--project", "."],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    assert bool(done.returncode) == bool(done.stdout)
    return done.stdout


def dashboards() -> dict[str, Any]:
    return {
        Path(path).stem: json.loads(text)
        for path, text in files().items()
        if path.startswith("dashboards/")
    }


def test_every_dashboard_has_grafanas_types(packages: Path, tmp_path: Path) -> None:
    made = dashboards()
    assert len(made) == 3
    assert compiled(packages, tmp_path, made) == ""


def _panel(document: Any, kind: str) -> Any:
    return next(panel for panel in document["panels"] if panel["type"] == kind)


def _renamed(holder: Any, name: str) -> None:
    holder[f"{name}x"] = holder.pop(name)


# Each is wrong in one place. What the compiler says has to name it.
MISTAKES: dict[str, Callable[[Any], None]] = {
    "refreshx": lambda page: _renamed(page, "refresh"),
    "multix": lambda page: _renamed(page["templating"]["list"][2], "multi"),
    "iconColorx": lambda page: _renamed(page["annotations"]["list"][0], "iconColor"),
    "descriptionx": lambda page: _renamed(_panel(page, "stat"), "description"),
    "gridPosx": lambda page: _renamed(_panel(page, "table"), "gridPos"),
    "noValuex": lambda page: _renamed(_panel(page, "stat")["fieldConfig"]["defaults"], "noValue"),
    "stepsx": lambda page: _renamed(
        _panel(page, "table")["fieldConfig"]["defaults"]["thresholds"], "steps"
    ),
    "colorModex": lambda page: _renamed(_panel(page, "stat")["options"], "colorMode"),
    "stackingx": lambda page: _renamed(
        _panel(page, "timeseries")["fieldConfig"]["defaults"]["custom"], "stacking"
    ),
    "exemplarx": lambda page: _renamed(_panel(page, "timeseries")["targets"][0], "exemplar"),
    "renameByNamex": lambda page: _renamed(
        _panel(page, "table")["transformations"][1]["options"], "renameByName"
    ),
    "sidebar": lambda page: _panel(page, "timeseries")["options"]["legend"].update(
        placement="sidebar"
    ),
    "absolut": lambda page: _panel(page, "stat")["fieldConfig"]["defaults"]["thresholds"].update(
        mode="absolut"
    ),
    "barchart": lambda page: _panel(page, "stat").update(type="barchart"),
}


def test_each_mistake_is_an_error(packages: Path, tmp_path: Path) -> None:
    wrong = {}
    for name, mistake in MISTAKES.items():
        wrong[name] = dashboards()["ws-audit-isolation"]
        mistake(wrong[name])
    said = compiled(packages, tmp_path, wrong)

    by_file = {
        name: [line for line in said.splitlines() if line.startswith(name)] for name in wrong
    }
    assert {name for name, lines in by_file.items() if lines} == set(MISTAKES)
    for name, lines in by_file.items():
        assert name in lines[0].partition("error")[2], lines
