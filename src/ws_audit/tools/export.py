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
from typing import TYPE_CHECKING, Final

from ws_audit.incidents import timestamp
from ws_audit.review import export, report

from .ack import LONGEST_NAME, configured, text, wrong
from .review import progress

if TYPE_CHECKING:
    from ws_audit.incidents import Incident

_COMMAND: Final = "export"
_LISTED: Final = 20


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
        listed = _listed(unknown.review.incidents)
        return wrong(_COMMAND, f"{source} has no incident {options.incident!r}\n{listed}")
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
    parser.add_argument("incident", metavar="INCIDENT", help="its id, as the review shows it")
    parser.add_argument("directory", metavar="DIR", help="empty, or not there yet")
    parser.add_argument(
        "--by",
        required=True,
        type=text(LONGEST_NAME),
        metavar="NAME",
        help="who takes it; it stands in the manifest and in the journal",
    )
    parser.add_argument(
        "--source",
        metavar="DIR",
        help="the trace directory; default: WS_AUDIT_TRACE_DIR, or trace_dir in the configuration",
    )
    return parser


def _listed(incidents: list[Incident]) -> str:
    lines = [
        f"  {it.id}  {it.severity}  {report.plain(it.rule)}  last {timestamp(it.last_ns)}"
        for it in incidents[:_LISTED]
    ]
    if len(incidents) > _LISTED:
        lines.append(f"  and {len(incidents) - _LISTED} more")
    return "\n".join([f"there are: {len(incidents) or 'none'}", *lines])
