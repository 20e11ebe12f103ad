# SPDX-License-Identifier: Apache-2.0
"""The command as a user meets it: formats, exit codes, baseline, progress."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from ws_audit.scan.findings import RULES
from ws_audit.tools import cli
from ws_audit.tools import scan as command

from .made import EXAMPLES, hub, write
from .schema import SCHEMA, errors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FRAGMENTED = str(EXAMPLES / "fragmented")


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    """Exit code, output and errors of `ws-audit scan`, from an empty directory."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")

    def done(*words: str | Path) -> tuple[int, str, str]:
        code = cli.main(["scan", *map(str, words)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return done


def test_clean_is_zero_and_findings_are_one(run: Any) -> None:
    code, out, err = run(EXAMPLES / "consolidated")
    assert (code, err) == (0, "")
    assert out.startswith(
        "4 files: 1 manager implementation, 1 import path, 1 factory (0 inconsistent), 0 bypasses"
    )
    assert out.endswith("\n0 findings\n")
    code, out, _ = run(FRAGMENTED)
    assert code == 1
    assert "realtime/unified.py:7: fragmented.realtime.unified:UnifiedWebSocketManager" in out
    assert out.index("second-implementation (error)") < out.index("own-socket-write (note)")


def test_json(run: Any) -> None:
    code, out, _ = run(FRAGMENTED, "--format", "json")
    document = json.loads(out)
    assert code == 1
    assert list(document["summary"]) == [
        "implementations",
        "import_paths",
        "factories",
        "inconsistent_factories",
        "bypasses",
        "unparsed",
    ]
    for finding in document["findings"]:
        assert {"rule", "path", "line", "message"} <= finding.keys()
        assert finding["rule"] in RULES
        lines = (EXAMPLES / "fragmented" / finding["path"]).read_text().splitlines()
        assert 0 < finding["line"] <= len(lines)
    (usual,) = (one for one in document["implementations"] if one["canonical"])
    assert usual["class"] == "fragmented.realtime.manager:WebSocketManager"
    assert document["problems"] == []
    assert run(FRAGMENTED, "--format", "json")[1] == out


# --- SARIF ------------------------------------------------------------------------------------


def test_sarif_is_as_its_schema_wants_it(run: Any, tmp_path: Path) -> None:
    write(tmp_path / "code", {"app/hub.py": hub(), "a b/é.py": hub("Other"), "bad.py": "def"})
    for words in ((), ("--baseline", tmp_path / "known")):
        if words:
            assert run(FRAGMENTED, *words, "--write-baseline")[0] == 0
        for path in (FRAGMENTED, tmp_path / "code", EXAMPLES / "consolidated"):
            document = json.loads(run(path, "--format", "sarif", *words)[1])
            assert errors(document, SCHEMA) == []
    document = json.loads(run(tmp_path / "code", "--format", "sarif")[1])
    (result,) = document["runs"][0]["results"]
    location = result["locations"][0]["physicalLocation"]
    assert location["artifactLocation"]["uri"] in ("a%20b/%C3%A9.py", "app/hub.py")
    rules = document["runs"][0]["tool"]["driver"]["rules"]
    assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
    (notice,) = document["runs"][0]["invocations"][0]["toolExecutionNotifications"]
    assert notice["message"]["text"].startswith("bad.py:1: ")


@pytest.mark.parametrize(
    ("document", "wrong"),
    [
        ({"version": "2.1.0"}, "$: runs is missing"),
        ({"version": "2.0", "runs": []}, "$.version: '2.0' is none of ['2.1.0']"),
        ({"version": "2.1.0", "runs": [], "x": 1}, "$: x is not allowed"),
        ({"version": "2.1.0", "runs": [{"tool": {}}]}, "$.runs[0].tool: driver is missing"),
    ],
)
def test_the_reader_of_the_schema_refuses(document: Any, wrong: str) -> None:
    assert wrong in errors(document, SCHEMA)


# --- the baseline -----------------------------------------------------------------------------


def test_a_baseline_lets_nothing_new_in(run: Any, tmp_path: Path) -> None:
    code, known = tmp_path / "code", tmp_path / "known.json"
    files = {"app/hub.py": hub(), "app/a.py": hub("Second"), "app/b.py": "from .hub import Hub"}
    write(code, files)
    assert run(code, "--baseline", known)[0] == 2  # there is none yet
    assert run(code, "--baseline", known, "--write-baseline")[0] == 0
    assert run(code, "--baseline", known)[:2][0] == 0

    # What was known may move; a new second sender is new, and it alone is shown.
    write(code, {"app/a.py": "# a comment\n\n" + hub("Second"), "app/c.py": hub("Third")})
    status, out, _ = run(code, "--baseline", known)
    assert status == 1
    assert "app/c.py:4" in out
    assert "app/a.py:" not in out
    assert out.endswith("\n1 new finding; 1 in the baseline\n")
    told = json.loads(run(code, "--baseline", known, "--format", "json")[1])["findings"]
    assert [(one["path"], one["new"]) for one in told] == [("app/a.py", False), ("app/c.py", True)]
    states = [
        one["baselineState"]
        for one in json.loads(run(code, "--baseline", known, "--format", "sarif")[1])["runs"][0][
            "results"
        ]
    ]
    assert states == ["unchanged", "new"]


def test_what_others_are_compared_with_stays(run: Any, tmp_path: Path) -> None:
    """More imports of the second make it no new canonical one, and the first no new finding."""
    code, known = tmp_path / "code", tmp_path / "known.json"
    write(code, {"a.py": hub("A"), "b.py": hub("B"), "use.py": "from a import A\nimport b"})
    run(code, "--baseline", known, "--write-baseline")
    write(code, {f"use{n}.py": "from b import B" for n in range(3)})
    assert "\n  b:B  (most used" in run(code)[1]
    status, out, _ = run(code, "--baseline", known)
    assert status == 0
    assert "\n  a:A  (most used" in out
    (code / "b.py").unlink()
    assert "\n1 of the baseline are gone" in run(code, "--baseline", known)[1]


def test_a_finding_that_has_grown_is_new(run: Any, tmp_path: Path) -> None:
    write_one = "    await sockets[0].send_json({})\n"
    source = "from fastapi import WebSocket\nasync def tell(sockets):\n" + write_one
    code, known = tmp_path / "code", tmp_path / "known.json"
    write(code, {"app/hub.py": hub(), "app/tell.py": source})
    run(code, "--baseline", known, "--write-baseline")
    assert run(code, "--baseline", known)[0] == 0
    write(code, {"app/tell.py": source + write_one})
    assert run(code, "--baseline", known)[0] == 1


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema": 2, "usual": "", "findings": []}', "\xff"]
)
def test_what_is_no_baseline(text: str, run: Any, tmp_path: Path) -> None:
    (tmp_path / "known").write_bytes(text.encode("latin-1"))
    code, out, err = run(FRAGMENTED, "--baseline", tmp_path / "known")
    assert (code, out) == (2, "")
    assert "--baseline" in err


# --- bad usage, configuration, output ---------------------------------------------------------


def test_bad_usage(run: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for words, said in (
        ([tmp_path / "nowhere"], "no such file or directory"),
        ([tmp_path / "empty"], "no Python files"),
        ([FRAGMENTED, "--write-baseline"], "--write-baseline needs --baseline FILE"),
        ([FRAGMENTED, "--output", tmp_path / "no/where"], "No such file or directory"),
        ([FRAGMENTED, "--format", "xml"], "invalid choice"),
    ):
        code, _, err = run(*words)
        assert code == 2
        assert said in err


def test_where_nothing_could_be_read(run: Any, tmp_path: Path) -> None:
    write(tmp_path, {"one.py": "def", "two.py": "class"})
    code, out, err = run(tmp_path)
    assert (code, out) == (2, "")
    assert "one.py:1: " in err


def test_places_are_named_from_where_one_stands(run: Any, tmp_path: Path) -> None:
    write(tmp_path / "cwd/code", {"app/a.py": hub("A"), "app/b.py": hub("B")})
    assert "\n  code/app/b.py:4: app.b:B " in run("code")[1]
    (result,) = json.loads(run("code", "--format", "sarif")[1])["runs"][0]["results"]
    location = result["locations"][0]["physicalLocation"]["artifactLocation"]
    assert location == {"uri": "code/app/b.py", "uriBaseId": "%SRCROOT%"}
    document = json.loads(run("code", "--format", "json")[1])
    assert document["findings"][0]["path"] == "app/b.py"
    assert document["root"] == str(tmp_path / "cwd/code")


def test_the_configuration_says_which_is_canonical(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "ws.toml"
    monkeypatch.setenv("WS_AUDIT_CONFIG", str(config))
    name = "fragmented.realtime.unified:UnifiedWebSocketManager"
    config.write_text(f'[inventory]\ncanonical = ["{name}"]\n')
    code, out, _ = run(FRAGMENTED)
    assert code == 1
    assert f"{name}  (canonical;" in out
    assert "realtime/manager.py:7: fragmented.realtime.manager:WebSocketManager" in out
    assert "second-path (note)" in out

    config.write_text('[inventory]\ncanonical = ["fragmented.gone:Manager"]\n')
    code, out, err = run(FRAGMENTED)
    assert (code, out) == (2, "")
    assert "inventory.canonical names fragmented.gone:Manager, which is not there" in err
    config.write_text('[inventory]\ncanonical = ["no colon"]\n')
    assert run(FRAGMENTED)[0] == 2


def test_output_to_a_file(run: Any, tmp_path: Path) -> None:
    code, out, _ = run(FRAGMENTED, "--format", "json", "--output", tmp_path / "scan.json")
    assert (code, out) == (1, "")
    assert json.loads((tmp_path / "scan.json").read_text())["summary"]["implementations"] == 6


def test_progress_on_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "_PATIENCE_S", 0.0)
    bar = command._Bar()
    bar.show(1, 2)
    bar.close()
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    bar = command._Bar()
    bar.show(1, 2)
    bar.close()
    assert "] 1 of 2 files" in capsys.readouterr().err


def test_it_imports_neither_the_agent_nor_what_it_scans() -> None:
    script = (
        "import sys\nfrom ws_audit.tools import cli\n"
        f"code = cli.main(['scan', {FRAGMENTED!r}, '--output', {os.devnull!r}])\n"
        "roots = {'fastapi', 'starlette', 'wrapt', 'opentelemetry', 'fragmented'}\n"
        "print(code, sorted(name for name in sys.modules if name.partition('.')[0] in roots"
        " or name in ('ws_audit.agent', 'ws_audit.runtime', 'ws_audit.hooks')))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "1 []\n"


MODULE = """
import logging
from app.common import helper

class Service{n}:
    def __init__(self, store): self.store = store
    def find(self, key):
        if key not in self.store: return None
        return helper(self.store[key])
    async def change(self, key, value):
        self.store[key] = value
        return self.find(key)
"""


def test_many_files_are_read_in_seconds_with_a_bar(tmp_path: Path) -> None:
    """400 modules, on a real terminal; the budget is 2,000 in 20 s."""
    files = {f"app/m{n}.py": MODULE.format(n=n) for n in range(400)}
    write(tmp_path, {**files, "app/hub.py": hub(), "app/common.py": "def helper(x): return x"})
    ours, theirs = pty.openpty()
    script = (
        "import sys\nfrom ws_audit.tools import cli, scan\nscan._PATIENCE_S = 0.0\n"
        f"sys.exit(cli.main(['scan', {str(tmp_path)!r}]))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=theirs, text=True
    ) as process:
        os.close(theirs)
        assert process.stdout is not None
        out = process.stdout.read()
        assert process.wait(20) == 0
    bar = os.read(ours, 100_000).decode()
    os.close(ours)
    assert out.startswith("403 files: 1 manager implementation, 1 import path")
    assert re.search(r"\rscanning \[#*\.+\] \d+ of 403 files", bar)
    assert bar.endswith("\r\x1b[K")
