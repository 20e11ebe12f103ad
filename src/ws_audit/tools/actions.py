# SPDX-License-Identifier: Apache-2.0
"""What the actions beside `ws-audit review` (ack, export, verify, who, erase) share.

Why it exists: they name an incident, its trace directory and a person in the same way, and say in
the same way what is wrong with one of them.

It must never write to standard output, which is an action's own.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Final

from ws_audit.configuration.settings import read as read_settings
from ws_audit.incidents import timestamp
from ws_audit.review.telling import report

if TYPE_CHECKING:
    from collections.abc import Callable

    from ws_audit.incidents import Incident

LONGEST_NAME: Final = 200
LONGEST_NOTE: Final = 4_000
_LISTED: Final = 20


def incident_option(parser: argparse.ArgumentParser) -> None:
    """Declare INCIDENT."""
    parser.add_argument("incident", metavar="INCIDENT", help="its id, as the review shows it")


def by_option(parser: argparse.ArgumentParser, what: str) -> None:
    """Declare --by, which no action on record goes without; `what` is its help."""
    parser.add_argument("--by", required=True, type=text(LONGEST_NAME), metavar="NAME", help=what)


def why_option(parser: argparse.ArgumentParser) -> None:
    """Declare --note for an action that is about a person."""
    parser.add_argument(
        "--note",
        type=text(LONGEST_NOTE),
        metavar="TEXT",
        help="why; it stands in the journal: name nobody in it",
    )


def source_option(parser: argparse.ArgumentParser) -> None:
    """Declare --source; without it, `configured` tells."""
    parser.add_argument(
        "--source",
        metavar="DIR",
        help="the trace directory; default: WS_AUDIT_TRACE_DIR, or trace_dir in the configuration",
    )


def sources_option(parser: argparse.ArgumentParser) -> None:
    """Declare --source for an action that takes several; without it, `configured` tells."""
    parser.add_argument(
        "--source",
        action="append",
        metavar="DIR",
        help="a trace directory, again for each further one; default: WS_AUDIT_TRACE_DIR, or "
        "trace_dir in the configuration",
    )


def text(longest: int) -> Callable[[str], str]:
    """What takes a word that is neither empty nor too long."""

    def check(text: str) -> str:
        if not text.strip():
            raise argparse.ArgumentTypeError("it is empty")
        if len(text) > longest:
            raise argparse.ArgumentTypeError(f"{len(text):,} characters, at most {longest:,}")
        return text

    return check


def configured(command: str) -> str | None:
    """The directory the settings name; said for `command`, with where they do. None: none."""
    settings, problems, origins = read_settings(os.environ, os.getcwd())
    for problem in problems:
        wrong(command, problem)
    if problems:
        return None
    if not settings.trace_dir:
        wrong(command, "no trace directory; give --source DIR, or set WS_AUDIT_TRACE_DIR")
        return None
    where = origins.get("trace_dir", "")
    wrong(command, f"{settings.trace_dir} ({where})")
    return settings.trace_dir


def listed(what: str, incidents: list[Incident]) -> str:
    """How many there are of what, and the first of them, a line each."""
    lines = [
        f"  {it.id}  {it.severity}  {report.plain(it.rule)}  last {timestamp(it.last_ns)}"
        for it in incidents[:_LISTED]
    ]
    if len(incidents) > _LISTED:
        lines.append(f"  and {len(incidents) - _LISTED} more")
    return "\n".join([f"{what}: {len(incidents) or 'none'}", *lines])


def wrong(command: str, what: str) -> int:
    """Say something on stderr; 2, the exit code if it is why nothing was done."""
    print(f"ws-audit review {command}: {what}", file=sys.stderr)
    return 2
