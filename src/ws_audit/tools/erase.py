# SPDX-License-Identifier: Apache-2.0
"""`ws-audit review erase HASH`: a person asks for it, and nothing on record leads to them any more.

Why it exists: a hash is personal data. Deleting the trace directory would destroy the evidence of
everybody else.

It must never do anything without --yes, never keep the hash, and never call erased what is not.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ws_audit import journal
from ws_audit.review.custody import erase
from ws_audit.review.segments import gather
from ws_audit.review.telling import report

from .actions import by_option, configured, sources_option, why_option, wrong

if TYPE_CHECKING:
    from ws_audit.review.custody.erase import Found

_COMMAND: Final = "erase"


def main(words: list[str]) -> int:
    """Erase the person whose hash `words` name; the exit code."""
    options = _parser().parse_args(words)
    asked = options.source or [configured(_COMMAND)]
    if None in asked:
        return 2
    if any(it.partition("://")[1] for it in asked):
        return wrong(_COMMAND, "--source is a database; expected the trace directory")
    if options.hash in f"{options.by} {options.note}":
        return wrong(_COMMAND, "the hash is in --by or --note, which stay; expected it in neither")
    directories = gather.directories(asked)
    place: Path | str = ""
    try:
        for place in directories:
            if not Path(place).is_dir():
                return wrong(_COMMAND, f"{place}: no directory; expected a trace directory")
            journal.check(place)
        found = {it: erase.find(it, options.hash) for it in directories}
        if not any(it.files or it.foreign for it in found.values()):
            print("nothing: the hash stands nowhere in " + ", ".join(map(str, directories)))
            return 0
        if not options.yes:
            _say(found)
            return 1
        left = _erase(directories, options.hash, options.by, options.note or "")
    except OSError as error:
        return wrong(
            _COMMAND,
            f"{error.filename or place}: {error.strerror or error}; something of it may be left: "
            "run the command again once that is mended",
        )
    _warn(directories)
    for path in left:
        name = report.plain(str(path))
        wrong(_COMMAND, f"{name}: the hash is still in it; no file of ours, or written just now")
    return 2 if left else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ws-audit review erase",
        description="Take a person's hash out of a trace directory: in its place comes a name that"
        " belongs to nobody, so all counts stay true. Processes may run meanwhile.",
        epilog="Exit code: 0 nothing of it is left; 1 there is something, and no --yes; 2 bad"
        " input, or something of it is left.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "hash", metavar="HASH", type=_hash, help="32 digits, as ws-audit review who USER tells them"
    )
    by_option(parser, "who does it; it stands in the journal")
    why_option(parser)
    parser.add_argument("--yes", action="store_true", help="do it; else it is only shown")
    sources_option(parser)
    return parser


def _hash(text: str) -> str:
    if erase.HASH.fullmatch(text) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole hash; expected 32 digits of 0-9a-f")
    return text


def _erase(directories: tuple[Path, ...], person: str, by: str, note: str) -> list[Path]:
    """Erase, and write that down; where the hash stands after all. Raises OSError."""
    name = erase.new_name()
    left: list[Path] = []
    for directory in directories:
        done = erase.erase(directory, person, name)
        journal.erased(directory, done, by, note, time.time_ns())
        # After the entry: what a review that began before it would keep, it keeps no more.
        erase.forget(directory)
        again = erase.find(directory, person)
        left += [*again.files, *again.foreign]
        print(f"{directory}: {_times(done)}, now {name}")
    return left


def _say(found: dict[Path, Found]) -> None:
    """What would be done."""
    for it in found.values():
        for path, count in it.files.items():
            print(f"{report.plain(str(path))}: {_times(count)}")
        for path in it.foreign:
            name = report.plain(str(path))
            print(f"{name}: not ours, so it would stay there; delete it yourself")
        for path in it.kept:
            print(f"{path}: what reviews have kept would be removed, and made anew")
    _warn(tuple(found))
    print("Nothing is changed. To erase it: the same with --yes. It cannot be undone.")


def _warn(directories: tuple[Path, ...]) -> None:
    """Where the hash may be besides, and may come from again."""
    for directory in directories:
        for name in erase.running(directory):
            print(f"{report.plain(name)} is running: it may write of that person again")
        for export in journal.deeds(directory, journal.EXPORT):
            print(
                f"not reached: the export of {report.plain(str(export.get('incident')))} that "
                f"{report.plain(str(export.get('by')))} took on {str(export.get('time'))[:10]}"
            )
    print("not reached: backups, pages and reviews that were saved, and wherever spans and alerts")
    print("are sent (OpenTelemetry, webhook, logs)")


def _times(count: int) -> str:
    return f"in {count:,} place{'' if count == 1 else 's'}"
