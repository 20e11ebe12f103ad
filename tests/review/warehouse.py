# SPDX-License-Identifier: Apache-2.0
"""A ClickHouse with a collector before it, and what agents have stored, sent to it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import urllib.request
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from tests.real.receivers import Collector, running
from tests.real.world import eventually
from tests.unit.recorder import START
from ws_audit.review.databases import clickhouse
from ws_audit.tools.demo_stage import HOST, free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator

USER, PASSWORD = "reader", "not-so-secret"
KEYS = {"CLICKHOUSE_USER": USER, "CLICKHOUSE_PASSWORD": PASSWORD}
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


@contextlib.contextmanager
def started(folder: Path) -> Iterator[Server]:
    """Both, for as long as they are needed."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "tests.review.clickhouse_shim", str(port), USER, PASSWORD]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        with running(
            folder,
            "--exporter=clickhouse",
            f"--clickhouse-exporter-endpoint=http://{HOST}:{port}",
            f"--clickhouse-exporter-user={USER}",
            f"--clickhouse-exporter-password={PASSWORD}",
            "--clickhouse-exporter-compression=none",
            "--clickhouse-exporter-async-insert=false",
        ) as ports:
            server = Server(port, Collector(*ports))
            eventually("the engine answers", 30, lambda: _answers(server))
            yield server
    finally:
        process.kill()
        process.wait()


def _answers(server: Server) -> bool:
    with contextlib.suppress(OSError):
        return server.spans() == 0
    return False


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
