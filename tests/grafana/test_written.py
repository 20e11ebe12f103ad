# SPDX-License-Identifier: Apache-2.0
"""`ws-audit grafana`: what is committed is what it writes, and it overwrites nobody's work."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.grafana.made import COMMITTED, files, sdk
from ws_audit.grafana.options import BadOptionError, Options

if TYPE_CHECKING:
    from pathlib import Path


def write(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ws_audit", "grafana", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_what_is_committed_is_what_it_writes() -> None:
    """`make grafana` makes it so again."""
    made = files()
    there = {
        str(path.relative_to(COMMITTED)): path.read_text(encoding="utf-8")
        for path in COMMITTED.rglob("*")
        if path.is_file() and not path.name.endswith(".test.yml") and path.name[0] != "."
    }
    assert set(there) == set(made)
    assert [path for path, text in made.items() if there[path] != text] == []


def test_it_writes_and_says_what_to_do(tmp_path: Path) -> None:
    sdk()
    done = write(tmp_path / "new" / "tree")

    assert (done.returncode, done.stderr) == (0, "")
    for path, text in files().items():
        assert (tmp_path / "new" / "tree" / path).read_text() == text
        assert f"new       {tmp_path / 'new' / 'tree' / path}" in done.stdout
    for word in ("mount", "/etc/grafana/provisioning/datasources", "rule_files", "Import"):
        assert word in done.stdout
    again = write(tmp_path / "new" / "tree")
    assert again.returncode == 0
    assert "new  " not in again.stdout
    assert "changed  " not in again.stdout.replace("unchanged", "")


def test_other_options_make_another_tree_of_its_own_files(tmp_path: Path) -> None:
    sdk()
    assert write(tmp_path).returncode == 0
    done = write(
        tmp_path,
        *("--prometheus-uid", "P1", "--tempo-uid", "T1", "--clickhouse-uid", "C1"),
        *("--job", r"chat|agent-\d+", "--folder", "Data leaks", "--dashboards", "/srv/boards"),
    )

    assert (done.returncode, done.stderr) == (0, "")
    for path in files():
        text = (tmp_path / path).read_text()
        assert "ws-audit-prometheus" not in text
        assert "ws-audit-tempo" not in text
        assert "ws-audit-clickhouse" not in text
    page = json.loads((tmp_path / "dashboards" / "ws-audit-isolation.json").read_text())
    datasource, traces, job, _ = page["templating"]["list"]
    assert (datasource["current"]["value"], traces["current"]["value"]) == ("P1", "T1")
    assert job["allValue"] == r"chat|agent-\\d+"  # inside a PromQL string
    assert (
        job["query"]["query"] == r'label_values(ws_audit_build_info{job=~"chat|agent-\\d+"}, job)'
    )
    (group, *_) = yaml.safe_load(
        (tmp_path / "provisioning/alerting/ws_audit_rules.yml").read_text()
    )["groups"]
    assert group["folder"] == "Data leaks"
    query = group["rules"][0]["data"][0]
    assert query["datasourceUid"] == "P1"
    assert r'job=~"chat|agent-\\d+"' in query["model"]["expr"]
    provider = yaml.safe_load((tmp_path / "provisioning/dashboards/ws_audit.yml").read_text())
    assert provider["providers"][0]["folder"] == "Data leaks"
    assert provider["providers"][0]["options"]["path"] == "/srv/boards"


@pytest.mark.parametrize("kind", ["edited", "strange"])
def test_it_never_overwrites_what_it_did_not_write(tmp_path: Path, kind: str) -> None:
    sdk()
    path = tmp_path / "provisioning" / "datasources" / "ws_audit.yml"
    if kind == "edited":
        assert write(tmp_path).returncode == 0
        path.write_text(path.read_text().replace("15s", "5s"))
    else:
        path.parent.mkdir(parents=True)
        path.write_text("apiVersion: 1\n")
    before = path.read_text()
    dashboards = list((tmp_path / "dashboards").glob("*"))

    done = write(tmp_path, "--folder", "other")

    assert done.returncode == 2
    assert f"{path}: not as this command wrote it; --force" in done.stderr
    assert path.read_text() == before
    # Nothing else was written either.
    assert list((tmp_path / "dashboards").glob("*")) == dashboards
    assert not list(tmp_path.rglob("*other*"))

    assert write(tmp_path, "--folder", "other", "--force").returncode == 0
    assert (
        path.read_text() == files(Options(folder="other"))["provisioning/datasources/ws_audit.yml"]
    )


BAD = {
    "a uid with bad characters": (("--prometheus-uid", "a b"), "--prometheus-uid 'a b': expected"),
    "a uid that is too long": (("--tempo-uid", "t" * 41), "1 to 40"),
    "no uid": (("--clickhouse-uid", ""), "--clickhouse-uid ''"),
    "one uid for two": (("--tempo-uid", "ws-audit-prometheus"), "three different"),
    "a bad expression": (("--job", "("), "--job '(': not a regular expression"),
    "an empty expression": (("--job", ""), "--job ''"),
    "two lines": (("--job", "a\nb"), "in one line"),
    "what Prometheus has not": (("--job", "(?!chat).*"), "look-around"),
    "a variable of Grafana": (("--job", "$job"), "leave the $ out"),
    "a variable of the environment": (("--folder", "$HOME"), "--folder '$HOME'"),
    "a relative path": (("--dashboards", "boards"), "absolute path"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(tmp_path: Path, case: str) -> None:
    words, says = BAD[case]
    done = write(tmp_path / "out", *words)

    assert done.returncode == 2
    assert done.stderr.startswith("ws-audit grafana: ")
    assert says in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    sdk()
    (tmp_path / "file").write_text("mine")
    done = write(tmp_path / "file")

    assert done.returncode == 2
    assert "expected a directory" in done.stderr
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("package", ["grafana_foundation_sdk", "yaml"])
def test_what_is_not_installed_is_named_with_the_command(tmp_path: Path, package: str) -> None:
    sdk()
    script = (
        "import sys\n"
        f"sys.modules[{package!r}] = None\n"
        "from ws_audit.tools.cli import main\n"
        f"sys.exit(main(['grafana', {str(tmp_path / 'out')!r}]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 2, done.stderr
    assert package in done.stderr
    assert "pip install 'ws-audit[grafana]'" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_quoted_job_cannot_end_its_string() -> None:
    assert Options(job='a"} or vector(1) #').job_in_quotes == 'a\\"} or vector(1) #'
    with pytest.raises(BadOptionError):
        Options(job="a(")
