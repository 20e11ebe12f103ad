# SPDX-License-Identifier: Apache-2.0
"""The violations of one incident as a CSV timeline, in the columns Timesketch asks for.

Why it exists: investigators lay what happened here beside what their other logs say.

It must never let a cell be taken for a formula: names in it come from the application's code and
from its clients.
"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Final

from ws_audit.incidents import timestamp

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ws_audit.review.segments.rows import ViolationRow

# The first three are Timesketch's; its times have microseconds, `time` has all nine decimals.
COLUMNS: Final = (
    *("message", "datetime", "timestamp_desc", "time", "last_time", "rule", "severity"),
    *("owner", "recipient", "event", "outcome", "count", "delivered", "bytes"),
    *("service", "version", "host", "pid", "manager", "site", "function", "transport"),
    *("connection_id", "intent_id", "delivery_id", "trace_id", "span_id"),
)
# What a spreadsheet begins a formula with, also as Chinese and Japanese keyboards have it.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001
_DIGITS: Final = 8  # of a hash, in a sentence


def text(violations: Iterable[ViolationRow]) -> str:
    """Write one line for each stored violation, in order of time."""
    file = io.StringIO()
    writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in sorted(violations, key=lambda row: row.first_ns):
        writer.writerow([_cell(value) for value in _values(row)])
    return file.getvalue()


def _values(row: ViolationRow) -> list[str | int]:
    time = timestamp(row.first_ns)
    many = row.count > 1
    return [
        _message(row),
        f"{time[: -len('000Z')]}+00:00",
        f"First of {row.count} violations" if many else "Violation",
        time,
        timestamp(row.last_ns),
        *(row.rule, row.severity, row.owner, row.recipient, row.event),
        "" if many else row.outcome,  # of an aggregate `delivered` says it
        *(row.count, row.delivered, row.size),
        *(row.origin.service, row.origin.version, row.origin.host, row.origin.pid),
        *(row.manager, row.site, row.function, row.transport),
        *(row.connection_id, row.intent_id, row.delivery_id, row.trace_id, row.span_id),
    ]


def _message(row: ViolationRow) -> str:
    owner, recipient = row.owner[:_DIGITS] or "unknown", row.recipient[:_DIGITS] or "unknown"
    times = f", {row.count} times" if row.count > 1 else ""
    return f"{row.rule} ({row.severity}): owner {owner}, recipient {recipient}{times}"


def _cell(value: str | int) -> str | int:
    """A text that a spreadsheet would compute is shown with an apostrophe before it."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
