# SPDX-License-Identifier: Apache-2.0
"""`ws-audit review verify DIR`: whether an export is still what was sealed.

Why it exists: whoever is handed evidence wants to check it without trusting who hands it.

It must never say that a directory is as it was without having read every file in it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from ws_audit.review.custody import manifest
from ws_audit.review.telling import report

from .actions import wrong

_COMMAND: Final = "verify"


def main(words: list[str]) -> int:
    """Verify the directory that `words` name; the exit code."""
    parser = argparse.ArgumentParser(
        prog="ws-audit review verify",
        description="Compare an export with its manifest, file by file.",
        epilog="Exit code: 0 as it was sealed, 1 something is missing, changed or added, 2 bad"
        " input.",
        allow_abbrev=False,
    )
    parser.add_argument("directory", metavar="DIR", help="as ws-audit review export made it")
    parser.add_argument(
        "--digest",
        metavar="SHA256",
        help="what was printed when it was sealed; without it only the manifest is believed",
    )
    options = parser.parse_args(words)
    try:
        checked = manifest.verify(Path(options.directory))
    except OSError as error:
        return wrong(_COMMAND, f"{options.directory}: {error.strerror or error}")

    problems = checked.problems
    expected = options.digest and options.digest.strip().lower()
    if expected is not None and expected != checked.digest:
        problems = [f"{manifest.FILE}: not the one with this digest", *problems]
    for problem in problems:
        print(report.plain(problem))
    if checked.digest:
        print(f"manifest sha256 {checked.digest}")
    if problems:
        print(f"{options.directory} is NOT as it was sealed")
        return 1
    known = "the digest is the one given" if expected else "compare the digest with your note"
    print(f"all {checked.files} files are as the manifest has them; {known}")
    return 0
