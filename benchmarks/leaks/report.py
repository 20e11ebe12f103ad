# SPDX-License-Identifier: Apache-2.0
"""The table a person reads, and the JSON a program does: what was found, missed, and invented.

Why it exists: recall without false alarms, or the other way round, says nothing; both stand in
one place, with what was missed by name.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .case import CARRIES, CATEGORIES, Benign, Defect
from .score import bound

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .score import Score

PAGES = ("confirmed", "probable")
FOUND = (*PAGES, "suspected")


@dataclass
class Outcome:
    """One case and its score; without one it could not be played."""

    application: str
    case: Defect | Benign
    kind: str  # the list the case is in
    score: Score | None
    broken: str = ""


def _share(part: int, whole: int) -> str:
    return f"{part}/{whole}" + (f" ({part / whole:.0%})" if whole else "")


def _defects(outcomes: Iterable[Outcome]) -> list[tuple[Outcome, Defect, Score]]:
    return [
        (one, one.case, one.score)
        for one in outcomes
        if isinstance(one.case, Defect) and one.score is not None
    ]


def document(outcomes: list[Outcome], facts: dict[str, Any]) -> dict[str, Any]:
    """Everything, case by case."""
    return {
        **facts,
        "summary": summary(outcomes),
        "cases": [
            {
                "application": one.application,
                "name": one.case.name,
                "list": one.kind,
                "class": getattr(one.case, "category", None) or getattr(one.case, "kind", ""),
                "carries": getattr(one.case, "carries", None),
                "broken": one.broken,
                **({} if one.score is None else _figures(one.score)),
            }
            for one in outcomes
        ],
    }


def _figures(score: Score) -> dict[str, Any]:
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


def summary(outcomes: list[Outcome]) -> dict[str, Any]:
    """The figures of the README's table."""
    defects = _defects(outcomes)
    benign = [one for one in outcomes if isinstance(one.case, Benign) and one.score is not None]
    frames = sum(one.score.frames for one in benign if one.score is not None)
    false = sum(
        sum(one.score.alarms[severity] for severity in PAGES) for one in benign if one.score
    )
    worst = Counter(one.score.worst or "none" for one in benign if one.score is not None)
    judged = Counter[str]()
    for one in outcomes:
        if one.score is not None:
            judged.update(one.score.coverage)
    return {
        "defects": {
            group: {
                "cases": len(members),
                "found": sum(score.named in FOUND for _, _, score in members),
                "pages": sum(score.named in PAGES for _, _, score in members),
                "exact": sum(score.exact for _, _, score in members),
                "frames": sum(score.leaked.total() for _, _, score in members),
                "recalled": sum(score.recalled for _, _, score in members),
                "invented": sum(score.invented for _, _, score in members),
            }
            for group, members in _groups(defects)
        },
        "benign": {
            "kinds": len(benign),
            "worst": dict(worst),
            "frames": frames,
            "false_pages": false,
            "bound": bound(false, frames) if frames else None,
        },
        "coverage": dict(judged),
    }


def _groups(
    defects: list[tuple[Outcome, Defect, Score]],
) -> list[tuple[str, list[tuple[Outcome, Defect, Score]]]]:
    seen = [one for one in defects if one[0].kind != "HELD_BACK"]
    held = [one for one in defects if one[0].kind == "HELD_BACK"]
    groups = [("all", seen)]
    groups += [(name, [one for one in seen if one[1].carries == name]) for name in CARRIES]
    groups += [(name, [one for one in seen if one[1].category == name]) for name in CATEGORIES]
    return [*groups, ("held back", held)] if held else groups


def text(outcomes: list[Outcome], facts: dict[str, Any]) -> str:
    """The table, what was missed, and what was called a leak that is none."""
    lines = [
        f"{facts['mode']}; content {facts['hash']}" + ("" if facts["frozen"] else ", not frozen")
    ]
    broken = [one for one in outcomes if one.broken]
    if facts["mode"] == "verify":
        lines.append(f"{len(outcomes) - len(broken)} of {len(outcomes)} cases are what they say")
    else:
        lines += _table(outcomes)
    lines += [f"BROKEN {one.case.name}: {one.broken}" for one in broken]
    return "\n".join(lines)


def _table(outcomes: list[Outcome]) -> list[str]:
    figures = summary(outcomes)
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
    benign = figures["benign"]
    lines.append(
        f"benign: {benign['kinds']} kinds, worst alarm "
        + ", ".join(f"{name}: {count}" for name, count in sorted(benign["worst"].items()))
    )
    if benign["frames"]:
        lines.append(
            f"  false pages: {benign['false_pages']} of {benign['frames']} frames; "
            f"95 % sure to be below {benign['bound']:.3%}"
        )
    coverage = figures["coverage"]
    if coverage.get("frames"):
        lines.append(f"judged: {_share(coverage['judged'], coverage['frames'])} of all frames")
    lines.append("")
    for _, case, score in _defects(outcomes):
        if score.named not in FOUND:
            rules = ", ".join(f"{rule} {severity}" for rule, severity in score.rules.items())
            lines.append(
                f"MISSED {case.name} ({case.category}, {case.carries}): {rules or 'nothing'}"
            )
        if score.times:
            lines.append(f"TIMES {case.name}: {score.times}")
        if score.strangers:
            lines.append(f"STRANGERS {case.name}: {score.strangers} hashes of nobody")
    for one in outcomes:
        if isinstance(one.case, Benign) and one.score is not None and one.score.worst:
            rules = ", ".join(f"{rule} {what}" for rule, what in one.score.rules.items())
            lines.append(f"ALARM {one.case.name} ({one.case.kind}): {rules}")
    return lines
