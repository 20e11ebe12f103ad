# SPDX-License-Identifier: Apache-2.0
"""`ws-audit review ack INCIDENT`: a person has seen it, and says so where everybody can read it.

Why it exists: an alert that ends by itself has woken somebody for nothing. An incident stays open
until this command, run by a person or for one, has written a name and a note into the journal.

It must never acknowledge what it could not find, and never do so twice.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Final

from ws_audit import journal
from ws_audit.incidents import Mark
from ws_audit.review.segments import read
from ws_audit.review.telling import report

from .actions import (
    LONGEST_NOTE,
    by_option,
    configured,
    incident_option,
    listed,
    source_option,
    text,
    wrong,
)
from .review import progress

if TYPE_CHECKING:
    from ws_audit.incidents import Incident

_COMMAND: Final = "ack"


def main(words: list[str]) -> int:
    """Acknowledge the incident that `words` name; the exit code."""
    options = _parser().parse_args(words)
    directory = options.source or configured(_COMMAND)
    if directory is None:
        return 2
    try:
        review = read.examine(directory, progress())
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        return wrong(_COMMAND, f"{directory}: {why}; expected a trace directory")
    found = next((it for it in review.incidents if it.id == options.incident), None)
    if found is None:
        left = _open(review.incidents)
        return wrong(_COMMAND, f"{directory} has no incident {options.incident!r}\n{left}")
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
            return wrong(
                _COMMAND, f"{journal.path(directory)}: {error.strerror or error}; nothing is closed"
            )
        found.ack = ack
        print(f"{found.id} {report.acknowledged(ack)}")
    print(_open(review.incidents))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ws-audit review ack",
        description="Acknowledge an incident: it is closed, and the next violation of its cause"
        " is a new one.",
        epilog="Exit code: 0 acknowledged, also if somebody had done it before; 2 bad input.",
        allow_abbrev=False,
    )
    incident_option(parser)
    by_option(parser, "who does it; it is shown in every review")
    parser.add_argument(
        "--note",
        required=True,
        type=text(LONGEST_NOTE),
        metavar="TEXT",
        help="what was found and done; it is shown in every review",
    )
    source_option(parser)
    return parser


def _open(incidents: list[Incident]) -> str:
    """The incidents somebody could acknowledge, worst first."""
    return listed("not acknowledged", [it for it in incidents if it.ack is None])
