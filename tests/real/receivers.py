# SPDX-License-Identifier: Apache-2.0
"""Real receivers on loopback: a webhook, and what a collector sends its exporter's target.

Why it exists: that the agent sent something is only known by who received it.
"""

from __future__ import annotations

import contextlib
import gzip
import importlib.util
import json
import os
import subprocess
import sysconfig
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import create_connection
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.real.world import eventually
from tests.requirements import missing
from ws_audit.tools.demo_stage import HOST, free_ports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextlib.contextmanager
def listening(take: Callable[[str, bytes], None], port: int = 0) -> Iterator[int]:
    """An HTTP server that answers every POST with 200; its port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(length)
            if len(body) < length:  # the sender was killed in the middle of it
                self.close_connection = True
                return
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            take(self.path, body)
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Nothing: the tests look at what was taken."""

    server = ThreadingHTTPServer((HOST, port), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join(5)
        server.server_close()


@dataclass
class Hook:
    """A webhook: every incident with the time it came."""

    port: int = 0
    bodies: list[bytes] = field(default_factory=list)
    came: list[int] = field(default_factory=list)

    @property
    def config(self) -> str:
        return f'[push]\nwebhook = "http://{HOST}:{self.port}/incidents"\n'

    @property
    def incidents(self) -> list[dict[str, Any]]:
        return [json.loads(body) for body in self.bodies]

    def take(self, path: str, body: bytes) -> None:
        self.came.append(time.time_ns())
        self.bodies.append(body)


@contextlib.contextmanager
def webhook(port: int = 0) -> Iterator[Hook]:
    hook = Hook()
    with listening(hook.take, port) as hook.port:
        yield hook


@dataclass(frozen=True)
class Told:
    """A span or log event as it came out of the collector."""

    name: str
    trace_id: str
    span_id: str
    parent: str
    error: bool
    attributes: dict[str, Any]
    resource: dict[str, Any]
    body: str = ""
    severity: str = ""


@dataclass
class Collector:
    """A real collector, and everything it has passed on."""

    grpc_port: int
    http_port: int
    raw: list[bytes] = field(default_factory=list)
    spans: list[Told] = field(default_factory=list)
    logs: list[Told] = field(default_factory=list)

    def environment(self, protocol: str) -> dict[str, str]:
        """What a team sets to send its telemetry here."""
        port = self.grpc_port if protocol == "grpc" else self.http_port
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{HOST}:{port}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_SERVICE_NAME": f"chat-{protocol.partition('/')[0]}",
        }

    def named(self, name: str) -> list[Told]:
        return [span for span in self.spans if span.name.startswith(name)]

    def take(self, path: str, body: bytes) -> None:
        self.raw.append(body)
        if path.endswith("/traces"):
            request = ExportTraceServiceRequest.FromString(body)
            for resource in request.resource_spans:
                of = values(resource.resource.attributes)
                for scope in resource.scope_spans:
                    self.spans += [
                        Told(
                            span.name,
                            span.trace_id.hex(),
                            span.span_id.hex(),
                            span.parent_span_id.hex(),
                            span.status.code == 2,
                            values(span.attributes),
                            of,
                        )
                        for span in scope.spans
                    ]
        elif path.endswith("/logs"):
            for log_resource in ExportLogsServiceRequest.FromString(body).resource_logs:
                of = values(log_resource.resource.attributes)
                for log_scope in log_resource.scope_logs:
                    self.logs += [
                        Told(
                            record.event_name,
                            record.trace_id.hex(),
                            record.span_id.hex(),
                            "",
                            False,
                            values(record.attributes),
                            of,
                            record.body.string_value,
                            record.severity_text,
                        )
                        for record in log_scope.log_records
                    ]


def values(attributes: Any) -> dict[str, Any]:
    return {it.key: getattr(it.value, it.value.WhichOneof("value")) for it in attributes}


def rotel() -> Path:
    """The collector's binary, from the package rotel; it is linked with Python's own library."""
    found = importlib.util.find_spec("rotel")
    binary = Path(found.origin or "").parent / "rotel-agent" if found is not None else None
    if binary is None or not binary.is_file():
        missing("the collector (package rotel)")
    assert binary is not None
    asked = subprocess.run([binary, "--version"], env=_linked(), capture_output=True, check=False)
    if asked.returncode:
        missing(f"what the collector is linked with ({asked.stderr.decode().strip()})")
    return binary


def _linked() -> dict[str, str]:
    """The environment in which a program finds this Python's shared library."""
    folders = (sysconfig.get_config_var("LIBDIR"), os.environ.get("LD_LIBRARY_PATH"))
    return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(filter(None, folders))}


@contextlib.contextmanager
def collector(folder: Path) -> Iterator[Collector]:
    """rotel between the agent and us: it takes gRPC and HTTP and passes on by HTTP."""
    heard = Collector(0, 0)
    with (
        listening(heard.take) as port,
        running(
            folder,
            "--exporter=otlp",
            f"--otlp-exporter-endpoint=http://{HOST}:{port}",
            "--otlp-exporter-protocol=http",
        ) as (heard.grpc_port, heard.http_port),
    ):
        yield heard


@contextlib.contextmanager
def running(folder: Path, *exporter: str) -> Iterator[tuple[int, int]]:
    """rotel, which passes on as `exporter` says; the ports where it takes gRPC and HTTP."""
    binary = rotel()
    grpc_port, http_port = free_ports(2)
    with (folder / "rotel.log").open("wb") as log:
        process = subprocess.Popen(
            [
                binary,
                "start",
                f"--otlp-grpc-endpoint={HOST}:{grpc_port}",
                f"--otlp-http-endpoint={HOST}:{http_port}",
                *exporter,
                "--batch-timeout=50ms",
                f"--pid-file={folder / 'rotel.pid'}",
            ],
            env=_linked(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            for each in (grpc_port, http_port):
                eventually("the collector listens", 15, lambda each=each: _open(each))
            yield grpc_port, http_port
        finally:
            process.kill()
            process.wait()


def _open(port: int) -> bool:
    with contextlib.suppress(OSError), create_connection((HOST, port), 1):
        return True
    return False
