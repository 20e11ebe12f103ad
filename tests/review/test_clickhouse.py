# SPDX-License-Identifier: Apache-2.0
"""The review of a ClickHouse says what that of the trace directory says.

The engine is ClickHouse's own (chDB) and the collector a real one (rotel, which writes to
ClickHouse over HTTP); see clickhouse_shim for what stands in for the server.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import random
import re
import socket
import subprocess
import sys
import threading
import urllib.request
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from tests.real.receivers import Collector, running
from tests.real.world import claimed, drive, eventually, serve
from tests.requirements import missing
from tests.review import scene
from tests.review.conftest import NOW
from tests.unit.recorder import SECOND, START, Recorder
from ws_audit.model import SEVERITIES
from ws_audit.review import clickhouse, keep, narrowed, queries, read, story
from ws_audit.review.clickhouse import SourceError
from ws_audit.review.selection import Selection, SelectionError
from ws_audit.tools.demo_cast import Cast
from ws_audit.tools.demo_stage import HOST, free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator

USER, PASSWORD = "reader", "not-so-secret"
KEYS = {"CLICKHOUSE_USER": USER, "CLICKHOUSE_PASSWORD": PASSWORD}
PEOPLE = [f"{number:032x}" for number in range(5)]
ROOT = Path(__file__).parents[2]


class Server(NamedTuple):
    """A ClickHouse, and a collector that writes to it."""

    port: int
    collector: Collector

    def where(self, **options: Any) -> clickhouse.Address:
        return clickhouse.address(f"clickhouse://{HOST}:{self.port}/otel", **options)

    def review(self, now: int = START, **options: Any) -> dict[str, Any]:
        return clickhouse.examine(self.where(**options), KEYS).document(now)

    def put(self, query: str) -> bytes:
        request = urllib.request.Request(
            f"http://{HOST}:{self.port}/?database=otel",
            query.encode(),
            {"X-ClickHouse-User": USER, "X-ClickHouse-Key": PASSWORD},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            told: bytes = answer.read()
            return told

    def spans(self) -> int:
        return int(self.put("SELECT count() FROM otel_traces"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if importlib.util.find_spec("chdb") is None:
        missing("chDB (extra `chdb`)")
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "tests.review.clickhouse_shim", str(port), USER, PASSWORD]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        with running(
            tmp_path_factory.mktemp("rotel"),
            "--exporter=clickhouse",
            f"--clickhouse-exporter-endpoint=http://{HOST}:{port}",
            f"--clickhouse-exporter-user={USER}",
            f"--clickhouse-exporter-password={PASSWORD}",
            "--clickhouse-exporter-compression=none",
            "--clickhouse-exporter-async-insert=false",
        ) as ports:
            started = Server(port, Collector(*ports))
            eventually("the engine answers", 30, lambda: _answers(started))
            yield started
    finally:
        process.kill()
        process.wait()


@pytest.fixture(autouse=True)
def _empty(request: pytest.FixtureRequest) -> None:
    if "server" in request.fixturenames:
        request.getfixturevalue("server").put("TRUNCATE TABLE otel_traces")


def _answers(server: Server) -> bool:
    with contextlib.suppress(OSError):
        return server.spans() == 0
    return False


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


def exported(directory: Path) -> bytes:
    """All spans of a trace directory as OTLP has them, a violation once and with its outcome."""
    request = ExportTraceServiceRequest()
    for path in sorted(directory.glob("*.jsonl")):
        spans: dict[str, Any] = {}
        for line in path.read_text().splitlines():
            (stored,) = json.loads(line)["resourceSpans"]
            span = stored["scopeSpans"][0]["spans"][0]
            if span["spanId"] in spans:
                spans[span["spanId"]]["attributes"] += span["attributes"]
                continue
            if span["name"] == "ws_audit.process":
                span["spanId"] = blake2b(path.name.encode(), digest_size=8).hexdigest()
            spans[span["spanId"]] = span
        of = request.resource_spans.add()
        of.resource.attributes.extend(map(_attribute, stored["resource"]["attributes"]))
        scope = of.scope_spans.add()
        scope.scope.name = "ws_audit"
        for span in spans.values():
            scope.spans.add(
                trace_id=bytes.fromhex(span["traceId"]),
                span_id=bytes.fromhex(span["spanId"]),
                name=span["name"],
                kind=1,
                start_time_unix_nano=int(span["startTimeUnixNano"]),
                end_time_unix_nano=int(span["endTimeUnixNano"]),
                attributes=list(map(_attribute, span["attributes"])),
            )
    body: bytes = request.SerializeToString()
    return body


def spans_of(directory: Path) -> int:
    """How many spans there are to export of it."""
    sent = ExportTraceServiceRequest.FromString(exported(directory)).resource_spans
    return sum(len(it.scope_spans[0].spans) for it in sent)


def _attribute(attribute: dict[str, Any]) -> KeyValue:
    ((form, value),) = attribute["value"].items()
    typed = {
        "stringValue": lambda: AnyValue(string_value=value),
        "intValue": lambda: AnyValue(int_value=int(value)),
        "boolValue": lambda: AnyValue(bool_value=value),
    }[form]()
    return KeyValue(key=attribute["key"], value=typed)


def send(server: Server, body: bytes) -> None:
    request = urllib.request.Request(
        f"http://{HOST}:{server.collector.http_port}/v1/traces",
        body,
        {"Content-Type": "application/x-protobuf"},
    )
    urllib.request.urlopen(request, timeout=10).close()


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


@pytest.mark.parametrize("seed", range(6))
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


# --- what goes wrong --------------------------------------------------------------------------


def command(source: str, *options: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ws_audit", "review", source, *options],
        env={**os.environ, **KEYS, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def refused(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert PASSWORD not in line
    return line


def test_the_command_asks_a_clickhouse(server: Server) -> None:
    done = command(f"clickhouse://{HOST}:{server.port}/otel", "--format", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["window"] == {"first": None, "last": None}


@pytest.mark.parametrize(
    ("database", "options", "environ", "said"),
    [
        ("nowhere", [], {}, "there is no database nowhere"),
        ("otel", ["--table", "spans"], {}, "there is no table spans in otel (--table)"),
        ("otel", ["--cluster", "big"], {}, "there is no cluster big (--cluster)"),
        ("system", ["--table", "one"], {}, "one is not the table the collector's exporter makes"),
        ("otel", [], {"CLICKHOUSE_PASSWORD": "wrong"}, "the credentials were refused: set CLICK"),
        ("otel", ["--table", "a`b"], {}, "--table 'a`b': expected letters, digits"),
    ],
)
def test_a_server_says_no(
    server: Server, database: str, options: list[str], environ: dict[str, str], said: str
) -> None:
    source = f"clickhouse://{HOST}:{server.port}/{database}"
    assert refused(command(source, *options, **environ)).startswith(
        f"ws-audit review: {source}: {said}"
    )


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "no answer within 0.3 s (--timeout)"),
        (b"", "cannot be asked: "),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>", "no ClickHouse answers there"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://h/\r\nContent-Length: 0\r\n\r\n", "HTTP 302"),
        (b"SSH-2.0-OpenSSH\r\n", "cannot be asked: "),
    ],
    ids=["slow", "closes", "web page", "redirect", "ssh"],
)
def test_somebody_else_listens_there(answer: bytes | None, said: str) -> None:
    with socket.create_server((HOST, 0)) as listener:
        done = threading.Event()

        def serve_once() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                if answer is None:
                    done.wait(10)
                else:
                    connection.sendall(answer)

        thread = threading.Thread(target=serve_once, daemon=True)
        thread.start()
        where = clickhouse.address(
            f"clickhouse://{HOST}:{listener.getsockname()[1]}/otel", timeout=0.3
        )
        with pytest.raises(SourceError, match=re.escape(said)):
            clickhouse.examine(where, KEYS)
        done.set()
        thread.join(10)


def test_nobody_listens_there() -> None:
    line = refused(command(f"clickhouse://{HOST}:1/otel"))
    assert line == (
        f"ws-audit review: clickhouse://{HOST}:1/otel: {HOST}:1 cannot be asked: Connection refused"
    )


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("clickhouse://me:not-so-secret@h/otel", "credentials do not belong in an address"),
        ("clickhouse://h/otel?password=not-so-secret", "credentials do not belong in an address"),
        ("clickhouse://h:8123", "expected a trace directory or clickhouse://HOST:PORT/DATABASE"),
        (
            "clickhouse://h:port/otel",
            "expected a trace directory or clickhouse://HOST:PORT/DATABASE",
        ),
        ("clickhouse:///otel", "expected a trace directory or clickhouse://HOST:PORT/DATABASE"),
        (
            "clickhouse://h/otel?mode=fast",
            "expected a trace directory or clickhouse://HOST:PORT/DATABASE",
        ),
        ("postgres://h/otel", "expected a trace directory or clickhouse://HOST:PORT/DATABASE"),
        ("clickhouse://h/o'tel", 'database "o\'tel": expected letters'),
    ],
)
def test_an_address_that_is_none(source: str, said: str) -> None:
    line = refused(command(source))
    assert said in line


def test_an_address() -> None:
    assert clickhouse.address("clickhouse://h:99/otel", cluster="all", timeout=5.0) == (
        *("h", 99, False, "otel", "otel_traces"),
        *("all", 5.0),
    )
    assert clickhouse.address("clickhouse://h/otel?secure=true")[:4] == ("h", 8443, True, "otel")
    assert clickhouse.address("clickhouse://h/otel")[:3] == ("h", 8123, False)
    with pytest.raises(SourceError, match="plain ASCII"):
        clickhouse.examine(
            clickhouse.address(f"clickhouse://{HOST}:1/otel"), {"CLICKHOUSE_USER": "a\r\nb: c"}
        )
