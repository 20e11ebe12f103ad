# SPDX-License-Identifier: Apache-2.0
"""The text a person reads, and the JSON a program does: what was found, missed, and invented.

Why it exists: recall without false alarms, or the other way round, says nothing; both stand in
one place, with what was missed by name. Everything is computed from the cases as they stand in
the JSON, so that a figure can be traced to the file it was published from.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from .case import CARRIES, CATEGORIES, Benign, Defect
from .score import SEVERITIES, bound

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .score import Score

PAGES: Final = ("confirmed", "probable")
FOUND: Final = (*PAGES, "suspected")
Entry = dict[str, Any]


@dataclass
class Outcome:
    """One case and its score; without one it could not be played."""

    application: str
    case: Defect | Benign
    kind: str  # the list the case is in
    score: Score | None
    broken: str = ""
    seen: Entry = field(default_factory=dict)  # its incidents, see incidents.py


def entry(one: Outcome) -> Entry:
    """A case as it stands in the JSON."""
    return {
        "application": one.application,
        "name": one.case.name,
        "list": one.kind,
        "class": getattr(one.case, "category", None) or getattr(one.case, "kind", ""),
        "carries": getattr(one.case, "carries", None),
        "broken": one.broken,
        **({} if one.score is None else {**_figures(one.score), "review": one.seen}),
    }


def _figures(score: Score) -> Entry:
    return {
        "frames": score.frames,
        "leaked": score.leaked.total(),
        "recalled": score.recalled,
        "invented": score.invented,
        "exact": score.exact,
        "named": score.named,
        "rules": score.rules,
        "alarms": dict(score.alarms),
        "coverage": score.coverage,
        "times": score.times,
        "strangers": score.strangers,
    }


def document(cases: list[Entry], facts: dict[str, Any]) -> dict[str, Any]:
    """Everything, case by case."""
    return {**facts, "summary": summary(cases), "cases": cases}


def worst(case: Entry) -> str:
    """The worst severity of anything the agent raised in a case, "" for nothing."""
    return next((one for one in SEVERITIES if one in case["rules"].values()), "")


def defects(cases: Iterable[Entry]) -> list[Entry]:
    """The defects that were played, without those held back."""
    return [one for one in cases if one["list"] == "DEFECTS" and not one["broken"]]


def benign(cases: Iterable[Entry]) -> list[Entry]:
    """The kinds of benign traffic that were played."""
    return [one for one in cases if one["list"] == "BENIGN" and not one["broken"]]


def summary(cases: list[Entry]) -> dict[str, Any]:
    """The figures of the table in docs/accuracy.md."""
    kinds = benign(cases)
    frames = sum(one["frames"] for one in kinds)
    false = sum(one["alarms"].get(severity, 0) for one in kinds for severity in PAGES)
    judged = Counter[str]()
    for one in cases:
        judged.update(one.get("coverage", {}))
    return {
        "defects": {group: _sums(members) for group, members in _groups(cases)},
        "benign": {
            "kinds": len(kinds),
            "worst": dict(Counter(worst(one) or "none" for one in kinds)),
            "frames": frames,
            "false_pages": false,
            "bound": bound(false, frames) if frames else None,
        },
        "coverage": dict(judged),
        "broken": sum(bool(one["broken"]) for one in cases),
        "misdated": sum(misdated(one) for one in cases),
    }


def misdated(case: Entry) -> bool:
    """Whether the agent's times are wrong.

    Of a pair, an incident is held against all the clients' messages that leaked. Where the
    counts are not the clients', it may be about others, so that its times say nothing.
    """
    return bool(case.get("times")) and case["exact"]


def _sums(members: list[Entry]) -> dict[str, int]:
    return {
        "cases": len(members),
        "found": sum(one["named"] in FOUND for one in members),
        "pages": sum(one["named"] in PAGES for one in members),
        "exact": sum(one["exact"] for one in members),
        "frames": sum(one["leaked"] for one in members),
        "recalled": sum(one["recalled"] for one in members),
        "invented": sum(one["invented"] for one in members),
    }


def _groups(cases: list[Entry]) -> list[tuple[str, list[Entry]]]:
    seen = defects(cases)
    held = [one for one in cases if one["list"] == "HELD_BACK" and not one["broken"]]
    groups = [("all", seen)]
    groups += [(name, [one for one in seen if one["carries"] == name]) for name in CARRIES]
    groups += [(name, [one for one in seen if one["class"] == name]) for name in CATEGORIES]
    return [*groups, ("held back", held)] if held else groups


def text(document: dict[str, Any]) -> str:
    """What was found, missed, and called a leak that is none."""
    lines = [
        f"{document['mode']}; content {document['hash']}"
        + ("" if document["frozen"] else ", not frozen")
    ]
    cases = document["cases"]
    broken = [one for one in cases if one["broken"]]
    if document["mode"] == "verify":
        lines.append(f"{len(cases) - len(broken)} of {len(cases)} cases are what they say")
    else:
        lines += _table(document["summary"]) + _by_name(cases)
    lines += [f"BROKEN {one['name']}: {one['broken']}" for one in broken]
    return "\n".join(lines)


def _share(part: int, whole: int) -> str:
    return f"{part}/{whole}" + (f" ({part / whole:.0%})" if whole else "")


def _table(figures: dict[str, Any]) -> list[str]:
    header = ("defects", "found", "would page", "exact pairs", "leaked frames named", "invented")
    rows = [header]
    for group, one in figures["defects"].items():
        cases = one["cases"]
        rows.append(
            (
                group,
                _share(one["found"], cases),
                _share(one["pages"], cases),
                _share(one["exact"], cases),
                _share(one["recalled"], one["frames"]),
                str(one["invented"]),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    lines = ["", *("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows), ""]
    kinds = figures["benign"]
    lines.append(
        f"benign: {kinds['kinds']} kinds, worst alarm "
        + ", ".join(f"{name}: {count}" for name, count in sorted(kinds["worst"].items()))
    )
    if kinds["frames"]:
        lines.append(
            f"  false pages: {kinds['false_pages']} of {kinds['frames']} frames; "
            f"95 % sure to be below {kinds['bound']:.3%}"
        )
    coverage = figures["coverage"]
    if coverage.get("frames"):
        lines.append(f"judged: {_share(coverage['judged'], coverage['frames'])} of all frames")
    return [*lines, ""]


def _by_name(cases: list[Entry]) -> list[str]:
    lines = []
    for one in cases:
        if one["broken"]:
            continue
        rules = ", ".join(f"{rule} {severity}" for rule, severity in one["rules"].items())
        if one["list"] == "BENIGN":
            if rules:
                lines.append(f"ALARM {one['name']} ({one['class']}): {rules}")
            continue
        if one["named"] not in FOUND:
            what = f"{one['class']}, {one['carries']}"
            lines.append(f"MISSED {one['name']} ({what}): {rules or 'nothing'}")
        if misdated(one):
            lines.append(f"TIMES {one['name']}: {one['times']}")
        if one["strangers"]:
            lines.append(f"STRANGERS {one['name']}: {one['strangers']} hashes of nobody")
    return lines
