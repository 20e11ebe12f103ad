# SPDX-License-Identifier: Apache-2.0
"""A scan as text, and as the JSON that checks and other programs read.

Why it exists: the same facts for a person in a terminal and for a pipeline.

It must never leave out what could not be read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ws_audit.configuration.wording import plain

from .findings import RULES

if TYPE_CHECKING:
    from collections.abc import Collection

    from .findings import Finding
    from .survey import Survey

SCHEMA: Final = 1
_PATHS: Final = 5


def document(found: Survey, fresh: Collection[Finding]) -> dict[str, Any]:
    """The scan as JSON; `fresh` are the findings that are not in the baseline."""
    return {
        "schema": SCHEMA,
        "summary": found.summary,
        "findings": [
            {
                "rule": one.rule,
                "level": one.level,
                "path": one.path,
                "line": one.line,
                "message": one.message,
                "sites": one.sites,
                "fingerprint": one.fingerprint,
                "new": one in fresh,
            }
            for one in found.findings
        ],
        "implementations": [
            {
                "class": str(one.target),
                "path": one.path,
                "line": one.cls.line,
                "duty": one.duty,
                "canonical": one.canonical,
                "declared": one.declared,
                "import_paths": list(one.paths),
            }
            for one in found.implementations
        ],
        "factories": [
            {
                "factory": one.name,
                "async": one.function.is_async,
                "returns": [str(product) for product in one.products],
                "inconsistent": list(one.why),
            }
            for one in found.factories
        ],
        "root": found.root,
        "problems": found.problems,
        "files": found.files,
        "tests_left_out": found.tests,
    }


def text(
    found: Survey, fresh: Collection[Finding], *, baseline: bool, above: str = "", gone: int = 0
) -> str:
    """The scan for a person; `above` leads from where they are to what was scanned."""
    lines = [_counts(found), ""]
    for one in found.implementations:
        mark = "canonical" if one.declared else "most used" if one.canonical else one.duty
        lines.append(f"  {one.target}  ({mark}; {_plural(len(one.paths), 'import path')})")
        lines += [f"      {path}" for path in one.paths[:_PATHS]]
        if len(one.paths) > _PATHS:
            lines.append(f"      and {len(one.paths) - _PATHS} more")
    shown = [one for one in found.findings if one in fresh]
    rule = ""
    for finding in shown:
        if finding.rule != rule:
            rule = finding.rule
            lines += ["", f"{rule} ({RULES[rule][0]}): {RULES[rule][1]}"]
        lines.append(f"  {above}{finding.path}:{finding.line}: {finding.message}")
    lines.append("")
    if baseline:
        old = len(found.findings) - len(shown)
        lines.append(f"{_plural(len(shown), 'new finding')}; {old} in the baseline")
        if gone:
            lines.append(f"{gone} of the baseline are gone: write it again, and they stay so")
    else:
        lines.append(_plural(len(shown), "finding"))
    lines += [f"  {problem}" for problem in found.problems]
    return "\n".join(map(plain, lines)) + "\n"


def _counts(found: Survey) -> str:
    counts = found.summary
    read = f"{_plural(found.files, 'file')}"
    if found.tests:
        read += f" ({_plural(found.tests, 'test file')} left out)"
    return (
        f"{read}: {_plural(counts['implementations'], 'manager implementation')}, "
        f"{_plural(counts['import_paths'], 'import path')}, "
        f"{_plural(counts['factories'], 'factory', 'factories')} "
        f"({counts['inconsistent_factories']} inconsistent), "
        f"{_plural(counts['bypasses'], 'bypass', 'bypasses')}, {counts['unparsed']} unparsed"
    )


def _plural(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"
