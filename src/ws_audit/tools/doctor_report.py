# SPDX-License-Identifier: Apache-2.0
"""The report of `ws-audit doctor` as text: what is wrong first, then what is active.

Why it exists: it is the first page a newcomer reads. Each problem says what it means and ends
with the line that settles it.

It must never contain what a client sent, and never take more width than a terminal has.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, Final

from .doctor_findings import NOTE, PROBLEM, traffic

if TYPE_CHECKING:
    from .doctor_findings import Finding

_WIDTH: Final = 98
_CLASSES: Final = 20


def text(report: dict[str, Any], findings: list[tuple[Finding, list[int]]]) -> str:
    """The whole report."""
    lines = [_headline(report, findings), ""]
    processes = report["processes"]
    for level, title in ((PROBLEM, "Problems"), (NOTE, "Good to know")):
        chosen = [one for one in findings if one[0].level == level]
        if chosen:
            lines += [title, ""]
            for number, (finding, pids) in enumerate(chosen, 1):
                only = f" (process {', '.join(map(str, pids))})" if len(processes) > 1 else ""
                lines += _finding(number, finding, only)
    if report["unjudged"]:
        lines += _unjudged(report)
    for document in processes:
        lines += _process(document)
    if processes:
        lines += _settings(processes[0])
    return "\n".join(lines).rstrip() + "\n"


def _headline(report: dict[str, Any], findings: list[tuple[Finding, list[int]]]) -> str:
    if not report["processes"]:
        return "ws-audit doctor: no process has left any facts."
    frames = sum(traffic(one)[0] for one in report["processes"])
    missing = sum(traffic(one)[1] for one in report["processes"])
    problems = sum(finding.level == PROBLEM for finding, _ in findings)
    said = f"{problems} problem{'' if problems == 1 else 's'}" if problems else "all is well"
    number = len(report["processes"])
    return (
        f"ws-audit doctor: {said}. {number} process{'' if number == 1 else 'es'},"
        f" {frames:,} messages seen, {frames - missing:,} judged."
    )


def _finding(number: int, finding: Finding, only: str) -> list[str]:
    lines = _wrapped(f"{number}. {finding.title}{only}", "   ", first="")
    lines += _wrapped(finding.text, "   ")
    return [*lines, *_indented(finding.fix), ""]


def _unjudged(report: dict[str, Any]) -> list[str]:
    rows = report["unjudged"]
    lines = [f"The commonest messages that could not be judged ({len(rows)} kinds)", ""]
    for number, row in enumerate(rows, 1):
        about = "about " if row["estimated"] else ""
        event = row["event"] if row["event"] != "none" else "without an event name"
        via = f" through {row['method'].rpartition(':')[0]}" if row["method"] else ""
        lines += _wrapped(
            f"{number}. {about}{row['count']:,} x {event} from {row['site']}{via}", "   ", first=""
        )
        lines += _wrapped(f"{row['reason']}: {row['meaning']}.", "   ")
        lines += _wrapped(row["advice"], "   ")
        lines += [*_settled(row, rows[: number - 1]), ""]
    if report["toml"]:
        lines += _wrapped(
            "All these lines together, for the file that WS_AUDIT_CONFIG names (a list replaces"
            " the built-in names, so it repeats those in use):",
            "",
        )
        lines += ["", *_indented(report["toml"]), ""]
    return lines


def _settled(row: dict[str, Any], before: list[dict[str, Any]]) -> list[str]:
    """The lines, or where they stand already."""
    lines = row["toml"] or row["code"]
    for number, other in enumerate(before, 1):
        if lines and lines == (other["toml"] or other["code"]):
            return _indented(f"(the same lines as for {number})")
    return _indented(lines)


def _process(document: dict[str, Any]) -> list[str]:
    frames, missing = traffic(document)
    state = {"running": "running", "ended": "ended", "gone": "gone without a word"}
    lines = [
        (
            f"Process {document['pid']} ({document['program'] or 'interactive'},"
            f" Python {document['python']}, {state[document['state']]})"
        ),
        f"   messages     {frames:,} seen, {frames - missing:,} judged",
    ]
    served = [one["module"] for one in document["transports"] if one["hooked"]]
    lines += _wrapped(
        f"   hooked       {', '.join(served) or 'no server, no framework'}", " " * 16, ""
    )
    for name, label in (
        ("store", "store"),
        ("metrics", "metrics"),
        ("spans", "spans"),
        ("log_events", "log events"),
    ):
        if document["outputs"]:
            lines.append(f"   {label:<12} {document['outputs'].get(name) or 'none'}")
    key = document["outputs"].get("hash_key")
    if key:
        where = "this process alone" if key == "process" else f"the {key}"
        lines.append(f"   hash key     of {where}")
    lines += ["", f"   Manager classes: {document['classes_total']}"]
    for told in document["classes"][:_CLASSES]:
        lines += class_lines(told)
    if document["classes_total"] > _CLASSES:
        lines.append(f"   and {document['classes_total'] - _CLASSES} more (--format json)")
    if document["factories"]:
        lines.append("   Factories:")
        for factory in document["factories"]:
            made = ", ".join(
                f"{one['product']} ({one['made']:,} made, {one['reused']:,} handed out again)"
                for one in factory["products"]
            )
            lines += _wrapped(f"   {factory['factory']}: {made or 'not called yet'}", " " * 6, "")
    return [*lines, ""]


def class_lines(told: dict[str, Any]) -> list[str]:
    """One class: why it was taken, and what its methods were taken for."""
    lines = _wrapped(f"{told['class']}: {told['reason']}", "   ")
    if told["instance_user"]:
        lines.append(f"      built for   {told['instance_user']}")
    for method in told["methods"]:
        hooked = "" if method.get("hooked", True) else "  NOT HOOKED"
        said = [
            f"{what} {method[key]}"
            for key, what in (
                ("recipient", "user"),
                ("payload", "message"),
                ("event", "event"),
                ("socket", "socket"),
                ("room", "room"),
            )
            if method[key]
        ]
        lines.append(
            f"      {method['kind']:<10} {method['name']:<24} {', '.join(said)}{hooked}".rstrip()
        )
    left = [method["name"] for method in told["not_hooked"]]
    if left:
        lines += _wrapped(f"      not hooked {', '.join(left)}", " " * 17, "")
    return lines


def _settings(document: dict[str, Any]) -> list[str]:
    given = [
        one
        for one in document["settings"]
        if one["source"] != "default" and one["key"] != "report"  # the doctor's own
    ]
    lines = ["Settings (all others have their default)"]
    for one in given:
        lines += _wrapped(f"   {one['key']} = {one['value']}   ({one['source']})", "      ", "")
    return [*lines, *([] if given else ["   none"]), ""]


def _wrapped(words: str, indent: str, first: str | None = None) -> list[str]:
    return textwrap.wrap(
        words,
        _WIDTH,
        initial_indent=indent if first is None else first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _indented(block: str) -> list[str]:
    return [f"     {line}".rstrip() for line in block.splitlines()] if block else []
