# SPDX-License-Identifier: Apache-2.0
"""`ws-audit selftest`: one leak that is nobody's, from the import hook to each way out.

Why it exists: whether a leak would reach somebody depends on a directory, a collector, a URL
and a secret, and is best known before there is one. Run where the service runs, with its
environment, it says of each what is wrong and what to look at.

It must never take a running agent's port, open an incident, or leave anything in a trace
directory but the synthetic record.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Final

from ws_audit.configuration.settings import load

from .selftest_check import FAILED, NOT_TRIED, Check

if TYPE_CHECKING:
    import argparse

    from ws_audit.configuration.settings import Settings

CLEAN, BAD_SETTINGS, BROKEN = 0, 2, 3
SCHEMA: Final = 1
_WIDTH: Final = 15


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare what the command line of `selftest` takes."""
    parser.description = (
        "Play a leak that is nobody's, in this process and with the settings found here, and say"
        " of each way out whether it arrived. Everything is marked as synthetic; a webhook gets one"
        ' POST whose body says "synthetic": true.'
    )
    parser.epilog = "Exit code: 0 all that is configured works, 2 bad settings, 3 something failed."
    parser.add_argument(
        "--format", choices=("text", "json"), default="text", help="default: %(default)s"
    )


def main(options: argparse.Namespace) -> int:
    """Try everything, write what came of it, and return the exit code."""
    settings, problems = load(os.environ, os.getcwd())
    for problem in problems:
        print(f"ws-audit selftest: {problem}", file=sys.stderr)
    if problems:
        return BAD_SETTINGS
    # The page of a running service is its own: nothing is counted into its files.
    shared = [os.environ.pop(name, "") for name in _MULTIPROCESS]
    checks = _checks(settings, next(filter(None, shared), ""))
    broken = any(check.state == FAILED for check in checks)
    if options.format == "json":
        told = [check._asdict() for check in checks]
        print(json.dumps({"schema": SCHEMA, "ok": not broken, "checks": told}, indent=1))
    else:
        print(_text(checks, broken=broken), end="")
    return BROKEN if broken else CLEAN


_MULTIPROCESS: Final = ("PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir")


def _checks(settings: Settings, shared: str) -> list[Check]:
    # After the environment was put right, and after bad settings were told without any of it.
    from .selftest_play import play
    from .selftest_tries import WAYS
    from .selftest_ways import Ways

    ways = Ways(settings, os.environ, shared)
    checks = play(settings, ways)
    for name, way in WAYS.items():
        if ways.delivery is None:
            checks.append(Check(name, NOT_TRIED, "there was no violation to send that way"))
            continue
        _progress(name)
        try:
            checks.append(Check(name, *way(ways, ways.delivery)))
        except Exception as fault:  # a way that breaks must not hide the others
            checks.append(Check(name, FAILED, f"internal error: {type(fault).__name__}"))
    _progress("")
    return checks


def _progress(name: str) -> None:
    """On a terminal: what is being tried, for a dead collector takes its time to be known."""
    if sys.stderr.isatty():
        print(f"\r\033[K{name and f'trying {name} ...'}", end="", file=sys.stderr, flush=True)


def _text(checks: list[Check], *, broken: bool) -> str:
    lines = []
    for check in checks:
        state = check.state.upper() if check.state == FAILED else check.state
        lines.append(f"{check.name:<{_WIDTH}}{state:<{_WIDTH}}{check.what}")
        if check.advice:
            lines.append(f"{'':<{2 * _WIDTH}}{check.advice}")
    end = (
        "FAILED: a leak would not be told everywhere it should be."
        if broken
        else "A leak would be seen, and told in every way that is configured here."
    )
    return "\n".join([*lines, "", end, ""])
