# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.leaks [MODE]`: play every case, print the table, keep the JSON.

Why it exists: one bounded command reproduces every accuracy figure in the README.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from . import incidents, results, tables
from .case import Application, Benign, Defect, applications
from .learned import proposals
from .report import Entry, Outcome, document, entry, text
from .score import score, truth
from .world import MODES, BrokenError, play

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HELD_BACK = "HELD_BACK"
Case = tuple[Application, "Defect | Benign", str]
# More than a mode: all that are measured, or what is printed from the results.
WORDS: Final = {
    "ablation": "every mode but verify, one after the other; goes on where it was interrupted",
    "incidents": "the defects once more, for the review's incidents: one row for each in"
    " docs/accuracy.md; goes on where it was interrupted",
    "docs": "no run: the figures in docs/accuracy.md and README.md are written from the results",
}


def main() -> int:
    """Exit code 0; 1 if a case is none (verify) or could not be played; 2 for bad usage."""
    words = {**MODES, **WORDS}
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.leaks",
        description="Modes: " + "; ".join(f"{name}: {what}" for name, what in words.items()),
    )
    parser.add_argument("mode", nargs="?", default="reviewed", choices=words)
    parser.add_argument("--apps", nargs="*", metavar="NAME", help="only these applications")
    parser.add_argument(
        "--only", metavar="TEXT", default="", help="only cases with this in their name"
    )
    parser.add_argument(
        "--held-back", action="store_true", help="the defects kept for the end, too"
    )
    parser.add_argument("--jobs", type=int, default=2, help="cases at once (2)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures go, whole")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIRECTORY",
        default=results.RESULTS,
        help="of ablation, docs and learned: where the results are (the TOML files that were"
        " learned are beside the JSON)",
    )
    parser.add_argument("--modes", nargs="+", choices=tables.MEASURED, help="of ablation: these")
    parser.add_argument("--fresh", action="store_true", help="of ablation: measure all again")
    options = parser.parse_args()
    if options.mode == "docs":
        return _docs(options.out)
    try:
        apps = applications(options.apps)
    except ValueError as error:
        parser.error(str(error))
    if options.mode in ("ablation", "incidents"):
        if options.out == results.RESULTS and (options.apps or options.only):
            parser.error("a part of the cases is nothing to publish: give it an --out of its own")
        return _ablation(apps, options) if options.mode == "ablation" else _incidents(apps, options)
    facts = results.facts(options.mode, _missing(apps))
    cases = _chosen(apps, options, held=options.held_back or options.mode == "verify")
    whole = document(_play_all(cases, options.mode, options), facts)
    if options.json is not None:
        results.write(options.json, whole)
    print(text(whole))
    return int(whole["summary"]["broken"] > 0)


def _ablation(apps: list[Application], options: argparse.Namespace) -> int:
    broken = 0
    for mode in options.modes or tables.MEASURED:
        facts = results.facts(mode, _missing(apps))
        journal = results.Journal(options.out, facts, fresh=options.fresh)
        cases = _chosen(apps, options, held=options.held_back)
        print(f"{mode} ...", file=sys.stderr, flush=True)
        whole = journal.finish(_play_all(cases, mode, options, journal))
        broken += whole["summary"]["broken"]
        for one in whole["cases"]:
            if one["broken"]:
                print(f"BROKEN {one['name']}: {one['broken']}", file=sys.stderr)
    print(tables.table(tables.measured(options.out)))
    return int(broken > 0)


def _incidents(apps: list[Application], options: argparse.Namespace) -> int:
    broken = 0
    for mode in incidents.MODES:
        facts = results.facts(mode, _missing(apps))
        name = f"{incidents.FILES}{mode}"
        journal = results.Journal(options.out, facts, fresh=options.fresh, name=name)
        # Not those held back: they were run once.
        cases = [one for one in _chosen(apps, options, held=False) if one[2] == "DEFECTS"]
        print(f"{mode} ...", file=sys.stderr, flush=True)
        broken += journal.finish(_play_all(cases, mode, options, journal))["summary"]["broken"]
    measured = incidents.measured(options.out)
    print(incidents.summary(measured), incidents.table(measured), sep="\n\n")
    return int(broken > 0)


def _docs(folder: Path) -> int:
    measured = tables.measured(folder)
    for path in (tables.ACCURACY, tables.README):
        path.write_text(tables.rewritten(path.read_text(), measured))
    return 0


def _missing(apps: list[Application]) -> list[str]:
    """The applications that cannot be played here."""
    missing = [app for app in apps if not all(map(shutil.which, app.needs))]
    for app in missing:
        print(f"left out: {app.name} needs {', '.join(app.needs)}", file=sys.stderr)
    return [app.name for app in missing]


def _chosen(apps: list[Application], options: argparse.Namespace, *, held: bool) -> list[Case]:
    return [
        case
        for app in apps
        if all(map(shutil.which, app.needs))
        for case in _cases(app, held=held)
        if options.only in case[1].name
    ]


def _cases(app: Application, *, held: bool) -> Iterator[Case]:
    for defect in app.defects:
        yield app, defect, "DEFECTS"
    for benign in app.benign:
        yield app, benign, "BENIGN"
    for defect in app.held_back if held else ():
        yield app, defect, HELD_BACK


def _play_all(
    cases: list[Case],
    mode: str,
    options: argparse.Namespace,
    journal: results.Journal | None = None,
) -> list[Entry]:
    learned: dict[str, str] = {}
    if mode == "learned":
        apps = {app.name: app for app, _, _ in cases}
        beside = options.out if journal or options.json is None else options.json.parent
        learned = proposals(list(apps.values()), beside / "learned", options.jobs)
    if journal is None:
        play_one: Callable[[Case], Entry] = partial(_played, mode, learned)
    else:
        play_one = partial(_kept, mode, learned, journal)
    entries = []
    with ThreadPoolExecutor(options.jobs) as pool:
        for number, one in enumerate(pool.map(play_one, cases), 1):
            entries.append(one)
            if sys.stderr.isatty():
                print(f"\r{number}/{len(cases)} ", end="", file=sys.stderr, flush=True)
    return entries


def _kept(mode: str, learned: dict[str, str], journal: results.Journal, one: Case) -> Entry:
    known = journal.known(one[2], one[1].name)
    if known is not None:
        return known
    played = _played(mode, learned, one)
    journal.add(played)
    return played


def _played(mode: str, learned: dict[str, str], one: Case) -> Entry:
    outcome = _play(mode, learned, one)
    if outcome.broken and mode != "verify":
        outcome = _play(mode, learned, one)  # a busy machine is no finding: once more
    return entry(outcome)


def _play(mode: str, learned: dict[str, str], one: Case) -> Outcome:
    app, case, kind = one
    try:
        if mode == "learned" and app.name not in learned:
            raise BrokenError("nothing was learned of the application")
        played = play(app, case, kind, mode, learned=learned.get(app.name, ""))
        result = score(case.name, played)
        _verify(case, leaked=bool(result.leaked))
        if mode == "verify" and isinstance(case, Defect):
            pairs, _ = truth(play(app, case, kind, mode, clean=True))
            if pairs:
                raise BrokenError(f"the application leaks without the defect: {dict(pairs)}")
    except Exception as error:
        return Outcome(app.name, case, kind, None, f"{type(error).__name__}: {error}")
    return Outcome(app.name, case, kind, result, seen=incidents.compared(played))


def _verify(case: Defect | Benign, *, leaked: bool) -> None:
    if isinstance(case, Defect) and not leaked:
        raise BrokenError("no client saw anything foreign: this is no defect")
    if isinstance(case, Benign) and leaked:
        raise BrokenError("a client saw a foreign secret: this is not benign")


if __name__ == "__main__":
    sys.exit(main())
