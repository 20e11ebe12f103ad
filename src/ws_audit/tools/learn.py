# SPDX-License-Identifier: Apache-2.0
"""`ws-audit learn`: a configuration proposed from clean traffic, for a person to review.

Why it exists: most false alarms are settled by a few lines that say which field is whose and
which events are for everybody. Counting tells; a person decides.

It must never change a configuration by itself, overwrite a file, or write down who somebody is.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ws_audit.configuration.settings import load
from ws_audit.facts.document import SCHEMA
from ws_audit.facts.state import NAME

from .doctor import run_command
from .learn_proposal import Proposal, propose
from .learn_toml import write

if TYPE_CHECKING:
    import subprocess

_USAGE: Final = (
    "ws-audit learn [--output FILE] [--seconds N] -- CMD ...\n"
    "       ws-audit learn [--output FILE] DIR"
)
_GRACE: Final = 10.0  # seconds between asking the command to end and insisting


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare what the command line of `learn` takes."""
    parser.usage = _USAGE
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = (
        "Propose roles of fields, connection paths and policies, as TOML with the numbers each\n"
        "line stands on.\n\n"
        "  ws-audit learn -- CMD   run CMD with the agent on, look at every message, propose when\n"
        "                          it ends (Ctrl-C for a server, or after --seconds)\n"
        "  ws-audit learn DIR      of processes that were started with WS_AUDIT_REPORT=DIR\n\n"
        "Use traffic that is known to be clean: what is learned from a leak hides it."
    )
    parser.epilog = (
        "Exit code: 0 something was proposed or nothing is needed, 1 too little was seen to say"
        " so, 2 bad usage or bad settings, 3 internal error."
    )
    parser.add_argument("--output", metavar="FILE", help="a new file; default: standard output")
    parser.add_argument("--seconds", metavar="N", type=_seconds, help="end CMD after so long")
    parser.add_argument("words", metavar="DIR | -- CMD", nargs="...", help=argparse.SUPPRESS)


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError
    return value


def main(options: argparse.Namespace) -> int:
    """Learn, write the proposal, and return the exit code."""
    words: list[str] = options.words
    if not words or words == ["--"]:
        return _wrong("expected -- and a command, or a directory of facts")
    output = None if options.output is None else Path(options.output)
    if output is not None and os.path.lexists(output):
        return _wrong(f"{output}: there is such a file already; expected a new one")
    if output is not None and not output.absolute().parent.is_dir():
        return _wrong(f"{output}: its directory does not exist")
    if words[0] == "--":
        _, problems = load(os.environ, os.getcwd())
        for problem in problems:
            print(f"ws-audit learn: {problem}", file=sys.stderr)
        if problems:
            return 2
        with tempfile.TemporaryDirectory(prefix="ws-audit-learn-") as folder:
            if not _run(words[1:], folder, options.seconds):
                return 2
            return _propose(_facts(folder), output)
    if len(words) > 1 or options.seconds is not None:
        return _wrong("of facts there is a directory and nothing else")
    if not Path(words[0]).is_dir():
        return _wrong(f"{words[0]}: no such directory")
    return _propose(_facts(words[0]), output)


def _wrong(what: str) -> int:
    print(f"ws-audit learn: {what}\nusage: {_USAGE}", file=sys.stderr)
    return 2


def _run(words: list[str], folder: str, seconds: float | None) -> bool:
    """Run the command with the agent on; whether there was such a command."""
    print(
        "ws-audit learn: running the command with the agent on. Use the application as usual, as"
        " several users; the proposal comes when the command ends"
        + (" (Ctrl-C for a server)." if seconds is None else f", in {seconds:g} s."),
        file=sys.stderr,
    )
    code = run_command(
        "learn", words, folder, quiet=True, begun=lambda process: _after(process, seconds)
    )
    return code is not None


def _after(process: subprocess.Popen[bytes], seconds: float | None) -> None:
    """End the command when the time is over."""
    if seconds is not None:
        threading.Thread(target=_end, args=(process, seconds), daemon=True).start()


def _end(process: subprocess.Popen[bytes], seconds: float) -> None:
    begun = time.monotonic()
    bar = sys.stderr.isatty()
    while (left := seconds - (time.monotonic() - begun)) > 0:
        if process.poll() is not None:
            return
        if bar:
            done = int(30 * (1 - left / seconds))
            print(f"\r[{'=' * done:<30}] {left:4.0f} s ", end="", file=sys.stderr, flush=True)
        time.sleep(min(left, 0.2))
    if bar:
        print(file=sys.stderr)
    for number in (signal.SIGINT, signal.SIGTERM):
        process.send_signal(number)  # nothing happens to one that has ended
        until = time.monotonic() + _GRACE
        while time.monotonic() < until:
            if process.poll() is not None:
                return
            time.sleep(0.05)
    process.kill()


def _facts(folder: str) -> list[dict[str, Any]]:
    """What processes with the agent have left in a directory."""
    found = []
    for path in sorted(Path(folder).iterdir()):
        if NAME.fullmatch(path.name) is None:
            continue
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue  # just swept, or no file of ours
        if isinstance(document, dict) and document.get("schema") == SCHEMA:
            found.append(document)
    return found


def _propose(documents: list[dict[str, Any]], output: Path | None) -> int:
    if not any(one.get("learned") for one in documents):
        print(
            "ws-audit learn: no process has counted anything. Is ws-audit installed in the Python"
            " of the command, and did the processes have WS_AUDIT_REPORT set when they started?",
            file=sys.stderr,
        )
        return 1
    proposal = propose(documents)
    text = write(proposal)
    if output is None:
        print(text, end="")
    else:
        try:
            with output.open("x", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            return _wrong(f"{output}: {error.strerror}")
        print(f"ws-audit learn: {output} is written; review it.", file=sys.stderr)
    return _code(proposal)


def _code(proposal: Proposal) -> int:
    if proposal.active or (proposal.frames and not proposal.tables and not proposal.lists):
        return 0
    print(
        "ws-audit learn: too little was seen for a line that can stand as it is.", file=sys.stderr
    )
    return 1
