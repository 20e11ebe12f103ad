# SPDX-License-Identifier: Apache-2.0
"""`ws-audit review ack INCIDENT`: a person has seen it, and says so where everybody can read it.

Why it exists: an alert that ends by itself has woken somebody for nothing. An incident stays open
until this command, run by a person or for one, has written a name and a note into the journal.

It must never acknowledge what it could not find, and never do so twice.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import TYPE_CHECKING, Final

from ws_audit import journal
from ws_audit.configuration.settings import read as read_settings
from ws_audit.incidents import Mark, timestamp
from ws_audit.review import read, report

from .review import progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from ws_audit.incidents import Incident

LONGEST_NAME: Final = 200
_LONGEST_NOTE: Final = 4_000
_LISTED: Final = 20


def main(words: list[str]) -> int:
    """Acknowledge the incident that `words` name; the exit code."""
    options = _parser().parse_args(words)
    directory = options.source or configured("ack")
    if directory is None:
        return 2
    try:
        review = read.examine(directory, progress())
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        return _wrong(f"{directory}: {why}; expected a trace directory")
    found = next((it for it in review.incidents if it.id == options.incident), None)
    if found is None:
        listed = _listed(review.incidents)
        return _wrong(f"{directory} has no incident {options.incident!r}\n{listed}")
    if found.ack is not None:
        # Not an error: a script that runs twice, or two people at once, want what there is.
        print(f"{found.id} was {report.acknowledged(found.ack)}; nothing is written")
    else:
        ack = Mark(
            found.id.partition("-")[0],
            found.number,
            found.first_ns,
            found.last_ns,
            # The next finding is another incident; what has been read here is none.
            max(time.time_ns(), found.last_ns),
            options.by,
            options.note,
        )
        try:
            journal.append(directory, [ack])
        except OSError as error:
            return _wrong(
                f"{journal.path(directory)}: {error.strerror or error}; nothing is closed"
            )
        found.ack = ack
        print(f"{found.id} {report.acknowledged(ack)}")
    print(_listed(review.incidents))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ws-audit review ack",
        description="Acknowledge an incident: it is closed, and the next violation of its cause"
        " is a new one.",
        epilog="Exit code: 0 acknowledged, also if somebody had done it before; 2 bad input.",
        allow_abbrev=False,
    )
    parser.add_argument("incident", metavar="INCIDENT", help="its id, as the review shows it")
    parser.add_argument("--by", required=True, type=text(LONGEST_NAME), metavar="NAME")
    parser.add_argument(
        "--note",
        required=True,
        type=text(_LONGEST_NOTE),
        metavar="TEXT",
        help="what was found and done; it is shown in every review",
    )
    parser.add_argument(
        "--source",
        metavar="DIR",
        help="the trace directory; default: WS_AUDIT_TRACE_DIR, or trace_dir in the configuration",
    )
    return parser


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


def _listed(incidents: list[Incident]) -> str:
    """The incidents somebody could acknowledge, worst first."""
    still = [it for it in incidents if it.ack is None]
    lines = [
        f"  {it.id}  {it.severity}  {report.plain(it.rule)}  last {timestamp(it.last_ns)}"
        for it in still[:_LISTED]
    ]
    if len(still) > _LISTED:
        lines.append(f"  and {len(still) - _LISTED} more")
    return "\n".join([f"not acknowledged: {len(still) or 'none'}", *lines])


def _wrong(what: str) -> int:
    return wrong("ack", what)


def wrong(command: str, what: str) -> int:
    """Say something on stderr; 2, the exit code if it is why nothing was done."""
    print(f"ws-audit review {command}: {what}", file=sys.stderr)
    return 2
