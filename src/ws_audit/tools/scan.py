# SPDX-License-Identifier: Apache-2.0
"""`ws-audit scan PATH`: how many managers a code base has, and by which ways round them.

Why it exists: a second manager is cheapest to find in the pull request that adds it.

It must never import the code it looks at, nor exit 0 when it could not look.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING, Final

from ws_audit.configuration.settings import read as read_settings
from ws_audit.scan import baseline, report, sarif
from ws_audit.scan.survey import NotThereError, survey

if TYPE_CHECKING:
    import argparse

    from ws_audit.scan.findings import Finding
    from ws_audit.scan.survey import Survey

_PATIENCE_S: Final = 2.0  # what takes longer shows its progress
_WIDTH: Final = 30


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare what the command line of `scan` takes."""
    parser.description = (
        "Count managers, the paths they are imported by, their factories, and what goes past them,"
        " from the source alone: nothing is imported."
    )
    parser.epilog = (
        "Exit code: 0 nothing found, or nothing that is not in the baseline; 1 findings; 2 bad"
        " input. Which implementation is the right one: inventory.canonical in the configuration."
    )
    parser.add_argument("path", metavar="PATH", help="a directory of Python code, or one file")
    parser.add_argument(
        "--format", choices=("text", "json", "sarif"), default="text", help="default: %(default)s"
    )
    parser.add_argument("--output", metavar="FILE", help="write there, not to standard output")
    parser.add_argument(
        "--baseline", metavar="FILE", help="findings that are known: only others fail"
    )
    parser.add_argument(
        "--write-baseline", action="store_true", help="write what is found to --baseline, exit 0"
    )


def main(options: argparse.Namespace) -> int:
    """Scan `options.path`, tell what there is, and return the exit code."""
    if options.write_baseline and not options.baseline:
        return _wrong("--write-baseline needs --baseline FILE")
    if not os.path.exists(options.path):
        return _wrong(f"{options.path}: no such file or directory")
    settings, problems = read_settings(os.environ, os.getcwd())[:2]
    for problem in problems:
        print(f"ws-audit scan: {problem}", file=sys.stderr)
    if problems:
        return 2

    known = baseline.NOTHING
    if options.baseline and not options.write_baseline:
        try:
            known = baseline.load(options.baseline)
        except OSError as error:
            return _wrong(f"--baseline {options.baseline}: {error.strerror or error}")
        except baseline.BaselineError as error:
            return _wrong(f"--baseline {options.baseline}: {error}")
    bar = _Bar()
    try:
        found = survey(options.path, settings.inventory_canonical, bar.show, known.usual)
    except NotThereError as error:
        return _wrong(str(error))
    finally:
        bar.close()
    if found.files in (0, found.unread):
        return _wrong(f"{options.path}: {found.problems[0]}")

    fresh = baseline.new(found.findings, known)
    if options.write_baseline:
        return _write(options.baseline, baseline.dump(found), 0)
    text = _text(found, fresh, baseline.gone(found.findings, known), options)
    return _write(options.output, text, int(bool(fresh)))


def _text(found: Survey, fresh: list[Finding], gone: int, options: argparse.Namespace) -> str:
    # What stands beside the lines of a review is named from the checkout on, not from PATH on.
    above = os.path.relpath(found.root, os.path.realpath(os.getcwd())).replace(os.sep, "/")
    above = "" if above.startswith("..") or above == "." else f"{above}/"
    known = bool(options.baseline)
    if options.format == "text":
        return report.text(found, fresh, baseline=known, above=above, gone=gone)
    if options.format == "json":
        document = report.document(found, fresh)
    else:
        document = sarif.document(found, fresh, baseline=known, above=above)
    return json.dumps(document, indent=1) + "\n"


def _write(path: str | None, text: str, code: int) -> int:
    if not path:
        sys.stdout.write(text)
        return code
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        return _wrong(f"{path}: {error.strerror or error}")
    return code


def _wrong(what: str) -> int:
    print(f"ws-audit scan: {what}", file=sys.stderr)
    return 2


class _Bar:
    """Progress on a terminal, of what takes its time."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._begun = time.monotonic()
        self._last = 0.0

    def show(self, done: int, whole: int) -> None:
        """Show how many files have been read."""
        now = time.monotonic()
        if not self._shown or now - self._begun < _PATIENCE_S or now - self._last < 0.1:
            return
        self._last = now
        full = _WIDTH * done // whole
        bar = "#" * full + "." * (_WIDTH - full)
        print(f"\rscanning [{bar}] {done:,} of {whole:,} files", end="", file=sys.stderr)

    def close(self) -> None:
        """Leave the line as it was."""
        if self._last:
            print("\r\x1b[K", end="", file=sys.stderr)
