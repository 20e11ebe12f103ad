# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.leaks [MODE]`: play every case, print the table, keep the JSON.

Why it exists: one bounded command reproduces every accuracy figure in the README.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from .case import Application, Benign, Defect, applications
from .freeze import content_hash, frozen
from .report import Outcome, document, text
from .score import score, truth
from .world import MODES, BrokenError, play

if TYPE_CHECKING:
    from collections.abc import Iterator

HELD_BACK = "HELD_BACK"


def main() -> int:
    """Exit code 0; 1 if a case is none (verify) or could not be played; 2 for bad usage."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.leaks",
        description="Modes: " + "; ".join(f"{name}: {what}" for name, what in MODES.items()),
    )
    parser.add_argument("mode", nargs="?", default="reviewed", choices=MODES)
    parser.add_argument("--apps", nargs="*", metavar="NAME", help="only these applications")
    parser.add_argument(
        "--only", metavar="TEXT", default="", help="only cases with this in their name"
    )
    parser.add_argument(
        "--held-back", action="store_true", help="the defects kept for the end, too"
    )
    parser.add_argument("--jobs", type=int, default=2, help="cases at once (2)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures go, whole")
    options = parser.parse_args()
    try:
        apps = applications(options.apps)
    except ValueError as error:
        parser.error(str(error))
    skipped = [app for app in apps if not all(map(shutil.which, app.needs))]
    for app in skipped:
        print(f"left out: {app.name} needs {', '.join(app.needs)}", file=sys.stderr)
    held = options.held_back or options.mode == "verify"
    cases = [
        case
        for app in apps
        if app not in skipped
        for case in _cases(app, held=held)
        if options.only in case[1].name
    ]
    play_one = partial(_play, options.mode)
    with ThreadPoolExecutor(options.jobs) as pool:
        outcomes = []
        for number, outcome in enumerate(pool.map(play_one, cases), 1):
            outcomes.append(outcome)
            if sys.stderr.isatty():
                print(f"\r{number}/{len(cases)} ", end="", file=sys.stderr, flush=True)
    now = content_hash()
    facts = {
        "mode": options.mode,
        "hash": now,
        "frozen": frozen() == now,
        "left_out": [app.name for app in skipped],
    }
    if options.json is not None:
        options.json.write_text(json.dumps(document(outcomes, facts), indent=1))
    print(text(outcomes, facts))
    return int(any(outcome.broken for outcome in outcomes))


def _cases(app: Application, *, held: bool) -> Iterator[tuple[Application, Defect | Benign, str]]:
    for defect in app.defects:
        yield app, defect, "DEFECTS"
    for benign in app.benign:
        yield app, benign, "BENIGN"
    for defect in app.held_back if held else ():
        yield app, defect, HELD_BACK


def _play(mode: str, one: tuple[Application, Defect | Benign, str]) -> Outcome:
    app, case, kind = one
    try:
        played = play(app, case, kind, mode)
        result = score(case.name, played)
        _verify(case, bool(result.leaked))
        if mode == "verify" and isinstance(case, Defect):
            pairs, _ = truth(play(app, case, kind, mode, clean=True))
            if pairs:
                raise BrokenError(f"the application leaks without the defect: {dict(pairs)}")
    except Exception as error:
        return Outcome(app.name, case, kind, None, f"{type(error).__name__}: {error}")
    return Outcome(app.name, case, kind, result)


def _verify(case: Defect | Benign, leaked: bool) -> None:
    if isinstance(case, Defect) and not leaked:
        raise BrokenError("no client saw anything foreign: this is no defect")
    if isinstance(case, Benign) and leaked:
        raise BrokenError("a client saw a foreign secret: this is not benign")


if __name__ == "__main__":
    sys.exit(main())
