# SPDX-License-Identifier: Apache-2.0
"""`ws-audit review export INCIDENT DIR`: the evidence of one incident, sealed, to keep or hand on.

Why it exists: the trace directory forgets after a month, and holds more than one incident's
records.

It must never leave half an export behind, nor one that the journal does not tell of.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Final

from ws_audit.review.custody import export

from .actions import by_option, configured, incident_option, listed, source_option, wrong
from .review import progress

_COMMAND: Final = "export"


def main(words: list[str]) -> int:
    """Export the incident that `words` name; the exit code."""
    options = _parser().parse_args(words)
    source = options.source or configured(_COMMAND)
    if source is None:
        return 2
    if source.partition("://")[1]:
        return wrong(
            _COMMAND,
            "--source is a database; expected the trace directory: the lines as they were stored "
            "are there alone",
        )
    target = Path(options.directory).absolute()
    try:
        sealed = export.export(
            Path(source), options.incident, target, options.by, time.time_ns(), progress()
        )
    except export.UnknownError as unknown:
        there = listed("there are", unknown.review.incidents)
        return wrong(_COMMAND, f"{source} has no incident {options.incident!r}\n{there}")
    except export.ExportError as error:
        return wrong(_COMMAND, f"{error}")
    except OSError as error:
        named = error.filename or target
        return wrong(_COMMAND, f"{named}: {error.strerror or error}; nothing is exported")
    many = (
        "1 violation record"
        if sealed.violations == 1
        else f"{sealed.violations:,} violation records"
    )
    print(f"{sealed.incident} exported to {target}: {many} in {sealed.files} files")
    print(f"manifest sha256 {sealed.digest}")
    print("Write the digest down elsewhere: it shows that nothing has been changed since.")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ws-audit review export",
        description="Seal the evidence of one incident in a new directory: stored lines, journal,"
        " timeline, manifest. ws-audit review verify DIR checks it, ws-audit review DIR/trace"
        " reviews it.",
        epilog="Exit code: 0 exported, 2 bad input or no room: then nothing is left behind.",
        allow_abbrev=False,
    )
    incident_option(parser)
    parser.add_argument("directory", metavar="DIR", help="empty, or not there yet")
    by_option(parser, "who takes it; it stands in the manifest and in the journal")
    source_option(parser)
    return parser
