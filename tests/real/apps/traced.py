# SPDX-License-Identifier: Apache-2.0
# The switchboard is on the path of these processes, but of no type checker.
# mypy: disable-error-code="import-not-found,untyped-decorator"
"""The switchboard of a team that traces: its own provider, its own processor, a span a command.

Spans go to the file TRACED_SPANS, a JSON object a line. TRACED_WHEN says when the provider is
set: `import`, or `lifespan` as some do.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING, Any

import switchboard
from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["app"]


class Recorder(SpanProcessor):
    def on_end(self, span: ReadableSpan) -> None:
        context = span.get_span_context()
        assert context is not None
        line = {
            "name": span.name,
            "trace": f"{context.trace_id:032x}",
            "id": f"{context.span_id:016x}",
            "parent": f"{span.parent.span_id:016x}" if span.parent else "",
            "service": span.resource.attributes["service.name"],
            "error": not span.status.is_ok and span.status.status_code.name == "ERROR",
            "sampled": bool(context.trace_flags.sampled),
            "attributes": dict(span.attributes or {}),
        }
        with open(os.environ["TRACED_SPANS"], "a", encoding="utf-8") as file:  # noqa: PTH123
            file.write(json.dumps(line) + "\n")


provider = TracerProvider(
    resource=Resource.create({"service.name": "traced-by-its-team"}),
    sampler=ALWAYS_OFF if os.environ.get("TRACED_SAMPLER") == "off" else ALWAYS_ON,
)
provider.add_span_processor(Recorder())
carry_out = switchboard.run


async def traced(user: str, command: dict[str, Any]) -> None:
    with provider.get_tracer("team").start_as_current_span("handle"):
        await carry_out(user, command)


switchboard.run = traced


@contextlib.asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    trace.set_tracer_provider(provider)
    yield


app = FastAPI(lifespan=lifespan) if os.environ["TRACED_WHEN"] == "lifespan" else FastAPI()
if os.environ["TRACED_WHEN"] == "import":
    trace.set_tracer_provider(provider)
app.include_router(switchboard.app.router)


@app.get("/provider")
async def whose() -> dict[str, Any]:
    """Whether the global provider is still the team's, with its one processor."""
    processors = provider._active_span_processor._span_processors
    return {
        "global": trace.get_tracer_provider() is provider,
        "processors": [type(each).__name__ for each in processors],
    }
