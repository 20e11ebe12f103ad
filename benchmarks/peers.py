# SPDX-License-Identifier: Apache-2.0
"""What an audited send is measured against. FROZEN: see below before changing a line.

Why it exists: "cheap" means nothing without a "than". These are the three things a team would
otherwise put around the same send: the official OpenTelemetry SDK used with care, the same SDK
with a sampler that drops the span, and wrapt's wrapper doing nothing at all.

It must never change without a new BASELINE number and all published ratios measured again:
every budget of the project is a ratio to this file. It must also never be slower than it has to
be. What is here is what the SDK's documentation recommends: a span that is current, attributes
given at its start, a batch processor, instruments created once, exporters that cost nothing.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import wrapt
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    MetricExporter,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased
from opentelemetry.trace import SpanKind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.websockets import WebSocket

BASELINE = 1

Payload = dict[str, Any]


class Connections:
    """What all peers share with the benchmark application's manager, word for word."""

    def __init__(self) -> None:
        self.connections: dict[str, WebSocket] = {}

    async def connect(self, websocket: WebSocket, user_id: str) -> None:
        await websocket.accept()
        self.connections[user_id] = websocket


# --- a span, a counter and a histogram ---------------------------------------------------


class DiscardedSpans(SpanExporter):
    """Takes spans off the processor and drops them."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


class DiscardedMetrics(MetricExporter):
    """Takes collected metrics and drops them."""

    def export(
        self,
        metrics_data: MetricsData,
        timeout_millis: float = 10_000,
        **kwargs: Any,
    ) -> MetricExportResult:
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return True

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Nothing is open."""


class HandWritten(Connections):
    """A span, a counter and a histogram around each send, every span sampled."""

    def __init__(self) -> None:
        super().__init__()
        resource = Resource.create({"service.name": "benchmark"})
        traces = TracerProvider(sampler=ParentBased(ALWAYS_ON), resource=resource)
        traces.add_span_processor(BatchSpanProcessor(DiscardedSpans()))
        metrics = MeterProvider([PeriodicExportingMetricReader(DiscardedMetrics())], resource)

        self._tracer = traces.get_tracer("app.realtime")
        meter = metrics.get_meter("app.realtime")
        self._sent = meter.create_counter("app.websocket.sent", unit="{message}")
        self._duration = meter.create_histogram("app.websocket.send.duration", unit="s")

    async def send_to_user(self, user_id: str, payload: Payload) -> None:
        started = time.perf_counter()
        with self._tracer.start_as_current_span(
            "send agent_events",
            kind=SpanKind.PRODUCER,
            attributes={
                "messaging.system": "websocket",
                "messaging.operation.type": "send",
                "messaging.destination.name": "agent_events",
                "code.function.name": "HandWritten.send_to_user",
                "user.id": user_id,
                "app.event": payload["type"],
                "app.run.id": payload["run_id"],
            },
        ) as span:
            outcome = "error"
            try:
                await self.connections[user_id].send_json(payload)
                outcome = "ok"
            finally:
                span.set_attribute("app.outcome", outcome)
                labels = {
                    "app.manager": "HandWritten",
                    "app.event": payload["type"],
                    "app.outcome": outcome,
                }
                self._sent.add(1, labels)
                self._duration.record(time.perf_counter() - started, labels)


# --- a span the sampler drops ------------------------------------------------------------


class Unsampled(Connections):
    """The same span alone, and nothing becomes of it."""

    def __init__(self) -> None:
        super().__init__()
        self._tracer = TracerProvider(sampler=ALWAYS_OFF).get_tracer("app.realtime")

    async def send_to_user(self, user_id: str, payload: Payload) -> None:
        with self._tracer.start_as_current_span(
            "send agent_events",
            kind=SpanKind.PRODUCER,
            attributes={
                "messaging.system": "websocket",
                "messaging.operation.type": "send",
                "messaging.destination.name": "agent_events",
                "code.function.name": "Unsampled.send_to_user",
                "user.id": user_id,
                "app.event": payload["type"],
                "app.run.id": payload["run_id"],
            },
        ):
            await self.connections[user_id].send_json(payload)


# --- a wrapper that does nothing ---------------------------------------------------------


def pass_through(
    wrapped: Callable[..., Any], instance: object, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Call, and nothing else; the coroutine of an async method goes back as it is."""
    del instance
    return wrapped(*args, **kwargs)


class PassThrough(Connections):
    """The least that wrapt can do."""

    async def _send_to_user(self, user_id: str, payload: Payload) -> None:
        await self.connections[user_id].send_json(payload)

    send_to_user = wrapt.FunctionWrapper(_send_to_user, pass_through)
