# SPDX-License-Identifier: Apache-2.0
"""Spans to OTLP or to the application's own span processors, from a thread of their own.

Why it exists: the user's traces live in Tempo, Jaeger or ClickHouse; a violation belongs
there too. A collector that is down must cost nothing but counted clean spans.

It must never set or replace a tracer provider, make a span current, sample out a violation
or report success it has not seen.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision, Sampler
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from ws_audit import schema
from ws_audit.messages.intents import getrandbits, send_ids
from ws_audit.model import Call, Creation, Span
from ws_audit.process.forks import imports

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opentelemetry.sdk.resources import Resource

    from ws_audit.tally import Tally

    from .spans import SpanMaker

_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
_OK: Final = Status(StatusCode.UNSET)
_ERROR: Final = Status(StatusCode.ERROR)


def application_provider() -> Any | None:
    """The SDK tracer provider the application has set, if there is one."""
    provider = trace.get_tracer_provider()
    if hasattr(provider, "add_span_processor") and hasattr(provider, "sampler"):
        return provider
    return None


def otlp_wanted(environ: Mapping[str, str], signal: str = "TRACES") -> bool:
    """Whether the environment configures an OTLP endpoint or exporter for this signal."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporter = environ.get(f"OTEL_{signal}_EXPORTER", "").strip()
    if exporter:
        return any(name.strip().startswith("otlp") for name in exporter.split(","))
    return bool(
        environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
        or environ.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
    )


def protocol(environ: Mapping[str, str], signal: str = "TRACES") -> str:
    """`http` or `grpc`; like the SDK, grpc unless the environment says otherwise."""
    value = environ.get(f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL") or environ.get(
        "OTEL_EXPORTER_OTLP_PROTOCOL", ""
    )
    return "http" if value.strip().startswith("http") else "grpc"


def endpoint(environ: Mapping[str, str], signal: str = "TRACES") -> tuple[str, str]:
    """The variable that says where this signal goes, and where that is."""
    for name in (f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"):
        if environ.get(name):
            return name, environ[name]
    port = 4318 if protocol(environ, signal) == "http" else 4317
    return "OTEL_EXPORTER_OTLP_ENDPOINT", f"http://localhost:{port}"


def span_exporter(environ: Mapping[str, str]) -> SpanExporter:
    """The official OTLP exporter for the configured protocol; reads OTEL_* itself."""
    if protocol(environ) == "http":
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (
            OTLPSpanExporter as HttpExporter,
        )

        return HttpExporter()
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (
        OTLPSpanExporter as GrpcExporter,
    )

    return GrpcExporter()


class Export:
    """Turns spans into the SDK's and hands them on.

    `provider` is the application's (its processors and sampler then get ours), else
    `make_exporter` builds an exporter of our own at the first batch, after any fork. Many set
    their provider only when the application starts up: see `follow`.
    """

    QUEUE: Final = 16_384  # clean spans; violations wait outside this bound
    BATCH: Final = 512
    INTERVAL: Final = 1.0
    RETRY: Final = (1.0, 2.0, 5.0, 15.0, 60.0)  # the SDK logs two lines or more each time
    LAST_SECONDS: Final = 3.0
    PATIENCE: Final = 5.0  # old exporters try for a minute before they say that they failed

    def __init__(
        self,
        maker: SpanMaker,
        tally: Tally,
        resource: Resource,
        sampler: Sampler,
        *,
        provider: Any | None,
        make_exporter: Callable[[], SpanExporter] | None,
        failed: Callable[[str, BaseException], None],
    ) -> None:
        self._maker = maker
        self._tally = tally
        self._resource = resource
        self._sampler = sampler
        self._provider = provider
        self._make_exporter = make_exporter
        self._failed = failed
        self._exporter: SpanExporter | None = None
        self._parents: SpanExporter | None = None
        self._clean: deque[Span] = deque()
        self._kept: deque[Span] = deque()  # violations and coverage: retried
        self._scope = InstrumentationScope(schema.SCOPE_NAME, None, schema.SCHEMA_URL)
        self._thread: threading.Thread | None = None
        self._starting = threading.RLock()
        self._wake = threading.Event()
        self._hurry = threading.Event()  # somebody waits: no pause, whatever failed before
        self._busy = threading.Lock()
        self._stopping = False
        self._failures = 0
        self._in_a_row = 0
        self._offered = 0.0  # since when a batch is in the exporter's hands
        self.cpu_ns = 0  # of the exporting thread; gRPC has threads of its own beside it
        self.synthetic = 0  # span id of the self-test's that was taken last

    @property
    def active(self) -> bool:
        """Whether spans have anywhere to go."""
        return self._provider is not None or self._make_exporter is not None

    @property
    def down(self) -> bool:
        """Whether the last batch was not taken, or is being offered for a long time."""
        offered = self._offered
        return self._in_a_row > 0 or (offered > 0 and time.monotonic() - offered > self.PATIENCE)

    def follow(self) -> Any | None:
        """The application's provider; ours go there from the moment there is one."""
        if self._provider is None:
            provider = application_provider()
            if provider is not None:
                self._sampler = provider.sampler
                self._resource = provider.resource
                self._provider = provider
        return self._provider

    # -- taking ------------------------------------------------------------------------------

    def fold(self, record: Any) -> None:
        """A settled intent or an instance becomes a span if the user's sampler wants it."""
        if not self.active:
            return
        if type(record) is Call:
            ids = send_ids(record.intent_id, record.parent_trace_id)
            span = self._maker.send(record, *ids)
        elif type(record) is Creation:
            trace_id = record.parent_trace_id or getrandbits(128) or 1
            span = self._maker.create(record, trace_id, getrandbits(64) or 1)
        else:
            return
        if not self._wanted(span):
            return
        if self._provider is not None:
            self._hand_over(self._readable(span))
        elif len(self._clean) >= self.QUEUE:
            self._tally.add(("dropped", "export"))
        else:
            self._clean.append(span)
            self._start()

    def keep(self, span: Span, *, urgent: bool = True) -> None:
        """A violation, coverage or process span: never sampled out."""
        if not self.active:
            return
        if len(self._kept) >= self.QUEUE:
            # A collector that stays down: the store has them all, memory is the application's.
            self._kept.popleft()
            self._tally.add(("dropped", "export"))
        self._kept.append(span)
        self._start()
        if urgent:
            self._wake.set()

    def tick(self, now_ns: int) -> None:
        """Nothing periodic: the exporting thread has its own clock."""

    def _wanted(self, span: Span) -> bool:
        parent = None
        if span.parent_sampled is not None:
            flags = _SAMPLED if span.parent_sampled else TraceFlags(0)
            context = SpanContext(span.trace_id, span.parent_span_id, False, flags)
            parent = trace.set_span_in_context(trace.NonRecordingSpan(context))
        result = self._sampler.should_sample(
            parent, span.trace_id, span.name, SpanKind.INTERNAL, span.attributes, []
        )
        return result.decision is Decision.RECORD_AND_SAMPLE

    def _readable(self, span: Span) -> ReadableSpan:
        parent = (
            SpanContext(span.trace_id, span.parent_span_id, False, _SAMPLED)
            if span.parent_span_id
            else None
        )
        return ReadableSpan(
            name=span.name,
            context=SpanContext(span.trace_id, span.span_id, False, _SAMPLED),
            parent=parent,
            resource=self._resource,
            attributes=span.attributes,
            kind=SpanKind.INTERNAL,
            status=_ERROR if span.error else _OK,
            start_time=span.start_ns,
            end_time=span.end_ns,
            instrumentation_scope=self._scope,
        )

    # -- sending -------------------------------------------------------------------------------

    def _start(self) -> None:
        if self._thread is not None or self._stopping:
            return
        with self._starting:  # the drain and the call path may both have the first
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="ws-audit-export", daemon=True)
                try:
                    thread.start()
                except RuntimeError as fault:  # no more threads: the next span tries again
                    self._failed("export", fault)
                else:
                    self._thread = thread

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait(self.INTERVAL)
            self._wake.clear()
            before = time.thread_time_ns()
            sent = self.send()
            self.cpu_ns += time.thread_time_ns() - before
            if not sent and not self._stopping:
                # The collector is down: ever less often, unless somebody waits for it.
                self._hurry.wait(self.RETRY[min(self._in_a_row, len(self.RETRY)) - 1])
            self._hurry.clear()
        self.send()

    def send(self) -> bool:
        """Send everything waiting; False as soon as a batch fails."""
        with self._busy:
            while self._kept or self._clean:
                kept = [self._kept.popleft() for _ in range(min(len(self._kept), self.BATCH))]
                clean = [self._clean.popleft() for _ in range(min(len(self._clean), self.BATCH))]
                if not self._deliver(kept + clean):
                    self._failures += 1
                    self._in_a_row += 1
                    self._kept.extendleft(reversed(kept))
                    if clean:
                        self._tally.add(("dropped", "export"), len(clean))
                    return False
                self._in_a_row = 0
                for span in kept:
                    if schema.SYNTHETIC in span.attributes:
                        self.synthetic = span.span_id
        return True

    def _deliver(self, batch: list[Span]) -> bool:
        try:
            if self.follow() is not None:
                for span in batch:
                    self._hand_over(self._readable(span))
                return True
            if self._exporter is None and self._make_exporter is not None:
                with imports:
                    self._exporter = self._make_exporter()
            if self._exporter is None:
                return True
            readable = [self._readable(span) for span in batch]
            self._offered = time.monotonic()
            return self._exporter.export(readable) is SpanExportResult.SUCCESS
        except OSError:  # that is how old exporters say that nobody is there
            return False
        except Exception as fault:
            self._failed("export", fault)
            return False
        finally:
            self._offered = 0.0

    def _hand_over(self, span: ReadableSpan) -> None:
        self._provider._active_span_processor.on_end(span)  # type: ignore[union-attr]

    def flush(self, seconds: float) -> bool:
        """Wait until all has been sent; True only if the exporter said it succeeded."""
        failures = self._failures
        deadline = time.monotonic() + seconds
        self._start()
        self._wake.set()
        self._hurry.set()
        while self._kept or self._clean or self._busy.locked():
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.01)
        if self._failures != failures:
            return False
        if self._provider is not None:
            left = max(1, int((deadline - time.monotonic()) * 1000))
            return bool(self._provider.force_flush(left))
        return True

    def resume(self) -> None:
        """After stop(): send again."""
        self._stopping = False

    def stop(self, seconds: float = LAST_SECONDS) -> None:
        """One last attempt; a collector that is down may not hold up the process's exit."""
        self._stopping = True
        self._wake.set()
        self._hurry.set()
        if self._thread is not None:
            self._thread.join(seconds)
            self._thread = None

    def forget(self) -> None:
        """After a fork: what waited is the parent's, and gRPC channels do not survive."""
        self._clean.clear()
        self._kept.clear()
        # Kept, for its destructor would wait for threads that are not here.
        self._parents = self._exporter or self._parents
        self._exporter = None
        self._thread = None
        self._in_a_row = 0
        self._offered = 0.0
        self.cpu_ns = 0
        self._starting = threading.RLock()
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._busy = threading.Lock()
