# SPDX-License-Identifier: Apache-2.0
"""A ClickHouse that cannot be asked, or not for all: a clear line each, and what there is."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.real.world import eventually
from tests.requirements import require_binary
from tests.review import scene
from tests.review.warehouse import KEYS, PASSWORD, Server, exported, send, spans_of
from tests.unit.recorder import START
from ws_audit.review.databases import clickhouse
from ws_audit.review.databases.clickhouse import SourceError
from ws_audit.review.segments import keep
from ws_audit.review.telling import story
from ws_audit.tools.demo_stage import HOST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

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


def violation(server: Server, table: str = "otel_traces") -> None:
    server.put(
        f"INSERT INTO {table} (Timestamp, TraceId, SpanId, SpanName, ScopeName, SpanAttributes) "
        "VALUES ('2026-11-23 10:00:00', 'a', '1', 'ws_audit.violation', 'ws_audit', "
        "{'security_rule.name': 'canary', 'ws_audit.severity': 'confirmed'})"
    )


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("max_rows_to_read", 1, "limits for this user do not allow it: Code: 158"),
        ("max_memory_usage", 1, "limits for this user do not allow it: Code: 241"),
        ("max_result_bytes", 1, "limits for this user do not allow it: Code: 396"),
    ],
)
def test_a_server_has_limits(server: Server, setting: str, value: int, said: str) -> None:
    violation(server)
    violation(server)
    server.put(f"SET {setting} = {value}")
    try:
        with pytest.raises(SourceError, match=re.escape(said)):
            server.review()
    finally:
        server.put(f"SET {setting} = 0")
    assert server.review()["incidents"][0]["attempted"] == 1


def test_a_server_that_ends_answers_without_a_word(server: Server) -> None:
    violation(server)
    assert server.review()["problems"] == []
    server.put("SET result_overflow_mode = 'break'")
    try:
        (problem,) = server.review()["problems"]
    finally:
        server.put("SET result_overflow_mode = 'throw'")
    assert problem.startswith(
        "this server ends answers early without a word (result_overflow_mode = break)"
    )


def test_exporters_of_other_versions(server: Server) -> None:
    """An older one counted durations with a sign; some write attributes as JSON, which is none."""
    server.put(
        "CREATE OR REPLACE TABLE older (Timestamp DateTime64(9), TraceId String, SpanId String, "
        "ParentSpanId String, SpanName LowCardinality(String), ServiceName String, "
        "ResourceAttributes Map(LowCardinality(String), String), ScopeName String, "
        "SpanAttributes Map(LowCardinality(String), String), Duration Int64, Newer UInt8) "
        "ENGINE = MergeTree ORDER BY Timestamp"
    )
    violation(server, "older")
    violation(server)
    keeper = keep.Keeper()
    found = clickhouse.examine(server.where(table="older"), KEYS, keeper).document(START)
    assert found == server.review()
    assert found["incidents"][0]["attempted"] == len(keeper.rows.violations) == 1
    server.put(
        "CREATE OR REPLACE TABLE as_json (Timestamp DateTime64(9), TraceId String, SpanId String, "
        "ParentSpanId String, SpanName String, ResourceAttributes JSON, ScopeName String, "
        "SpanAttributes JSON, Duration UInt64) ENGINE = MergeTree ORDER BY Timestamp"
    )
    with pytest.raises(SourceError, match="as_json is not the table the collector's exporter"):
        server.review(table="as_json")


def test_more_than_a_page_takes(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest are taken, the page says so, and the figures are of all."""
    recorded = (
        "INSERT INTO otel_traces (Timestamp, TraceId, SpanId, SpanName, ScopeName, SpanAttributes) "
        "SELECT toDateTime64('2026-11-23 10:00:00', 9) + number, toString(number), '1', "
        "'ws_audit.violation', 'ws_audit', "
        "map('security_rule.name', 'canary', 'ws_audit.severity', 'confirmed') FROM numbers(20)"
    )
    server.put(recorded)
    server.put(recorded)
    monkeypatch.setattr(clickhouse, "MOST_VIOLATIONS", 5)
    keeper = keep.Keeper()
    found = clickhouse.examine(server.where(), KEYS, keeper)
    assert found.incidents[0].attempted == 20
    assert [it.trace_id for it in keeper.rows.violations] == ["15", "16", "17", "18", "19"]
    (problem,) = found.problems
    assert problem == (
        "the page is told from the newest 5 of 20 violations, the figures from all of them; "
        "--since narrows it"
    )
    document = found.document(START)
    told = story.tell(document, keeper.all(), START, "clickhouse://h/otel")
    assert [(it.events, it.attempted) for it in told.pairs] == [(20, 20)]


def test_the_page_of_a_database(server: Server, tmp_path: Path) -> None:
    """What only a directory has is not made up."""
    scene.night(tmp_path / "night")
    send(server, exported(tmp_path / "night"))
    eventually("it is there", 10, lambda: server.spans() == spans_of(tmp_path / "night"))
    page = tmp_path / "page.html"
    done = command(f"clickhouse://{HOST}:{server.port}/otel", "--html", str(page))
    assert (done.returncode, done.stderr) == (1, "")
    text = page.read_text()
    assert "A database has none: who has acknowledged an incident is in the trace" in text
    assert "nobody has acknowledged" not in text
    assert "otel.otel_traces" in text.replace("<wbr>", "")
    assert PASSWORD not in text


def test_a_reader_who_may_change_nothing() -> None:
    """Whoever has readonly=1 is refused if a setting comes along."""
    asked: list[tuple[str, bytes]] = []

    def answer(request: bytes) -> bytes:
        head, _, body = request.partition(b"\r\n\r\n")
        asked.append((head.split()[1].decode(), body))
        return b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

    with listening(answer) as port:
        where = clickhouse.address(f"clickhouse://{HOST}:{port}/otel")
        clickhouse.examine(where, KEYS, keep.Keeper())
    assert {path for path, _ in asked} == {"/?database=otel&wait_end_of_query=1"}
    assert len(asked) == 9
    assert not any(b"SETTINGS" in body or b"SET " in body for _, body in asked)


@contextlib.contextmanager
def listening(
    answer: Callable[[bytes], bytes | Iterator[bytes]], tls: ssl.SSLContext | None = None
) -> Iterator[int]:
    """A server that answers like that, a connection at a time; its port."""
    with socket.create_server((HOST, 0)) as listener:

        def serve_all() -> None:
            with contextlib.suppress(OSError):  # closed
                while True:
                    connection, _ = listener.accept()
                    with contextlib.suppress(OSError), contextlib.ExitStack() as opened:
                        opened.enter_context(connection)
                        if tls is not None:
                            connection = tls.wrap_socket(connection, server_side=True)
                            opened.enter_context(connection)
                        told = answer(_request(connection))
                        for part in [told] if isinstance(told, bytes) else told:
                            connection.sendall(part)

        threading.Thread(target=serve_all, daemon=True).start()
        yield listener.getsockname()[1]


def _request(connection: socket.socket) -> bytes:
    """All of one: who closes before is heard by nobody."""
    request = b""
    while b"\r\n\r\n" not in request:
        more = connection.recv(65536)
        request += more
        if not more or request.startswith(b"\x16"):
            return request  # gone, or TLS
    head, _, body = request.partition(b"\r\n\r\n")
    length = re.search(rb"Content-Length: ([0-9]+)", head)
    assert length is not None
    while len(body) < int(length[1]):
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def test_an_answer_drop_by_drop() -> None:
    """Each drop comes in time, all of them do not."""

    def drops(request: bytes) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
        for _ in range(30):
            time.sleep(0.1)
            yield b" "

    with listening(drops) as port:
        where = clickhouse.address(f"clickhouse://{HOST}:{port}/otel", timeout=0.5)
        begun = time.monotonic()
        with pytest.raises(SourceError, match=re.escape("no answer within 0.5 s")):
            clickhouse.examine(where, KEYS)
        assert time.monotonic() - begun < 2.5


def test_tls(tmp_path: Path) -> None:
    """One that speaks none, one that nobody vouches for, and one that wants it."""
    plain = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    with listening(lambda request: plain) as port:
        where = clickhouse.address(f"clickhouse://{HOST}:{port}/otel?secure=true")
        with pytest.raises(SourceError, match=re.escape("does not speak TLS (?secure=true): ")):
            clickhouse.examine(where, KEYS)

    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    command_line = (
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=h "
        f"-addext subjectAltName=IP:{HOST} -keyout {key} -out {certificate}"
    )
    subprocess.run(
        [require_binary("openssl"), *command_line.split()], check=True, capture_output=True
    )
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    with listening(lambda request: plain, tls) as port:
        where = clickhouse.address(f"clickhouse://{HOST}:{port}/otel?secure=true")
        with pytest.raises(SourceError, match="is not trusted: self"):
            clickhouse.examine(where, KEYS)
        line = refused(command(f"clickhouse://{HOST}:{port}/otel"))
        assert f"{HOST}:{port} cannot be asked: " in line
        source = f"clickhouse://{HOST}:{port}/otel?secure=true"
        assert command(source, SSL_CERT_FILE=str(certificate)).returncode == 0


def test_a_name_that_is_none() -> None:
    line = refused(command("clickhouse://nowhere.invalid/otel"))
    assert "nowhere.invalid:8123 cannot be asked: " in line


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "no answer within 0.3 s (--timeout)"),
        (b"", "cannot be asked: "),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>", "no ClickHouse answers there"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}\n", "no ClickHouse answers there"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n[1]\n", "cut off in the middle"),
        (b"HTTP/1.1 200 OK\r\n\r\n[1]\n", "an answer without a length"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n[1]\n\r\n",
            "cut off in the middle",
        ),
        (
            b"HTTP/1.1 500 No\r\nX-ClickHouse-Exception-Code: 159\r\nContent-Length: 4\r\n\r\nslow",
            "limits for this user do not allow it: slow",
        ),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 6\r\n\r\n<html>", "HTTP 502: <html>"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://h/\r\nContent-Length: 0\r\n\r\n", "HTTP 302"),
        (b"SSH-2.0-OpenSSH\r\n", "cannot be asked: "),
    ],
    ids=[
        *("slow", "closes", "web page", "no rows", "cut", "no length", "cut chunks", "too long"),
        *("bad gateway", "redirect", "ssh"),
    ],
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
