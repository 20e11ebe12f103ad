# SPDX-License-Identifier: Apache-2.0
"""`ws-audit demo`: the agent on a realistic service, beside what its users really received.

Why it exists: somebody who has never seen the agent should see it find a leak, or vouch for a
clean run, within seconds, on a machine with nothing but Python.

It must never claim more than it has checked: where agent and clients differ, it exits with 3.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from . import demo_report, demo_stage, demo_verdict
from .demo_cast import Cast

if TYPE_CHECKING:
    import argparse

CLEAN, FOUND, USAGE, WRONG = 0, 1, 2, 3

LEAKS = {
    "stale_route": "a connection id is given out twice after a reconnect",
    "fanout_bug": "a send to one user loops over every connection",
    "shared_emitter": "an emitter is cached under a key without the user",
    "queue_mixup": "queues are looked up by run number, which every user counts from one",
    "last_socket": "one background reporter for all, holding the socket that came last",
}
NEEDS = ("fastapi", "uvicorn", "websockets")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--leak",
        choices=[*LEAKS, "all"],
        metavar="NAME",
        help=f"switch on a seeded defect: {', '.join(LEAKS)}, or all, one service each",
    )
    parser.add_argument("--users", type=int, default=10, help="concurrent users (default: 10)")
    parser.add_argument("--runs", type=int, default=5, help="agent runs of each (default: 5)")
    parser.add_argument("--dir", type=Path, help="where to leave the store (default: temporary)")
    parser.add_argument("--format", choices=["text", "json"], default="text")


def main(options: argparse.Namespace) -> int:
    leaks = list(LEAKS) if options.leak == "all" else [options.leak or ""]
    folder = options.dir and options.dir.absolute()

    if problem := misuse(options, leaks, folder):
        print(f"ws-audit demo: {problem}", file=sys.stderr)
        return USAGE

    folder = folder or Path(tempfile.mkdtemp(prefix="ws-audit-demo-"))
    cast = Cast.of(options.users)
    users = cast.users_by_hash()
    accounts: list[demo_verdict.Account] = []

    try:
        for leak in leaks:
            bar = Bar(leak or "clean")

            with bar:
                stage = demo_stage.play(leak, cast, options.runs, stage_folder(folder, leak), bar)

            accounts.append(demo_verdict.settle(stage, users))

            if options.format == "text":
                description = LEAKS.get(leak, "no defect is on")
                print(demo_report.text(accounts[-1], description, cast), flush=True)

    except demo_stage.StageError as error:
        print(f"ws-audit demo: {error}", file=sys.stderr)
        return WRONG

    code = exit_code(accounts)

    if options.format == "json":
        print(json.dumps(demo_report.document(accounts, cast, code), indent=1))
    else:
        print(demo_report.conclusion(accounts))

    return code


def misuse(options: argparse.Namespace, leaks: list[str], folder: Path | None) -> str:
    """What stands in the way, with what to do about it; empty if nothing does."""
    if missing := [name for name in NEEDS if importlib.util.find_spec(name) is None]:
        return f"{', '.join(missing)} not installed: pip install 'ws-audit[demo]'"

    # One user cannot receive anybody else's data, and two of the defects need a second run.
    least = 2 if options.leak else 1

    for key in ("users", "runs"):
        if not least <= getattr(options, key) <= 1000:
            return f"--{key} {getattr(options, key)}: expected {least} to 1000"

    if folder:
        for leak in leaks:
            if stage_folder(folder, leak).exists():
                return f"--dir {folder}: {stage_folder(folder, leak)} holds an earlier run"

        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            return f"--dir {folder}: {error.strerror}; expected a directory that can be written"

        if not os.access(folder, os.W_OK | os.X_OK):
            return f"--dir {folder}: expected a directory that can be written"

    return ""


def stage_folder(folder: Path, leak: str) -> Path:
    return folder / (leak or "clean")


def exit_code(accounts: list[demo_verdict.Account]) -> int:
    if any(account.disagreements for account in accounts):
        return WRONG

    return FOUND if any(account.leaked for account in accounts) else CLEAN


class Bar:
    """A progress bar on a terminal, silence elsewhere."""

    WIDTH = 30

    def __init__(self, title: str) -> None:
        self._title = title
        self._shown = sys.stderr.isatty()

    def __enter__(self) -> None:
        self(0, 1)

    def __exit__(self, *_: object) -> None:
        if self._shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)

    def __call__(self, done: int, total: int) -> None:
        if not self._shown:
            return

        filled = self.WIDTH * done // total
        drawn = "#" * filled + "." * (self.WIDTH - filled)
        count = f"{done}/{total} runs" if done else "starting"
        print(f"\r{self._title:<15} [{drawn}] {count}", end="", file=sys.stderr, flush=True)
