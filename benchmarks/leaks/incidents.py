# SPDX-License-Identifier: Apache-2.0
"""The review's incidents of one seeded defect beside what the clients saw, and the table of it.

Why it exists: who is woken reads incidents, not violations. One mistake should be one incident,
whose pairs, counts and times are those of the clients.

It must never drop an incident: one that is about something else is counted and named, too.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from ws_audit.incidents import place

from . import results
from .report import FOUND, Entry
from .score import EARLY_NS, NO_DELIVERIES, truth
from .score import _hashes as hashes_of
from .score import _nanoseconds as nanoseconds

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from .score import Pair
    from .world import Played

    Incident = dict[str, Any]
    Documents = dict[str, dict[str, Any]]

FILES: Final = "incidents-"  # before the mode, of the results' names
MODES: Final = {"reviewed": "reviewed policy", "canary": "reviewed policy and canaries"}


def compared(played: Played) -> Entry:
    """What the review has of a case: incidents of the seeded cause, others, first and last.

    Of the cause is what `found` means: an incident of severity `suspected` or above that names a
    pair of people, whose data and who saw it, that the clients' journal has as well.
    """
    leaked, when = truth(played)
    names = hashes_of(played.people)
    cause: list[Incident] = []
    others: list[Incident] = []
    review = played.review or {"incidents": []}
    for incident in review["incidents"]:
        pairs = [
            (names.get(pair["recipient"], "?"), names.get(pair["owner"], "?"))
            for pair in incident["pairs"]
        ]
        delivered = incident["rule"] not in NO_DELIVERIES
        true = [who for who in pairs if _seen(who, leaked, delivered=delivered)]
        (cause if true and incident["severity"] in FOUND else others).append(
            {
                "rule": incident["rule"],
                "severity": incident["severity"],
                "sites": incident["sites"],
                "events": incident["events"],
                "attempted": incident["attempted"],
                "pairs": len(pairs),
                "true_pairs": len(true),
                "first_seen": incident["first_seen"],
                "last_seen": incident["last_seen"],
            }
        )
    first, last = _offsets(cause, when.values())
    return {"cause": cause, "others": others, "first_ms": first, "last_ms": last}


def _seen(who: Pair, leaked: Iterable[Pair], *, delivered: bool) -> bool:
    # Of what is no delivery it is not said who of the two saw whose.
    return who in leaked or (not delivered and who[::-1] in leaked)


def _offsets(
    cause: list[Incident], received: Iterable[tuple[int, int]]
) -> tuple[float | None, float | None]:
    """First and last of the incidents' deliveries, in ms from the clients' first and last."""
    sent = [one for one in cause if one["rule"] not in NO_DELIVERIES]
    times = list(received)
    if not sent or not times:
        return None, None
    first = min(nanoseconds(one["first_seen"]) for one in sent) - min(one for one, _ in times)
    last = max(nanoseconds(one["last_seen"]) for one in sent) - max(one for _, one in times)
    return round(first / 1e6, 3), round(last / 1e6, 3)


def timely(case: Entry) -> bool:
    """Whether incidents and pairs begin and end at most a second before the clients' messages."""
    seen = case["review"]
    times = (seen["first_ms"], seen["last_ms"])
    near = all(one is not None and -EARLY_NS / 1e6 <= one <= 0 for one in times)
    return near and not case["times"]


# --- what is published -------------------------------------------------------------------


def measured(folder: Path) -> Documents:
    """What there are results of."""
    files = {mode: folder / f"{FILES}{mode}.json" for mode in MODES}
    return {mode: results.read(path) for mode, path in files.items() if path.exists()}


def _found(document: dict[str, Any]) -> list[Entry]:
    return [one for one in document["cases"] if not one["broken"] and one["named"] in FOUND]


def summary(documents: Documents) -> str:
    """One row a mode."""
    header = (
        "run", "defects found", "one incident", "two or more", "incidents beside",
        "pairs and counts the clients'", "of these, first and last agree",
    )  # fmt: skip
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    for mode, document in documents.items():
        found = _found(document)
        exact = [one for one in found if one["exact"]]
        single = sum(len(one["review"]["cause"]) == 1 for one in found)
        others = Counter(_named([it]) for one in found for it in one["review"]["others"])
        cells = (
            MODES[mode],
            f"{len(found)} of {len(document['cases'])}",
            single,
            len(found) - single,
            ", ".join(f"{count} {name}" for name, count in others.items()) or 0,
            f"{len(exact)} of {len(found)}",
            f"{sum(map(timely, exact))} of {len(exact)}",
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join([*lines, "", *_measured_with(documents)])


def _measured_with(documents: Documents) -> list[str]:
    lines = []
    for mode, one in documents.items():
        broken = [case["name"] for case in one["cases"] if case["broken"]]
        left = [f"`{name}`" for name in (*broken, *one["left_out"])]
        lines.append(
            f"- {MODES[mode]}: content `{one['hash']}`, agent's source `{one['agent']}`, Python"
            f" {one['python']}" + (f"; **not played**: {', '.join(left)}" if left else "")
        )
        lines += [
            f"- {MODES[mode]}, **times apart** in `{case['name']}`: {case['times']}"
            for case in _found(one)
            if case["exact"] and not timely(case)
        ]
    return lines


def table(documents: Documents) -> str:
    """Each defect found with the reviewed policy."""
    header = (
        "application", "defect", "incidents", "beside it", "messages",
        "pairs and counts", "first, last (ms)",
    )  # fmt: skip
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    for one in _found(documents["reviewed"]):
        seen = one["review"]
        times = f"{seen['first_ms']:.1f}, {seen['last_ms']:.1f}" if one["exact"] else "-"
        cells = (
            one["application"],
            f"`{one['name']}`",
            _named(seen["cause"]),
            _named(seen["others"]),
            one["leaked"],
            _beside(one),
            times,
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def several(documents: Documents) -> str:
    """The defects with more than one incident of their own, with rules and places."""
    lines = []
    for mode, document in documents.items():
        for one in _found(document):
            incidents = one["review"]["cause"]
            if len(incidents) > 1:
                where = ", ".join(f"{it['rule']} at `{place(it['sites'][0])}`" for it in incidents)
                lines.append(f"- {MODES[mode]}, `{one['name']}`: {where}")
    return "\n".join(lines) or "None."


def _beside(one: Entry) -> str:
    fewer = one["leaked"] - one["recalled"]
    told = [f"{one['invented']} more"] * bool(one["invented"]) + [f"{fewer} fewer"] * bool(fewer)
    return f"**{', '.join(told)}**" if told else "the same"


def _named(incidents: list[Incident]) -> str:
    told = [f"{one['rule']} {one['severity']}" for one in incidents]
    return f"**{len(told)}**: {', '.join(told)}" if len(told) > 1 else "".join(told) or "-"
