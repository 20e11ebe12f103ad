# SPDX-License-Identifier: Apache-2.0
"""Each clause of what a ClickHouse is asked, with a row that would count without it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.review.warehouse import KEYS
from tests.unit.recorder import SECOND, START
from ws_audit.review.databases import clickhouse
from ws_audit.review.segments import keep
from ws_audit.review.selection import EVERYTHING, Selection

if TYPE_CHECKING:
    from tests.review.warehouse import Server
    from ws_audit.review.segments.read import Review

ALICE, BOB, EVE = "a" * 32, "b" * 32, "e" * 32
FOUND = {"security_rule.name": "canary", "ws_audit.severity": "confirmed", "user.hash": ALICE}
NAMES = ("violation", "coverage", "process", "create app:Hub", "send app:Hub")
VIOLATION, COVERAGE, PROCESS, CREATE, SEND = (f"ws_audit.{name}" for name in NAMES)


def put(
    server: Server,
    name: str,
    ids: str,
    at: float,
    *,
    lasts: float = 0,
    service: str = "chat",
    scope: str = "ws_audit",
    **attributes: Any,
) -> None:
    """One span; `ids` are a letter for the trace and a digit for the span."""
    said = {key.replace("__", "."): str(value).lower() for key, value in attributes.items()}
    server.put(
        "INSERT INTO otel_traces (Timestamp, TraceId, SpanId, SpanName, ScopeName, Duration, "
        "ResourceAttributes, SpanAttributes) VALUES ("
        f"fromUnixTimestamp64Nano({START + int(at * SECOND)}), '{ids[0]}', '{ids[1:]}', '{name}', "
        f"'{scope}', {int(lasts * SECOND)}, {{'service.name': '{service}'}}, {said})"
    )


def fill(server: Server) -> None:
    """What is to be counted, and beside it what is not."""
    found: dict[str, Any] = {key.replace(".", "__"): value for key, value in FOUND.items()}
    put(server, VIOLATION, "a1", 10, ws_audit__bytes=5, ws_audit__owner__hash=BOB, **found)
    for _ in range(2):
        put(server, VIOLATION, "a2", 11, ws_audit__outcome="error", ws_audit__bytes=7, **found)
    put(
        server,
        *(VIOLATION, "b3", 12),
        lasts=3,
        ws_audit__count=5,
        ws_audit__delivered=9,
        ws_audit__bytes=100,
        **found,
    )
    put(server, VIOLATION, "c4", 13, lasts=90, ws_audit__outcome="ok", **found)
    put(server, VIOLATION, "d5", 20, ws_audit__site="a:b", **found)
    put(server, VIOLATION, "d6", 21, ws_audit__site="a:c", **found)
    put(server, VIOLATION, "e7", 22, ws_audit__synthetic=True, **found)
    shared = {**found, "security_rule__name": "shared_state", "ws_audit__outcome": "error"}
    put(server, VIOLATION, "f8", 30, service="mail", ws_audit__bytes=50, **shared)
    # Others'; no violation; an outcome alone; and one that makes no sense.
    put(server, VIOLATION, "g1", 1, lasts=500, scope="other", service="x", **found)
    put(server, SEND, "g2", 14, **found)
    put(server, VIOLATION, "g3", 15, user__hash=EVE, ws_audit__severity="terrible")
    put(server, VIOLATION, "g4", 16, **{**found, "ws_audit__severity": "terrible"})
    put(server, CREATE, "g5", 1, lasts=500, **{**found, "ws_audit__severity": "terrible"})

    senseless = {**found, "ws_audit__severity": "terrible"}
    for _ in range(2):
        put(server, PROCESS, "p1", 5, ws_audit__final=True, ws_audit__frames=99, **senseless)
    put(server, PROCESS, "p2", 6, service="mail")
    put(server, PROCESS, "p3", 6, service="mail", scope="other")
    for _ in range(2):
        put(server, COVERAGE, "q1", 0, lasts=60, ws_audit__frames=10, ws_audit__judged=8)
    put(server, COVERAGE, "q2", 60, lasts=40, ws_audit__frames=7, ws_audit__unattributed=1)
    put(
        server,
        *(COVERAGE, "q3", 60),
        lasts=60,
        service="mail",
        ws_audit__frames=5,
        ws_audit__final=True,
    )
    put(server, COVERAGE, "q4", 60, lasts=900, scope="other", ws_audit__frames=1)
    put(server, COVERAGE, "q5", 60, lasts=900, ws_audit__synthetic=True, ws_audit__final=True)
    for _ in range(2):
        put(server, SEND, "s1", 9, ws_audit__manager="app:Hub")
    put(server, SEND, "s2", 200, service="mail", ws_audit__manager="app:Hub")
    put(server, SEND, "s3", 9, scope="other", ws_audit__manager="app:Hub")


def told(server: Server, asked: Selection = EVERYTHING) -> tuple[Review, dict[Any, Any]]:
    """The review, and of each incident what went out, was attempted, bytes, moments, traces."""
    found = clickhouse.examine(server.where(), KEYS, None, asked)
    incidents = {}
    for it in found.document(START)["incidents"]:
        assert it["managers"] == ["none"]
        incidents[it["rule"], it["sites"][0]] = (
            *(it["events"], it["attempted"], it["bytes"]),
            *(int(it[moment][17:19]) for moment in ("first_seen", "last_seen")),
            it["trace_ids"],
        )
    return found, incidents


def test_each_clause(server: Server) -> None:
    fill(server)
    found, incidents = told(server)
    canary, one, other = ("canary", "none"), ("canary", "a:b"), ("canary", "a:c")
    shared = ("shared_state", "none")
    assert incidents == {
        canary: (7, 8, 105, 10, 15, ["a", "b", "c"]),
        one: (1, 1, 0, 20, 20, ["d"]),
        other: (1, 1, 0, 21, 21, ["d"]),
        shared: (1, 1, 50, 30, 30, ["f"]),
    }
    assert found.stored.coverage == {
        "frames": 22,
        "judged": 8,
        "unattributed": 1,
        "excused": 0,
        "dropped": 0,
    }
    assert (found.stored.first_ns, found.stored.last_ns) == (START, START + 120 * SECOND)
    assert found.stored.services == frozenset({"chat", "mail"})
    assert [it[:26] for it in found.problems] == [
        "1 violations make no sense",
        "1 of 2 processes have not ",
    ]

    since = START + 13 * SECOND
    found, incidents = told(server, Selection(since_ns=since))
    assert incidents == {
        canary: (6, 6, 100, 12, 15, ["b", "c"]),
        one: (1, 1, 0, 20, 20, ["d"]),
        other: (1, 1, 0, 21, 21, ["d"]),
        shared: (1, 1, 50, 30, 30, ["f"]),
    }
    found, incidents = told(server, Selection(since_ns=START + 100 * SECOND, services=("chat",)))
    assert incidents == {}
    assert found.stored.coverage["frames"] == 7
    assert (found.stored.first_ns, found.stored.last_ns) == (
        since + 87 * SECOND,
        since + 90 * SECOND,
    )
    _, incidents = told(server, Selection(users=(BOB,)))
    assert incidents == {canary: (1, 1, 5, 10, 10, ["a"])}


def test_each_clause_of_a_page(server: Server) -> None:
    fill(server)

    def rows(asked: Selection = EVERYTHING) -> tuple[list[str], list[int], int, list[int]]:
        keeper = keep.Keeper()
        clickhouse.examine(server.where(), KEYS, keeper, asked)
        its = keeper.all()
        return (
            [it.trace_id + it.span_id for it in its.violations],
            [it.frames for it in its.coverage],
            len(its.processes),
            [(it.first_ns - START) // SECOND for it in its.sends],
        )

    violations = ["a1", "a2", "b3", "c4", "d5", "d6", "f8"]
    assert rows() == (violations, [10, 7, 5], 2, [9, 14, 200])
    narrowed = Selection(since_ns=START + 70 * SECOND, services=("mail",))
    assert rows(narrowed) == ([], [5], 2, [200])
    assert rows(Selection(since_ns=START + 30 * SECOND))[0] == ["c4", "f8"]
