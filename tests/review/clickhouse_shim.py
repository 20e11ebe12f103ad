# SPDX-License-Identifier: Apache-2.0
"""The HTTP side of a ClickHouse server over the real engine in this process (chDB).

    python -m tests.review.clickhouse_shim PORT USER PASSWORD

Why it exists: no ClickHouse server comes from the package registries the tests may use, but its
engine does. Parsing, types, functions and errors are ClickHouse's own; only what carries a
question over HTTP is written here. It takes credentials in headers, one database or table that is
missing is the engine's to complain of, and inserts come as a collector sends them.

Empty is the database `otel`, with the table that the collector's exporter makes.
"""

from __future__ import annotations

import re
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

# As opentelemetry-collector-contrib's clickhouseexporter creates it, save for its TTL.
TABLE = """
CREATE TABLE otel.otel_traces (
    Timestamp DateTime64(9) CODEC(Delta, ZSTD(1)),
    TraceId String CODEC(ZSTD(1)),
    SpanId String CODEC(ZSTD(1)),
    ParentSpanId String CODEC(ZSTD(1)),
    TraceState String CODEC(ZSTD(1)),
    SpanName LowCardinality(String) CODEC(ZSTD(1)),
    SpanKind LowCardinality(String) CODEC(ZSTD(1)),
    ServiceName LowCardinality(String) CODEC(ZSTD(1)),
    ResourceAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    ScopeName String CODEC(ZSTD(1)),
    ScopeVersion String CODEC(ZSTD(1)),
    SpanAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    Duration UInt64 CODEC(ZSTD(1)),
    StatusCode LowCardinality(String) CODEC(ZSTD(1)),
    StatusMessage String CODEC(ZSTD(1)),
    Events Nested (
        Timestamp DateTime64(9),
        Name LowCardinality(String),
        Attributes Map(LowCardinality(String), String)
    ) CODEC(ZSTD(1)),
    Links Nested (
        TraceId String,
        SpanId String,
        TraceState String,
        Attributes Map(LowCardinality(String), String)
    ) CODEC(ZSTD(1)),
    INDEX idx_trace_id TraceId TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX idx_res_attr_key mapKeys(ResourceAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX idx_span_attr_key mapKeys(SpanAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX idx_duration Duration TYPE minmax GRANULARITY 1
) ENGINE = MergeTree()
PARTITION BY toDate(Timestamp)
ORDER BY (ServiceName, SpanName, toDateTime(Timestamp), Timestamp)
"""


def main(port: int, user: str, password: str) -> None:
    """Serve until killed."""
    from chdb import session

    engine: Any = session.Session(tempfile.mkdtemp(prefix="chdb-"))
    engine.query("CREATE DATABASE otel")
    engine.query(TABLE)
    turn = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self._body()
            asked = parse_qs(urlsplit(self.path).query)
            given = self.headers.get("X-ClickHouse-User"), self.headers.get("X-ClickHouse-Key", "")
            if given != (user, password):
                self._answer(403, b"Code: 516. DB::Exception: Authentication failed", 516)
                return
            try:
                with turn:
                    self._answer(200, self._put(asked, body))
            except Exception as error:
                told = str(error)
                code = re.search(r"Code: (\d+)", told)
                number = int(code[1]) if code else 1000
                self._answer(404 if number in {60, 81} else 500, told.encode(), number)

        def _put(self, asked: dict[str, list[str]], body: bytes) -> bytes:
            database = asked.get("database", ["default"])[0]
            engine.query(f"USE `{database}`")
            if "query" not in asked:
                result: bytes = engine.query(body.decode()).bytes()
                return result
            with tempfile.NamedTemporaryFile() as file:
                file.write(body)
                file.flush()
                insert, form = asked["query"][0].split(" FORMAT ")
                engine.query(f"{insert} FROM INFILE '{file.name}' FORMAT {form}")
            return b""

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def _answer(self, status: int, body: bytes, code: int = 0) -> None:
            self.send_response(status)
            if code:
                self.send_header("X-ClickHouse-Exception-Code", str(code))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            """Nothing: what goes wrong is in the answer."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
