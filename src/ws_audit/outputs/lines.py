# SPDX-License-Identifier: Apache-2.0
"""A span as one line of OTLP JSON, the form the store keeps.

Why it exists: a violation is written inside the application's call, so the line is spliced
from text that never changes and a few encoded values instead of being built and dumped.
The form is that of OpenTelemetry's file exporter: one TracesData a line, ids in lower-case
hex, 64-bit integers as strings, enums as integers.

It must never write anything that a strict JSON reader refuses, nor run application code.
"""

from __future__ import annotations

from json.encoder import encode_basestring, encode_basestring_ascii
from math import isfinite, isnan
from typing import TYPE_CHECKING

from ws_audit.model import RECORD_VERSION
from ws_audit.schema import SCHEMA_URL, SCOPE_NAME

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ws_audit.model import Span

    Values = Mapping[str, str | int | bool | float]


class Lines:
    """Encodes spans that come from one resource."""

    __slots__ = ("_head", "_tail")

    def __init__(self, resource: Values) -> None:
        # The scope's version is that of our records: a reader can tell what it does not know.
        scope = f'{{"name":{_text(SCOPE_NAME)},"version":"{RECORD_VERSION}"}}'
        url = f'"schemaUrl":{_text(SCHEMA_URL)}'
        self._head = (
            f'{{"resourceSpans":[{{"resource":{{"attributes":[{_attributes(resource)}]}},'
            f'"scopeSpans":[{{"scope":{scope},"spans":['
        )
        self._tail = f"],{url}}}],{url}}}]}}\n"

    def line(self, span: Span) -> bytes:
        """Encode one span as a line, its newline included."""
        return self.whole([self.span(span)])

    def whole(self, spans: list[str]) -> bytes:
        """Put spans that are encoded already into one line."""
        return f"{self._head}{','.join(spans)}{self._tail}".encode()

    @staticmethod
    def span(span: Span) -> str:
        """Encode one span, without what is around it."""
        parent = f'"parentSpanId":"{span.parent_span_id:016x}",' if span.parent_span_id else ""
        status = '{"code":2}' if span.error else "{}"
        return (
            f'{{"traceId":"{span.trace_id:032x}","spanId":"{span.span_id:016x}",'
            f'{parent}"name":{_text(span.name)},"kind":1,'
            f'"startTimeUnixNano":"{span.start_ns}","endTimeUnixNano":"{span.end_ns}",'
            f'"attributes":[{_attributes(span.attributes)}],"status":{status}}}'
        )


def _attributes(values: Values) -> str:
    # Strings are nearly all there is: their way is as short as it can be.
    return ",".join(
        [
            f'{{"key":{encode_basestring_ascii(key)},"value":{{"stringValue":'
            f"{encode_basestring_ascii(value)}}}}}"
            if type(value) is str and value.isascii()
            else f'{{"key":{_text(key)},"value":{{{_value(value)}}}}}'
            for key, value in values.items()
        ]
    )


def _value(value: object) -> str:
    if isinstance(value, str):
        return f'"stringValue":{_text(value)}'
    if isinstance(value, bool):
        return f'"boolValue":{"true" if value else "false"}'
    if isinstance(value, int):
        return f'"intValue":"{int.__repr__(value)}"'
    if isinstance(value, float):
        return f'"doubleValue":{_number(value)}'

    # Nothing else belongs here, and its text could be anything, a payload included.
    return f'"stringValue":{_text(type(value).__name__)}'


def _number(value: float) -> str:
    if isfinite(value):
        return float.__repr__(value)
    return '"NaN"' if isnan(value) else '"Infinity"' if value > 0 else '"-Infinity"'


def _text(value: str) -> str:
    # A lone surrogate has no UTF-8 form, and strict readers refuse a line that escapes one.
    return encode_basestring(value.encode("utf-8", "replace").decode())
