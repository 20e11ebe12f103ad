# SPDX-License-Identifier: Apache-2.0
"""The figures of docs/accuracy.md and README.md, written from the results.

Why it exists: a figure that is typed by hand is sooner or later wrong. What stands between
`<!-- leaks:NAME -->` and `<!-- /leaks -->` is made here; a test compares it with the results.

It must never leave out what was missed, or a case that could not be played.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from benchmarks.public import report

from . import incidents, results
from .report import FOUND, PAGES, Entry, benign, defects, misdated, worst
from .world import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    Documents = dict[str, dict[str, Any]]

ACCURACY: Final = ROOT / "docs" / "accuracy.md"
README: Final = ROOT / "README.md"
BEFORE: Final = "before"
ROWS: Final = {
    BEFORE: "nothing declared, before evidence was added",
    "none": "nothing declared",
    "payload": "nothing declared, payload's owner alone",
    "argument": "nothing declared, caller's argument alone",
    "binding": "nothing declared, connection's binding alone",
    "learned": "learned, unreviewed",
    "reviewed": "**reviewed policy**",
    "canary": "reviewed policy and canaries",
}
MEASURED: Final = tuple(mode for mode in ROWS if mode != BEFORE)
_BLOCK: Final = re.compile(r"(<!-- leaks:([a-z]+) -->\n).*?(<!-- /leaks -->)", re.DOTALL)


def measured(folder: Path) -> Documents:
    """What there are results of, in the order of the table."""
    files = {mode: folder / f"{mode}.json" for mode in ROWS}
    return {mode: results.read(path) for mode, path in files.items() if path.exists()}


def rewritten(text: str, documents: Documents) -> str:
    """A page with the figures of these results in it; KeyError for a block nobody knows."""
    return _BLOCK.sub(
        lambda found: f"{found[1]}{BLOCKS[found[2]](documents).strip()}\n{found[3]}", text
    )


def table(documents: Documents) -> str:
    """One row a mode."""
    header = (
        "run", "defects found", "routing", "identity", "content only", "pairs and counts exact",
        "kinds of benign traffic that page", "false pages of frames (95 % sure to be below)",
        "frames judged",
    )  # fmt: skip
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    for mode, one in documents.items():
        figures = one["summary"]
        groups = figures["defects"]
        cells = [
            ROWS[mode],
            *(_of(groups[name]) for name in ("all", "routing", "identity", "content")),
            _of(groups["all"], "exact"),
            f"{_paging(figures)} of {figures['benign']['kinds']}",
            _false(figures["benign"]),
            _judged(figures),
        ]
        if mode == "reviewed":
            cells[1], cells[6] = f"**{cells[1]}**", f"**{cells[6]}**"
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _headline(documents: Documents) -> str:
    figures = documents["reviewed"]["summary"]
    groups, kinds = figures["defects"], figures["benign"]["kinds"]
    held = ""
    if "held back" in groups:
        held = f"; of those held back until the end, and run once, {_of(groups['held back'])}"
    return (
        f"Limits first. **With a reviewed policy and no canaries the agent finds"
        f" {_of(groups['all'])} seeded leaks{held}. It calls {_paging(figures)} of {kinds} kinds of"
        " legitimate traffic a leak.**"
    )


def _readme(documents: Documents) -> str:
    links = {"canary": "reviewed policy, every user's data with a"
             " [canary](docs/configuration.md#canaries)"}  # fmt: skip
    lines = [
        "| | leaks found | kinds of legitimate traffic that page | frames judged |",
        "|---|---|---|---|",
    ]
    for mode in ("none", "learned", "reviewed", "canary"):
        if mode not in documents:
            continue
        figures = documents[mode]["summary"]
        found = _of(figures["defects"]["all"])
        pages = f"{_paging(figures)} of {figures['benign']['kinds']}"
        if mode == "reviewed":
            found, pages = f"**{found}**", f"**{pages}**"
        if mode == "canary":
            found += ", by construction"
        lines.append(f"| {links.get(mode, ROWS[mode])} | {found} | {pages} | {_judged(figures)} |")
    return "\n".join(lines)


def _measured_with(documents: Documents) -> str:
    """The versions, what is broken, and the defects that were held back."""
    lines = []
    for (content, agent, python), modes in _grouped(
        documents, lambda one: (one["hash"], one.get("agent", ""), one.get("python", ""))
    ).items():
        source = f", agent's source `{agent}`, Python {python}" if agent else ""
        lines.append(f"- {_named(modes)}: content `{content}`{source}")
    missing = [mode for mode in ROWS if mode not in documents]
    if missing:
        lines.append(f"- not measured on any version yet: {_named(missing)}")
    for mode, one in documents.items():
        broken = [case["name"] for case in one["cases"] if case["broken"]]
        if broken or one["left_out"]:
            what = [f"`{name}`" for name in (*broken, *one["left_out"])]
            lines.append(f"- **not played** in {ROWS[mode]}: {', '.join(what)}")
        wrong = [case["name"] for case in one["cases"] if misdated(case)]
        if wrong:
            lines.append(f"- **times wrong** in {ROWS[mode]}: {', '.join(wrong)}")
    held = {
        mode: one["summary"]["defects"]["held back"]
        for mode, one in documents.items()
        if "held back" in one["summary"]["defects"]
    }
    for mode, sums in held.items():
        lines.append(f"- held back, {ROWS[mode]}: {_of(sums)} found, {_of(sums, 'exact')} exact")
    if not held:
        lines.append("- the 20 defects held back have not been run")
    return "\n".join(lines)


def _missed(documents: Documents) -> str:
    return _by_application(
        one for one in defects(documents["reviewed"]["cases"]) if one["named"] not in FOUND
    )


def _miscounted(documents: Documents) -> str:
    """What is found with other pairs or counts than the clients'."""
    return _by_application(
        one
        for one in defects(documents["reviewed"]["cases"])
        if one["named"] in FOUND and not one["exact"]
    )


def _alarms(documents: Documents) -> str:
    lines = []
    for mode in ("reviewed", "learned", "none"):
        cases = benign(documents[mode]["cases"]) if mode in documents else []
        paging = [one for one in cases if worst(one) in PAGES]
        if paging:
            names = ", ".join(
                f"`{one['name']}` ({one['application']}, {worst(one)})" for one in paging
            )
            lines.append(f"- {ROWS[mode].strip('*')}: {names}")
    return "\n".join(lines) or "Nothing that pages."


def _incidents(_: Documents) -> str:
    return incidents.summary(incidents.measured(results.RESULTS))


def _each(_: Documents) -> str:
    return incidents.table(incidents.measured(results.RESULTS))


def _several(_: Documents) -> str:
    return incidents.several(incidents.measured(results.RESULTS))


def _public(_: Documents) -> str:
    """The applications from PyPI, of another measurement: benchmarks/public."""
    return report.table(json.loads(report.RESULTS.read_text()))


BLOCKS: Final[dict[str, Callable[[Documents], str]]] = {
    "headline": _headline,
    "table": table,
    "with": _measured_with,
    "missed": _missed,
    "miscounted": _miscounted,
    "alarms": _alarms,
    "incidents": _incidents,
    "each": _each,
    "several": _several,
    "readme": _readme,
    "public": _public,
}


def _by_application(cases: Iterable[Entry]) -> str:
    found = _grouped({one["name"]: one for one in cases}, lambda one: one["application"])
    lines = [
        f"- `{application}`: " + ", ".join(f"`{name}`" for name in names)
        for application, names in found.items()
    ]
    return "\n".join(lines) or "Nothing."


def _grouped(things: dict[str, Any], key: Callable[[Any], Any]) -> dict[Any, list[str]]:
    groups: dict[Any, list[str]] = {}
    for name, one in things.items():
        groups.setdefault(key(one), []).append(name)
    return groups


def _named(modes: list[str]) -> str:
    return ", ".join(ROWS[mode].strip("*") for mode in modes)


def _of(sums: dict[str, int], what: str = "found") -> str:
    return f"{sums[what]} of {sums['cases']}"


def _paging(figures: dict[str, Any]) -> int:
    return sum(figures["benign"]["worst"].get(severity, 0) for severity in PAGES)


def _false(kinds: dict[str, Any]) -> str:
    if not kinds["frames"]:
        return "-"
    return f"{kinds['false_pages']:,} of {kinds['frames']:,} ({kinds['bound']:.1%})".replace(
        "%", " %"
    )


def _judged(figures: dict[str, Any]) -> str:
    coverage = figures["coverage"]
    if not coverage.get("frames"):
        return "-"
    return f"{coverage['judged'] / coverage['frames']:.0%}".replace("%", " %")
