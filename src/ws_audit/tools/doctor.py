# SPDX-License-Identifier: Apache-2.0
"""`ws-audit doctor`: is the agent there, does it see the messages, and can it judge them?

Why it exists: an auditor that is armed, silent and blind looks just like one that finds nothing.
It reads what running processes leave in their trace directory, or starts a command and reads
what that leaves; `explain` says of a class why it is taken or not.

It must never stand between a command and its terminal, signals or exit.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ws_audit.configuration.settings import load
from ws_audit.facts.document import SCHEMA
from ws_audit.facts.state import NAME

from . import doctor_explain
from .doctor_findings import PROBLEM, Finding, examine, unjudged
from .doctor_report import text

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

_RECENT_NS: Final = 600 * 1_000_000_000  # of processes that have ended: those of the last run
_ENABLED: Final = "WS_AUDIT_ENABLED"
_USAGE: Final = (
    "ws-audit doctor [--format text|json] [-- CMD ...]\n"
    "       ws-audit doctor [--format text|json] explain TARGET"
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare what the command line of `doctor` takes."""
    parser.usage = _USAGE
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = (
        "Say what is active, what was taken and what could not be judged, and what settles it.\n\n"
        "  ws-audit doctor                 of the processes that write to the trace directory\n"
        "  ws-audit doctor -- CMD          run CMD with the agent on; report when it ends\n"
        "  ws-audit doctor explain TARGET  why classes are taken or not, and what methods do;\n"
        "                                  TARGET: package.module, package.module:Class,\n"
        "                                  package.module:Class.method, or the path of a .py file"
    )
    parser.epilog = (
        "Exit code: 0 all is well, 1 problems found, 2 bad usage or bad settings, 3 internal error."
    )
    parser.add_argument(
        "--format", choices=("text", "json"), default="text", help="default: %(default)s"
    )
    parser.add_argument("words", metavar="CMD", nargs="...", help=argparse.SUPPRESS)


def main(options: argparse.Namespace) -> int:
    """Examine, write the report, and return the exit code."""
    words: list[str] = options.words
    if words[:1] == ["explain"]:
        return doctor_explain.main(words[1:], options.format)
    if words and words[0] != "--":
        return _wrong(f"unknown word {words[0]!r}; expected explain, or -- before a command")
    if words == ["--"]:
        return _wrong("no command given after --")
    settings, problems = load(os.environ, os.getcwd())
    for problem in problems:
        print(f"ws-audit doctor: {problem}", file=sys.stderr)
    if problems:
        return 2
    if words:
        with tempfile.TemporaryDirectory(prefix="ws-audit-doctor-") as folder:
            print(_RUNNING, file=sys.stderr)
            # Machine-readable output is ours alone.
            code = run_command("doctor", words[1:], folder, quiet=options.format == "json")
            if code is None:
                return 2
            return _report(processes(folder), options.format, _of_command(words[1:], code))
    if not settings.trace_dir:
        return _report([], options.format, [_NO_DIRECTORY])
    found = latest(processes(settings.trace_dir))
    return _report(found, options.format, [] if found else [_nothing_in(settings.trace_dir)])


def _wrong(what: str) -> int:
    print(f"ws-audit doctor: {what}\nusage: {_USAGE}", file=sys.stderr)
    return 2


# --- a command --------------------------------------------------------------------------------


_RUNNING: Final = (
    "ws-audit doctor: running the command with the agent on. Use the application as usual;"
    " the report comes when the command ends (Ctrl-C for a server)."
)


def run_command(
    name: str,
    words: list[str],
    folder: str,
    *,
    quiet: bool,
    begun: Callable[[subprocess.Popen[bytes]], None] | None = None,
) -> int | None:
    """Run a command with the agent on and its facts in a folder; None if there is no such.

    `quiet`: standard output is ours, its own goes to stderr. `begun` is told of the process.
    """
    sys.stderr.flush()
    environment = {**os.environ, _ENABLED: "1", "WS_AUDIT_REPORT": folder}
    process: subprocess.Popen[bytes] | None = None

    def forward(number: int, _: FrameType | None) -> None:
        if process is not None:
            process.send_signal(number)

    # It shares our terminal and process group, so Ctrl-C reaches it directly, and we wait. A
    # handler is not inherited by the new program; what was ignored (nohup) stays so in both.
    restore = {}
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            typed = number in (signal.SIGINT, signal.SIGQUIT)
            restore[number] = signal.signal(number, _wait if typed else forward)
    try:
        process = subprocess.Popen(words, env=environment, stdout=sys.stderr if quiet else None)
        if begun is not None:
            begun(process)
        return process.wait()
    except (OSError, ValueError) as error:
        why = "command not found" if isinstance(error, FileNotFoundError) else str(error)
        print(f"ws-audit {name}: {words[0]!r}: {why}", file=sys.stderr)
        return None
    finally:
        for number, handler in restore.items():
            signal.signal(number, handler)


def _wait(number: int, frame: FrameType | None) -> None:
    """The command was told as well; its end is ours."""


def _of_command(words: list[str], code: int) -> list[Finding]:
    """What the command's own end says."""
    # Stopped as servers are: by Ctrl-C or SIGTERM.
    stopped = (0, -signal.SIGINT, -signal.SIGTERM, 128 + signal.SIGINT, 128 + signal.SIGTERM)
    if code in stopped:
        return []
    return [
        Finding(
            PROBLEM,
            "command_failed",
            f"The command ended with exit code {code}",
            "What it said stands above this report; it may not have come far.",
            " ".join(words),
        )
    ]


# --- what processes have left ------------------------------------------------------------------


def processes(folder: str) -> list[dict[str, Any]]:
    """What processes have left in a trace directory."""
    found = []
    try:
        paths = sorted(Path(folder).iterdir())
    except OSError:
        return []
    for path in paths:
        match = NAME.fullmatch(path.name)
        if match is None:
            continue
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue  # just swept, or no file of ours
        if document.get("schema") == SCHEMA:
            document["state"] = _state(document)
            found.append(document)
    return found


def _state(document: dict[str, Any]) -> str:
    if document["ended"]:
        return "ended"
    if document["host"] != socket.gethostname():
        return "running" if time.time_ns() - document["written_ns"] < _RECENT_NS else "gone"
    try:
        os.kill(document["pid"], 0)
    except ProcessLookupError:
        return "gone"
    except OSError:
        pass
    return "running"


def latest(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that run; else those of the last run."""
    running = [one for one in documents if one["state"] == "running"]
    if running or not documents:
        return running
    last = max(one["written_ns"] for one in documents)
    return [one for one in documents if last - one["written_ns"] < _RECENT_NS]


_NO_DIRECTORY: Final = Finding(
    PROBLEM,
    "no_store",
    "No trace directory is set here",
    "Processes leave their facts in the trace directory. Set it as the application has it, or let"
    " the doctor run the application.",
    "ws-audit doctor -- uvicorn yourapp:app",
)


def _nothing_in(directory: str) -> Finding:
    return Finding(
        PROBLEM,
        "no_process",
        "No process with the agent in it was found",
        f"None has left its facts in {directory}. Either the agent is not switched on there"
        f" ({_ENABLED}=1 in its environment, ws-audit installed in its Python), or the process"
        " uses another trace directory, or no server has taken an application yet.",
        "ws-audit doctor -- uvicorn yourapp:app",
    )


# --- the report -----------------------------------------------------------------------------------


def _report(documents: list[dict[str, Any]], form: str, first: list[Finding]) -> int:
    if not documents and not any(one.id in ("no_store", "no_process") for one in first):
        first = [
            *first,
            Finding(
                PROBLEM,
                "no_process",
                "The agent was in no process of this command",
                "ws-audit has to be installed in the Python that the command runs, and the command"
                " has to hand its environment on. A process that is killed before it has served"
                " leaves nothing either.",
                "python -m pip show ws-audit  # with the python of the command",
            ),
        ]
    # A supervisor, a helper: said, but no problem where another process serves.
    serving = [one for one in documents if one["applications"]]
    examined = serving or documents
    findings: dict[Finding, list[int]] = {finding: [] for finding in first}
    for document in examined:
        for finding in examine(document):
            findings.setdefault(finding, []).append(document["pid"])
    ordered = sorted(findings.items(), key=lambda one: one[0].level != PROBLEM)
    rows, toml = unjudged(examined)
    problems = [finding for finding, _ in ordered if finding.level == PROBLEM]
    report = {
        "schema": SCHEMA,
        "ok": not problems,
        "findings": [{**finding._asdict(), "processes": pids} for finding, pids in ordered],
        "unjudged": rows,
        "toml": toml,
        "processes": examined,
    }
    if form == "json":
        print(json.dumps(report, indent=1))
    else:
        print(text(report, ordered), end="")
    return 1 if problems else 0
