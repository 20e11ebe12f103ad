# SPDX-License-Identifier: Apache-2.0
"""The table of the public applications, from the JSON that a measurement leaves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

RESULTS: Final = Path(__file__).with_name("results.json")
VERDICTS: Final = ("match", "violation", "excused", "unattributed")

RUNS: Final = ("nothing declared", "package named", "learned, unreviewed", "declared by hand")


def table(results: dict[str, Any]) -> str:
    """As it stands in docs/accuracy.md."""
    header = (
        "application", "run", "messages", "judged", "not judged, by reason", "violations",
        "same messages as without",
    )  # fmt: skip
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    for name, one in sorted(results.items()):
        for label in (label for label in RUNS if label in one["runs"]):
            run = one["runs"][label]
            frames, left = run["frames"], run["verdicts"]["unattributed"]
            reasons = ", ".join(f"{count} {reason}" for reason, count in run["reasons"].items())
            share = f"{(frames - left) / frames:.0%}".replace("%", " %") if frames else "-"
            cells = (
                f"{name} {one['version']}",
                label,
                f"{frames:,}",
                share,
                reasons or "-",
                _claimed(run["incidents"]),
                "yes" if run["same"] else "**no**",
            )
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _claimed(incidents: Iterable[dict[str, Any]]) -> str:
    return ", ".join(f"{one['events']} {one['rule']} {one['severity']}" for one in incidents) or "0"
