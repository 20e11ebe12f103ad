# SPDX-License-Identifier: Apache-2.0
"""The `ws-audit` command: finds the subcommand and turns its result into an exit code.

Why it exists: every subcommand ends in the same few exit codes, whatever goes wrong, so that
pipelines can rely on them: 0 clean, 1 findings, 2 bad usage or input, 3 an error of ours,
130 interrupted.

It must never import a subcommand that was not asked for: reviewing a directory needs neither
the demo's web framework nor OpenTelemetry.
"""

from __future__ import annotations

import argparse
import importlib
import io
import sys
import traceback
from typing import Final

COMMANDS: Final = {
    "run": "start a command with the agent switched on",
    "demo": "watch ten users, a seeded leak, and what the agent says of it",
    "doctor": "say whether the agent sees and can judge the messages, and what settles it",
    "learn": "propose roles, connections and policies from clean traffic, for a person to review",
    "scan": "count managers, import paths and factories in source code, and what goes past them",
    "check": "list the managers, import paths and factories that processes really run",
    "grafana": "write dashboards, alert rules and data sources, ready to mount",
    "selftest": "play a leak that is nobody's, and say of each way out whether it arrived",
    "review": "tell from a trace directory who saw whose data",
}

# What `review` does beside showing one; a directory of that name is ./ack and so on.
REVIEW: Final = ("ack", "erase", "events", "export", "replay", "verify", "who")

BAD_INPUT: Final = 2
INTERNAL_ERROR: Final = 3
INTERRUPTED: Final = 130


def main(argv: list[str] | None = None) -> int:
    """Run the command line in `argv` (the process's own if None) and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # an ASCII terminal is no error
    try:
        return _main(sys.argv[1:] if argv is None else argv)
    except SystemExit as end:  # argparse has said what is wrong, or shown the help
        return end.code if isinstance(end.code, int) else BAD_INPUT
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        traceback.print_exc()
        print(f"ws-audit: internal error: {type(error).__name__}: {error}", file=sys.stderr)
        return INTERNAL_ERROR


def _main(argv: list[str]) -> int:
    chosen = next((word for word in argv if not word.startswith("-")), "")
    parser = argparse.ArgumentParser(
        prog="ws-audit",
        description="Prove, on live traffic, that every user only ever receives their own data.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")

    words = argv[argv.index(chosen) + 1 :] if chosen else []
    if chosen == "review" and words and words[0] in REVIEW:
        done: int = importlib.import_module(f"ws_audit.tools.{words[0]}").main(words[1:])
        return done

    module = None
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, allow_abbrev=False)
        if name == chosen:
            module = importlib.import_module(f"ws_audit.tools.{name}")
            module.configure(command)

    options = parser.parse_args(argv)
    if options.version:
        print(f"ws-audit {_version()}")
        return 0
    if module is None:
        parser.error(f"a command is missing: one of {', '.join(COMMANDS)}")
    code: int = module.main(options)
    return code


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("ws-audit")
    except PackageNotFoundError:
        return "(not installed)"
