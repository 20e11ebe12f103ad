# SPDX-License-Identifier: Apache-2.0
"""`ws-audit run -- CMD`: the same command, with the agent switched on.

Why it exists: trying the agent on an application should need no edit of its environment.

It must never stay around CMD: the process becomes CMD, so exit code, signals and terminal are
CMD's own.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Final

from ws_audit.configuration.settings import load

if TYPE_CHECKING:
    import argparse

ENABLED: Final = "WS_AUDIT_ENABLED"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare what the command line of `run` takes."""
    parser.usage = "ws-audit run -- CMD ..."
    parser.description = (
        f"Set {ENABLED}=1 and become CMD. Settings come from WS_AUDIT_* variables, "
        "from the file WS_AUDIT_CONFIG names, or from [tool.ws-audit] in pyproject.toml."
    )
    parser.add_argument("words", metavar="CMD", nargs="...", help="the command and its arguments")


def main(options: argparse.Namespace) -> int:
    """Become the command. Returns only if that failed, with exit code 2: a bad setting is."""
    words: list[str] = options.words
    if words[:1] == ["--"]:
        words = words[1:]
    if not words:
        print("ws-audit run: no command given; usage: ws-audit run -- CMD ...", file=sys.stderr)
        return 2

    # Whoever types this is there to read it; an application that is already running is not.
    _, problems = load(os.environ, os.getcwd())
    for problem in problems:
        print(f"ws-audit run: {problem}", file=sys.stderr)
    if problems:
        return 2

    sys.stdout.flush()
    sys.stderr.flush()

    # Python ignores these for itself, and what is ignored stays so in the new program.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvpe(words[0], words, {**os.environ, ENABLED: "1"})
    except (OSError, ValueError) as error:
        why = "command not found" if isinstance(error, FileNotFoundError) else str(error)
        print(
            f"ws-audit run: {words[0]!r}: {why}; expected an executable file or a name on PATH",
            file=sys.stderr,
        )
    return 2
