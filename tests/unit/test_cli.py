# SPDX-License-Identifier: Apache-2.0
"""The command as a user meets it: what it prints where, and how it exits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ws_audit.model import SEVERITIES, Span
from ws_audit.outputs.store import Store
from ws_audit.tools import cli, review

if TYPE_CHECKING:
    import argparse

START = 1_795_428_000 * 1_000_000_000  # 2026-11-23T10:00:00Z


def ws_audit(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ws_audit", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    """A directory with one probable incident."""
    leak(tmp_path, "probable")
    return tmp_path


def leak(directory: Path, severity: str) -> None:
    store = Store(directory, resource={"service.name": "chät"})
    attributes: dict[str, str | int | bool | float] = {
        "security_rule.name": "payload_vs_connection",
        "ws_audit.severity": severity,
        "user.hash": "a" * 32,
        "ws_audit.owner.hash": "b" * 32,
        "ws_audit.outcome": "ok",
    }
    span = Span("ws_audit.violation", 1, 2, 0, START, START, attributes, True)
    assert store.write_violation(span)


# --- review --------------------------------------------------------------------------------


def test_review_writes_text_and_exits_1_on_findings(traces: Path) -> None:
    done = ws_audit("review", str(traces), "--now=2026-11-23T11:00:00Z")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("LEAK PROBABLE, over since 2026-11-23T10:00:00.000000000Z\n")


def test_review_writes_json(traces: Path) -> None:
    done = ws_audit("review", str(traces), "--format", "json", "--now", "2026-11-23T10:05:00Z")
    assert (done.returncode, done.stderr) == (1, "")
    found = json.loads(done.stdout)
    assert list(found) == ["schema", "incidents", "coverage", "window", "problems"]
    assert found["incidents"][0]["ongoing"] is True
    assert found["incidents"][0]["services"] == ["chät"]


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("fail_on", [None, *SEVERITIES])
def test_exit_code_follows_fail_on(tmp_path: Path, severity: str, fail_on: str | None) -> None:
    leak(tmp_path, severity)
    words = ["review", str(tmp_path), *(["--fail-on", fail_on] if fail_on else [])]
    threshold = SEVERITIES.index(fail_on or "probable")
    assert cli.main(words) == int(SEVERITIES.index(severity) <= threshold)


def test_an_empty_directory_exits_0_and_claims_nothing(tmp_path: Path) -> None:
    done = ws_audit("review", str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("NOTHING RECORDED HERE")


@pytest.mark.parametrize("kind", ["missing", "file", "unreadable", "url"])
def test_bad_input_exits_2_and_is_named_on_stderr_alone(tmp_path: Path, kind: str) -> None:
    path = str(tmp_path / kind)
    if kind == "file":
        Path(path).touch()
    elif kind == "unreadable":
        path = "/proc/1/task/1/fd/nothing"
    elif kind == "url":
        path = "postgres://host:5432/otel"
    done = ws_audit("review", path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert path in done.stderr
    assert "expected a trace directory" in done.stderr


def test_an_acknowledged_incident_does_not_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    incident = {"severity": "confirmed", "acknowledged": True}
    assert review.failing({"incidents": [incident]}, "hygiene") is False
    assert review.failing({"incidents": [{**incident, "acknowledged": False}]}, "hygiene") is True


@pytest.mark.parametrize(
    ("text", "after_ns"),
    [
        ("2026-11-23T10:00:00Z", 0),
        ("2026-11-23T10:00:00.000000001Z", 1),
        ("2026-11-23t10:00:00.5z", 500_000_000),
        ("2026-11-23 11:30:00+01:30", 0),
        ("2026-11-23T09:00:00-01:00", 0),
    ],
)
def test_now_is_rfc_3339(text: str, after_ns: int) -> None:
    assert review._time(text) == START + after_ns


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01T00:00:00Z", "2026-11-23T10:00:00", ""])
def test_a_bad_now_is_named(traces: Path, text: str) -> None:
    done = ws_audit("review", str(traces), f"--now={text}")
    assert (done.returncode, done.stdout) == (2, "")
    assert repr(text) in done.stderr
    assert "expected RFC 3339" in done.stderr


def test_review_needs_nothing_but_python(traces: Path) -> None:
    check = (
        "import sys; from ws_audit.tools.cli import main; main(['review', sys.argv[1]]);"
        "print([it for it in ('wrapt', 'opentelemetry', 'prometheus_client', 'asyncio',"
        " 'ws_audit.tools.demo', 'ws_audit.tools.run') if it in sys.modules])"
    )
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:0] = {sys.path}; {check}"]
    done = subprocess.run(
        [*command, str(traces)], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.endswith("[]\n")


def test_a_reader_that_leaves_is_no_error(traces: Path) -> None:
    command = f"{sys.executable} -m ws_audit review {traces}; echo $? >&2"
    done = subprocess.run(
        ["bash", "-c", f"({command}) | true"], capture_output=True, text=True, check=False
    )
    assert done.stderr == "1\n"


def test_an_ascii_terminal_is_no_error(traces: Path) -> None:
    done = ws_audit("review", str(traces), PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (1, "")
    assert "service   ch\\xe4t" in done.stdout


# --- run -----------------------------------------------------------------------------------

TELL = "import os, sys; print(os.environ['WS_AUDIT_ENABLED'], sys.argv[1:]); sys.exit(7)"


@pytest.mark.parametrize("separator", [["--"], []])
def test_run_becomes_the_command(separator: list[str]) -> None:
    done = ws_audit(
        "run",
        *separator,
        sys.executable,
        "-c",
        TELL,
        "-h",
        "--",
        "--format=x",
        WS_AUDIT_ENABLED="0",
    )
    assert (done.returncode, done.stderr) == (7, "")
    assert done.stdout == "1 ['-h', '--', '--format=x']\n"


def test_run_keeps_pid_and_signals() -> None:
    tell = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
    command = [sys.executable, "-m", "ws_audit", "run", "--", sys.executable, "-c", tell]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert int(child.stdout.readline()) == child.pid
        child.terminate()
        assert child.wait(10) == -signal.SIGTERM


def test_run_does_not_pass_on_the_signals_python_ignores() -> None:
    done = ws_audit("run", "--", "grep", "SigIgn", "/proc/self/status")
    ignored = int(done.stdout.split()[1], 16)
    assert not ignored & (1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1))


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("no-such-command-anywhere", "command not found"),
        ("./missing", "command not found"),
        ("/etc/passwd", "Permission denied"),
        ("", "cannot be empty"),
    ],
)
def test_run_names_a_command_it_cannot_start(command: str, why: str) -> None:
    done = ws_audit("run", "--", command)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"ws-audit run: {command!r}: ")
    assert why in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("words", [["run"], ["run", "--"]])
def test_run_without_a_command_is_bad_usage(words: list[str]) -> None:
    done = ws_audit(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage: ws-audit run -- CMD" in done.stderr


# --- the command itself --------------------------------------------------------------------


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["run", "-h"], ["review", "-h"]])
def test_help_exits_0(words: list[str]) -> None:
    done = ws_audit(*words)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: ws-audit")


def test_help_names_every_command() -> None:
    done = ws_audit("--help")
    assert all(f"\n  {name}" in done.stdout.replace("    ", "  ") for name in cli.COMMANDS)


def test_version() -> None:
    done = ws_audit("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("ws-audit ")


@pytest.mark.parametrize("words", [[], ["nonsense"], ["review"], ["review", "x", "--nonsense"]])
def test_bad_usage_exits_2(words: list[str]) -> None:
    done = ws_audit(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage: ws-audit" in done.stderr


def test_an_error_of_ours_exits_3_with_one_clear_last_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def fail(_: argparse.Namespace) -> int:
        raise RuntimeError("broken")

    monkeypatch.setattr(review, "main", fail)
    assert cli.main(["review", str(tmp_path)]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" in err
    assert err.endswith("\nws-audit: internal error: RuntimeError: broken\n")


def test_an_interrupt_exits_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def interrupted(_: argparse.Namespace) -> int:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
        return 0

    monkeypatch.setattr(review, "main", interrupted)
    # A background job of a shell begins with the signal ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert cli.main(["review", str(tmp_path)]) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr() == ("", "")
