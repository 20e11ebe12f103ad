# SPDX-License-Identifier: Apache-2.0
"""An interpreter starts whatever state the agent is in: removed, half removed, misconfigured."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.startup.applications import HUB
from tests.startup.interpreters import Environment, copy, pip

if TYPE_CHECKING:
    from pathlib import Path

START = """
import hub
hub.ConnectionManager().send_to_user("alice", "hello")
print("started")
"""
CLEAN = (0, "started\n", "")


@pytest.fixture
def other(installed: Path, app: Environment) -> Environment:
    """A copy of the environment that may be taken apart."""
    app.write(hub=HUB)
    return Environment(copy(installed, app.directory / "venv"), app.directory)


def test_uninstalled_leaves_nothing(other: Environment) -> None:
    assert (other.site_packages / "ws_audit.pth").exists()
    assert other.audited(START) == CLEAN

    pip("uninstall", "--yes", "ws-audit", root=other.root)

    left = [path.name for path in other.site_packages.iterdir() if "audit" in path.name]
    assert left == []
    assert not other.command.exists()
    assert other.audited(START) == CLEAN
    assert other.run("import ws_audit").code == 1  # or the line above would prove nothing


def test_an_activation_line_without_its_package_is_silent(other: Environment) -> None:
    shutil.rmtree(other.site_packages / "ws_audit")
    assert other.audited(START) == CLEAN


def test_an_agent_that_cannot_start_says_so_once_and_stays_away(other: Environment) -> None:
    (other.site_packages / "ws_audit" / "bootstrap.py").write_text("raise OSError('broken')\n")
    ended = other.audited(START)
    assert (ended.code, ended.out) == (0, "started\n")
    assert ended.err.splitlines() == [
        "ws-audit: not started, the interpreter goes on without it: OSError('broken')"
    ]


def test_an_agent_that_breaks_at_the_first_import_says_so_once(other: Environment) -> None:
    (other.site_packages / "ws_audit" / "agent.py").write_text("raise OSError('broken')\n")
    ended = other.audited("import telling, loopback\n" + START)
    assert (ended.code, ended.out) == (0, "started\n")
    assert ended.err.splitlines() == ["ws-audit: not watching imports: OSError: broken"]


def test_a_missing_dependency_is_said_once(other: Environment) -> None:
    (other.directory / "wrapt.py").write_text("raise ImportError('no wrapt here')\n")
    ended = other.audited(START)
    assert (ended.code, ended.out) == (0, "started\n")
    (line,) = ended.err.splitlines()
    assert line == "ws-audit: not watching imports: ImportError: no wrapt here"


def test_a_directory_that_is_gone_is_no_obstacle(other: Environment) -> None:
    script = "import os\nos.mkdir('gone')\nos.chdir('gone')\nos.rmdir('../gone')\n" + START
    assert other.audited(script) == CLEAN


# --- settings --------------------------------------------------------------------------------


def problems(ended: tuple[int, str, str]) -> list[str]:
    code, out, err = ended
    assert (code, out) == (0, "started\n")
    return err.splitlines()


def test_a_wrong_value_is_told_with_key_and_file_and_the_application_starts(
    app: Environment,
) -> None:
    app.write(hub=HUB)
    file = app.directory / "audit.toml"
    file.write_text('mode = "loud"\ntrace_dri = "traces"\n[store]\nneighbours = "many"\n')
    told = problems(app.audited("import telling\n" + START, WS_AUDIT_CONFIG="audit.toml"))

    assert len(told) == 3
    for key in ("mode = 'loud'", "trace_dri", "store.neighbours = 'many'"):
        (line,) = [line for line in told if key.replace("'", '"') in line or key in line]
        assert line.startswith("ws-audit: ")
        assert str(file) in line


@pytest.mark.parametrize(
    ("name", "said"),
    [("broken.toml", "not valid TOML"), ("missing.toml", "no such file"), (".", "cannot be read")],
)
def test_a_file_that_cannot_be_read_is_told_once(app: Environment, name: str, said: str) -> None:
    app.write(hub=HUB)
    (app.directory / "broken.toml").write_text("mode = \n")
    (line,) = problems(app.audited("import telling\n" + START, WS_AUDIT_CONFIG=name))
    assert said in line
    assert str((app.directory / name).resolve()) in line


def test_a_wrong_variable_is_told_and_so_is_a_misspelt_one(app: Environment) -> None:
    app.write(hub=HUB)
    variables = {"WS_AUDIT_METRICS_ADDR": "9464", "WS_AUDIT_TRACEDIR": "traces"}
    told = problems(app.audited("import telling\n" + START, **variables))
    assert len(told) == 2
    assert any("metrics_addr" in line and "WS_AUDIT_METRICS_ADDR" in line for line in told)
    assert any("WS_AUDIT_TRACEDIR" in line and "WS_AUDIT_TRACE_DIR" in line for line in told)


def test_settings_of_the_projects_own_file_are_taken(app: Environment) -> None:
    app.write(hub=HUB)
    (app.directory / "pyproject.toml").write_text('[tool.ws-audit]\nexclude = ["hub"]\n')
    script = "import hub, sys\nprint('wrapt' in sys.modules)"
    assert app.audited(script) == (0, "False\n", "")
    (app.directory / "pyproject.toml").unlink()
    assert app.audited(script) == (0, "True\n", "")
