# SPDX-License-Identifier: Apache-2.0
"""What is on record of one person: whose data they saw, and who saw theirs.

Why it exists: a person asks what became of their data, and an engineer knows them by a name, not
by a hash.

It must never call somebody clean whom another key has hashed.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from ws_audit import schema
from ws_audit.incidents import timestamp
from ws_audit.review.segments import lines

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

    from ws_audit.incidents import Incident, Pair

OWNER: Final = "owner"  # whose data it was
RECIPIENT: Final = "recipient"  # whose connection it went to
_PROCESS: Final = f'"{schema.PROCESS_SPAN}"'.encode()


def of(hashes: Collection[str], incidents: Iterable[Incident]) -> dict[str, dict[str, Any]]:
    """What the incidents say of a person who goes by these hashes, in each of both roles."""
    everything = list(incidents)
    return {role: _role(role, hashes, everything) for role in (OWNER, RECIPIENT)}


def keys(directories: Iterable[Path]) -> Counter[str]:
    """With which hash keys how many processes on record began: the ids of the keys.

    "" is for those that have not told.
    """
    found: dict[str, str] = {}
    for directory in directories:
        for path in sorted(directory.glob("coverage-*.jsonl")):
            try:
                with path.open("rb") as file:
                    for _, line in lines.numbered(file):
                        if _PROCESS in line and lines.PLAYED not in line:
                            found.update(_told(line))
            except OSError:
                continue  # the review names it
    return Counter(found.values())


def _told(line: bytes) -> dict[str, str]:
    try:
        return {
            span.id: span.key for span in lines.spans(line, {}) if span.name == schema.PROCESS_SPAN
        }
    except (lines.ForeignError, *lines.CORRUPT):
        return {}


def _role(role: str, hashes: Collection[str], incidents: list[Incident]) -> dict[str, Any]:
    found = []
    times: list[int] = []
    others: set[str] = set()
    for incident in incidents:
        pairs: list[Pair] = []
        for (recipient, owner), pair in incident.pairs.items():
            person, other = (owner, recipient) if role == OWNER else (recipient, owner)
            if person in hashes:
                pairs.append(pair)
                others.add(other)
        if pairs:
            first_ns, last_ns = min(it.first_ns for it in pairs), max(it.last_ns for it in pairs)
            times += [first_ns, last_ns]
            found.append(
                {
                    "id": incident.id,
                    "rule": incident.rule,
                    "severity": incident.severity,
                    "acknowledged": incident.ack is not None,
                    "events": sum(it.events for it in pairs),
                    "first_seen": timestamp(first_ns),
                    "last_seen": timestamp(last_ns),
                }
            )
    return {
        "events": sum(it["events"] for it in found),
        "others": len(others),
        "first_seen": timestamp(min(times)) if times else None,
        "last_seen": timestamp(max(times)) if times else None,
        "incidents": found,
    }
