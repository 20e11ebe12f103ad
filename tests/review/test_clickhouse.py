# SPDX-License-Identifier: Apache-2.0
"""The review of a ClickHouse says what that of the trace directory says.

The engine is ClickHouse's own (chDB) and the collector a real one (rotel, which writes to
ClickHouse over HTTP); see clickhouse_shim for what stands in for the server.
"""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.real.world import claimed, drive, eventually, serve
from tests.review import scene
from tests.review.conftest import NOW
from tests.review.warehouse import KEYS, Server, exported, send, spans_of
from tests.unit.recorder import SECOND, START, Recorder
from tests.unit.test_excuse import BOTS, PUBLIC, recorded
from tests.unit.test_replay import HASHER
from ws_audit.model import SEVERITIES
from ws_audit.review.databases import clickhouse, queries
from ws_audit.review.rejudging.replay import Replayer
from ws_audit.review.segments import keep, read
from ws_audit.review.selection import Selection, SelectionError
from ws_audit.review.telling import narrowed, story
from ws_audit.tools.demo_cast import Cast

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PEOPLE = [f"{number:032x}" for number in range(5)]


# --- the same answers ---------------------------------------------------------------------------


def test_a_leak_that_came_through_a_collector(tmp_path: Path, server: Server) -> None:
    settings = server.collector.environment("http/protobuf") | {
        "OTEL_RESOURCE_ATTRIBUTES": "service.version=7.1",
    }
    defects = "fanout_bug,last_socket"
    with serve(tmp_path, Cast.of(4), defects=defects, settings=settings) as service:
        received = drive(service, runs=2, patience=1)
        service.stop()
    stored = read.examine(service.store)
    now = stored.stored.last_ns
    expected = stored.document(now)
    final = "SELECT count() FROM otel_traces WHERE SpanAttributes['ws_audit.final'] = 'true'"
    eventually("the last span is there", 15, lambda: int(server.put(final)))
    found = server.review(now)

    assert received.leaked
    assert claimed(found) == received.pairs() == claimed(expected)
    assert found["incidents"] == expected["incidents"]
    assert found["coverage"] == expected["coverage"]
    assert found["problems"] == expected["problems"] == []
    assert found["window"]["first"] == expected["window"]["first"]
    assert found["incidents"][0]["versions"] == ["7.1"]


def random_store(directory: Path, chance: random.Random) -> None:
    """What the agent would write of a bad week, one process after the other."""
    for service in ("chat", "mail's", "chat"):
        recorder = Recorder(directory, service)
        recorder.spans = chance.getrandbits(60)
        for _ in range(chance.randrange(40, 90)):
            said: dict[str, Any] = {
                "security_rule__name": chance.choice(["canary", "shared_state", "thread_as_user"]),
                "ws_audit__severity": chance.choice(SEVERITIES),
                "user__hash": chance.choice(PEOPLE),
                "ws_audit__owner__hash": chance.choice([*PEOPLE, ""]),
                "ws_audit__site": chance.choice(["a:f:1", "a:f:2", "none", "x:<b>'\\:9\n"]),
                "ws_audit__bytes": chance.choice([0, 70_000, 10**17]),
                "ws_audit__manager": f"app:Hub{chance.randrange(120)}",
            }
            outcome: str | None = chance.choice(["ok", "error", "unknown"])
            if chance.random() < 0.2:
                said["ws_audit__count"] = chance.randrange(2, 900)
                said["ws_audit__delivered"] = chance.randrange(1_000)
                outcome = None
            if chance.random() < 0.1:
                said["ws_audit__synthetic"] = True
            recorder.leak(outcome, at=chance.random() * 86_400 * 9, **said)
        for day in (0, 0.5, 2, 2.5, 6):  # three incidents of one cause
            recorder.leak(at=86_400 * day + chance.random(), ws_audit__site="silent:f:1")
        recorder.cover(
            at=86_400 * 10, frames=10**12, judged=chance.randrange(99), unattributed=3, dropped=1
        )
        recorder.store.close()


def selections(chance: random.Random, whole: read.Review) -> Iterator[Selection]:
    """Some of each kind, and of several together."""
    ids = [it.id for it in whole.incidents]
    since = START + chance.randrange(86_400 * 9) * SECOND
    yield Selection(since_ns=since)
    yield Selection(services=("mail's",))
    yield Selection(users=(chance.choice(PEOPLE),), rules=("canary", "shared_state"))
    yield Selection(since, tuple(PEOPLE[:2]), (), ("chat",), (), chance.choice(SEVERITIES))
    yield Selection(since_ns=since, incidents=(chance.choice(ids), chance.choice(ids)))
    yield Selection(since_ns=START + 86_400 * 11 * SECOND)


def test_a_part_that_is_not_there(server: Server, tmp_path: Path) -> None:
    """The same words as for a trace directory."""
    random_store(tmp_path, random.Random(1))
    send(server, exported(tmp_path))
    eventually("it is there", 10, lambda: server.spans() == spans_of(tmp_path))
    for asked in (
        Selection(users=("f" * 32,)),
        Selection(users=("0" * 20,)),
        Selection(services=("x' OR 1=1 --",)),
        Selection(incidents=("nothing",)),
    ):
        with pytest.raises(SelectionError) as expected:
            read.examine(tmp_path, asked=asked)
        with pytest.raises(SelectionError, match=re.escape(str(expected.value))):
            clickhouse.examine(server.where(), KEYS, None, asked)


@pytest.mark.parametrize("since_ns", [0, scene.START + 15 * scene.MINUTE])
def test_the_page_tells_the_same(server: Server, tmp_path: Path, since_ns: int) -> None:
    """All of it, save for files, journal and how a missing coverage record is put."""
    store = tmp_path / "night"
    scene.night(store)
    send(server, exported(store))
    eventually("it is there", 10, lambda: server.spans() == spans_of(store))
    asked = Selection(since_ns=since_ns)

    def told(found: read.Review, keeper: keep.Keeper) -> str:
        rows = narrowed.rows(keeper.all(), found)
        rows = rows._replace(  # a directory is read file by file
            violations=sorted(rows.violations, key=lambda it: (it.first_ns, it.span_id)),
            coverage=sorted(rows.coverage, key=lambda it: (it.first_ns, it.origin.host)),
            sends=sorted(rows.sends, key=lambda it: (it.first_ns, it.span_id)),
        )
        document = {**found.document(NOW), "problems": []}
        all_of_it = story.tell(document, rows, NOW, "", found.only, since_ns)
        whole = repr(all_of_it._replace(files=(), journal=()))
        return re.sub(r"began=[0-9]+", "began=0", whole)

    one, other = keep.Keeper(), keep.Keeper()
    expected = told(read.examine(store, None, one, asked), one)
    found = clickhouse.examine(server.where(), KEYS, other, asked)
    assert told(found, other) == expected
    assert len(expected) > 50_000
    (table,) = other.all().files
    assert (table.name, table.lines) == (
        "otel.otel_traces",
        spans_of(store) if not since_ns else table.lines,
    )


@pytest.mark.parametrize("seed", range(3))
def test_a_bad_week(tmp_path: Path, server: Server, seed: int) -> None:
    random_store(tmp_path, random.Random(seed))
    body = exported(tmp_path)
    count = spans_of(tmp_path)
    expected = read.examine(tmp_path)
    assert expected.problems == []
    assert len(expected.incidents) > 8
    send(server, body)
    eventually("all spans are there", 10, lambda: server.spans() == count)
    found = clickhouse.examine(server.where(), KEYS)
    now = START + 86_400 * 9 * SECOND
    assert found.document(now) == expected.document(now)
    assert found.stored.reasons == expected.stored.reasons

    for asked in [*selections(random.Random(seed), expected), Selection()]:
        part = read.examine(tmp_path, asked=asked)
        assert clickhouse.examine(server.where(), KEYS, None, asked).document(now) == part.document(
            now
        )

    # An exporter that had no answer sends once more: nothing counts twice.
    send(server, body)
    eventually("all spans are there twice", 10, lambda: server.spans() == 2 * count)
    assert server.review(now) == expected.document(now)


def test_part_of_an_otel_traces_is_other_peoples(server: Server) -> None:
    """Spans of others, of other names, and violations that make no sense."""
    row = """INSERT INTO otel_traces
        (Timestamp, TraceId, SpanId, SpanName, ScopeName, ResourceAttributes, SpanAttributes)
        VALUES ('2026-11-23 10:00:00.123456789', '{}', '1', '{}', '{}',
            {{'service.name': 'chat'}}, {{{}}})"""
    rule = "'security_rule.name': 'canary', 'ws_audit.bytes': '{}', 'ws_audit.severity': '{}'"
    violation = "ws_audit.violation"
    for trace, name, scope, said in (
        ("a", violation, "ws_audit", rule.format(5, "confirmed")),
        ("b", violation, "other", rule.format(5, "confirmed")),
        ("c", "GET /", "ws_audit", rule.format(5, "confirmed")),
        ("d", violation, "ws_audit", rule.format(-5, "confirmed")),
        ("e", violation, "ws_audit", rule.format("many", "confirmed")),
        ("f", violation, "ws_audit", rule.format(5, "terrible")),
        ("g", "ws_audit.process", "ws_audit", ""),
    ):
        server.put(row.format(trace, name, scope, said))
    found = server.review()
    (incident,) = found["incidents"]
    assert (incident["events"], incident["trace_ids"]) == (1, ["a"])
    assert incident["first_seen"] == "2026-11-23T10:00:00.123456789Z"
    assert found["problems"] == [
        "3 violations make no sense, not counted",
        (
            "1 of 1 processes have not sent their last coverage record (still running or killed): "
            "up to 60 s of their traffic are not in the coverage figures"
        ),
    ]


def test_what_can_be_read_is_shown_with_its_gaps(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = "SELECT throwIf(1, 'memory limit')"
    monkeypatch.setattr(queries, "coverage", lambda dialect, asked: recorded)
    server.put(
        "INSERT INTO otel_traces (Timestamp, TraceId, SpanId, SpanName, ScopeName, SpanAttributes) "
        "VALUES ('2026-11-23 10:00:00', 'a', '1', 'ws_audit.violation', 'ws_audit', "
        "{'security_rule.name': 'canary', 'ws_audit.severity': 'confirmed'})"
    )
    found = server.review()
    assert [it["events"] for it in found["incidents"]] == [1]
    assert found["coverage"]["frames"] == 0
    (problem,) = found["problems"]
    assert problem.startswith("the coverage could not be read: HTTP 500: Code: 395.")


def test_a_replay_tells_the_same(server: Server, tmp_path: Path) -> None:
    """What judging again takes is in the collector's table as it is in the directory."""
    store = tmp_path / "judged"
    recorded(store)
    send(server, exported(store))
    eventually("it is there", 10, lambda: server.spans() == spans_of(store))
    one, other = keep.Keeper(), keep.Keeper()
    directory = Replayer(read.examine(store, None, one), one.all(), HASHER)
    database = Replayer(clickhouse.examine(server.where(), KEYS, other), other.all(), HASHER)
    for tables in ((), (PUBLIC,), (BOTS,), (PUBLIC, BOTS)):
        expected, found = directory.under(tables), database.under(tables)
        assert found.after.document(NOW) == expected.after.document(NOW)
        assert [it[3:] for it in found.changes] == [it[3:] for it in expected.changes]
        assert not any(it.untold for it in found.changes)
    assert found.after.incidents == []
