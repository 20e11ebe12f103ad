# SPDX-License-Identifier: Apache-2.0
"""What happened in one trace, on one connection, or to one person: sends and deliveries in order.

Why it exists: after "who saw whose data" comes "what exactly, and what else". Where the agent kept
every event all of it is there; else what stands around the violations is, and that is said.

It must never show one delivery twice because it stands in two segments, and never leave something
out without saying how much.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ws_audit.incidents import timestamp

from . import sieve
from .happenings import DELIVERY, OUTCOME, SEND, VIOLATION, Happening

if TYPE_CHECKING:
    from .loading import Loaded

TRACE, CONNECTION, USER = "trace", "connection", "user"
MOST: Final = 1_000  # rows that are shown unless somebody wants more

_64: Final = (1 << 64) - 1
_MANY: Final = 500  # ids in one question


class Answer(NamedTuple):
    """What was found, oldest first, and how much more there is (older)."""

    rows: list[Happening]
    left_out: int
    seconds: float  # that it took to ask


def ask(loaded: Loaded, by: str, value: str, most: int = MOST) -> Answer:
    """What happened in the trace, on the connection or to the user `value`."""
    begun = time.perf_counter()
    found = _Questions(loaded, most)
    if by == TRACE:
        trace = int(value, 16)
        low = trace & _64
        rows = found.newest("trace", low, "high = ? AND low = ?", [trace >> 64, low])
        # What was not known to be in this trace when it was written hangs below its send.
        there = {row.span for row in rows}
        sends = [row.span for row in rows if row.what == SEND]
        rows += [row for row in found.among("parent", sends) if row.span not in there]
    else:
        if by == CONNECTION:
            rows = found.newest("connection", value, "connection = ?", [value])
        else:
            whose = "starts_with(recipient, ?) OR contains(owners, ?)"
            rows = found.newest("person", value, whose, [value, f" {value}"])
        there = {row.span for row in rows}
        parents = {row.parent for row in rows if row.parent} - there
        rows += [it for it in found.among("span", sorted(parents)) if it.what == SEND]
    leaks = [row.span for row in rows if row.what == VIOLATION and not row.outcome]
    outcomes = {it.span: it for it in found.among("span", leaks) if it.what == OUTCOME}
    together = _together(rows, outcomes)
    return Answer(together, found.left_out, time.perf_counter() - begun)


class _Questions:
    def __init__(self, loaded: Loaded, most: int) -> None:
        self._loaded = loaded
        self._ask = loaded.database.execute
        self._most = most
        self.left_out = 0

    def newest(self, kind: str, key: int | str, where: str, values: list[Any]) -> list[Happening]:
        """The newest there are; how many more of them is counted."""
        place = self._loaded.among([sieve.number(kind, key)])
        rows = self._ask(
            f"SELECT * FROM {place} WHERE {where} ORDER BY time_ns DESC LIMIT {self._most + 1}",
            values,
        ).fetchall()
        if len(rows) > self._most:
            rows.pop()
            # What stands in two segments is one thing: see `_together`.
            ((number,),) = self._ask(
                f"SELECT count(DISTINCT (what = '{SEND}', "
                "CASE WHEN alike > 0 THEN alike ELSE span END, began)) "
                f"FROM {place} WHERE ({where}) AND what <> '{OUTCOME}'",
                values,
            ).fetchall()
            shown = {
                (it.what == SEND, it.alike or it.span, it.began)
                for it in map(_row, rows)
                if it.what != OUTCOME
            }
            self.left_out = number - len(shown)
        return [_row(row) for row in rows]

    def among(self, column: str, ids: list[int]) -> list[Happening]:
        """What has one of these spans, or hangs below one of them."""
        found = []
        for begin in range(0, len(ids), _MANY):
            some = ids[begin : begin + _MANY]
            place = self._loaded.among([sieve.number("span", it) for it in some])
            rows = self._ask(
                f"SELECT * FROM {place} WHERE {column} IN ({', '.join(map(str, some))}) "
                f"LIMIT {2 * self._most}"
            ).fetchall()
            found += [_row(row) for row in rows]
        return found


def _row(row: tuple[Any, ...]) -> Happening:
    return Happening(*row)


def _together(rows: list[Happening], outcomes: dict[int, Happening]) -> list[Happening]:
    """Each thing that happened once, in order."""
    sends: dict[int, Happening] = {}
    leaks: dict[tuple[int, int], Happening] = {}
    found: list[Happening] = []
    for row in rows:
        if row.what == SEND:
            # It stands among the events and beside a violation, there with more of its evidence.
            if row.span not in sends or len(row.owners) > len(sends[row.span].owners):
                sends[row.span] = row
        elif row.what == VIOLATION:
            outcome = outcomes.get(row.span)
            if outcome is not None and not row.outcome:
                row.outcome = outcome.outcome
            leaks[row.alike or row.span, row.began] = row
    for row in rows:
        if row.what == DELIVERY:
            key = row.alike, row.began
            leak = leaks.pop(key, None)
            if leak is not None:
                row.site, row.function = leak.site, leak.function
                row.owners = leak.owners or row.owners
            elif not row.site and row.parent in sends:
                row.site, row.function = sends[row.parent].site, sends[row.parent].function
            found.append(row)
    found += [*sends.values(), *leaks.values()]
    return sorted(found, key=lambda row: (row.time_ns, row.what != SEND, row.span))


def document(loaded: Loaded, asked: dict[str, str], answer: Answer) -> dict[str, Any]:
    """What `--format json` says."""
    return {
        "schema": 1,
        "asked": asked,
        "kept": "all" if loaded.all else "violations",
        "events": [_told(it) for it in answer.rows],
        "left_out": answer.left_out,
        "stored": {
            "events": loaded.events,
            "first": timestamp(loaded.first_ns) if loaded.events else None,
            "last": timestamp(loaded.last_ns) if loaded.events else None,
        },
        "problems": loaded.problems,
    }


def owners(it: Happening) -> list[tuple[str, str]]:
    """The evidence: of which kind, and whom it names."""
    found = []
    for piece in it.owners.split(",") if it.owners else ():
        kind, _, name = piece.partition(" ")
        found.append((kind, name))
    return found


def _told(it: Happening) -> dict[str, Any]:
    told: dict[str, Any] = {
        "time": timestamp(it.time_ns),
        "what": it.what,
        "event": it.event,
        "manager": it.manager,
        "site": it.site,
        "function": it.function,
        "kind": it.kind,
        "transport": it.transport,
        "connection": it.connection,
        "recipient": it.recipient,
        "owners": [{"evidence": kind, "hash": name} for kind, name in owners(it)],
        "verdict": it.verdict,
        "reason": it.reason,
        "rule": it.rule,
        "severity": it.severity,
        "outcome": it.outcome,
        "trace_id": f"{it.high << 64 | it.low:032x}",
        "span_id": f"{it.span:016x}",
        "parent_span_id": f"{it.parent:016x}" if it.parent else "",
        "duration_ns": it.took,
        "bytes": it.size,
        "number": it.number,
        "service": it.service,
        "host": it.host,
        "pid": it.pid,
    }
    return {name: value for name, value in told.items() if value not in ("", [])}
