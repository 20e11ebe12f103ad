# SPDX-License-Identifier: Apache-2.0
"""One send, delivery or violation, as a timeline shows it: read from a line of a segment.

Why it exists: what happened on a connection stands in event segments, if the agent kept them, and
else in the violations with their neighbours. Both are told in the same words.

It must never take in half a line, and never guess what a span does not say.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import msgspec

from ws_audit import model, schema
from ws_audit.review.segments import lines

SEND: Final = "send"
DELIVERY: Final = "delivery"
VIOLATION: Final = "violation"
OUTCOME: Final = "outcome"  # of a violation, written behind it

_HEAD, _HASH = schema.evidence_attribute("{}", "hash").split("{}")
_CONNECTION: Final = schema.evidence_attribute("connection", "hash")
MOST: Final = (1 << 63) - 1  # OTLP's integers
_64: Final = (1 << 64) - 1
_LATEST_NS: Final = 253_402_300_800 * 1_000_000_000  # the year 10000: no time, but garbage

_WHERE: Final = (
    *(schema.EVENT, schema.MANAGER, schema.SITE, schema.FUNCTION, schema.KIND, schema.TRANSPORT),
    *(schema.CONNECTION_ID, schema.USER_HASH),
)
_SAID: Final = (schema.REASON, schema.RULE, schema.SEVERITY, schema.OUTCOME)

# What a line that is none raises here, one way or another.
CORRUPT: Final = (*lines.CORRUPT, msgspec.MsgspecError)


class Happening(msgspec.Struct, gc=False):
    """What happened. Ids are whole numbers (0: none); "" is what the span does not say.

    `alike` is the same on a violation and on the delivery it is of. `owners` are the pieces of
    evidence and whom they name, "payload HASH,argument HASH". `number` is how many deliveries a
    send had, or how many violations a storm's line is of. `began` tells processes apart that had
    the same pid.
    """

    what: str
    high: int
    low: int
    span: int
    parent: int
    alike: int
    time_ns: int
    took: int
    service: str
    host: str
    pid: int
    began: int
    event: str
    manager: str
    site: str
    function: str
    kind: str
    transport: str
    connection: str
    recipient: str
    owners: str
    verdict: str
    reason: str
    rule: str
    severity: str
    outcome: str
    size: int
    number: int


class _Value(msgspec.Struct, gc=False):
    string: str | None = msgspec.field(name="stringValue", default=None)
    whole: str | int | None = msgspec.field(name="intValue", default=None)
    flag: bool | None = msgspec.field(name="boolValue", default=None)


class _Attribute(msgspec.Struct, gc=False):
    key: str
    value: _Value


class _Span(msgspec.Struct, gc=False):
    trace: str = msgspec.field(name="traceId")
    id: str = msgspec.field(name="spanId")
    name: str
    begin: str = msgspec.field(name="startTimeUnixNano")
    end: str = msgspec.field(name="endTimeUnixNano")
    parent: str = msgspec.field(name="parentSpanId", default="")
    attributes: list[_Attribute] = []


class _Scope(msgspec.Struct, gc=False):
    name: str
    version: str


class _ScopeSpans(msgspec.Struct, gc=False):
    scope: _Scope
    spans: list[_Span]


class _Resource(msgspec.Struct, gc=False):
    attributes: list[_Attribute] = []


class _ResourceSpans(msgspec.Struct, gc=False):
    resource: _Resource
    scope_spans: list[_ScopeSpans] = msgspec.field(name="scopeSpans")


class _Line(msgspec.Struct, gc=False):
    resource_spans: list[_ResourceSpans] = msgspec.field(name="resourceSpans")


_decode: Final = msgspec.json.Decoder(_Line).decode


def happenings(line: bytes, began: int) -> list[Happening]:
    """Read what a line tells of. Raises lines.ForeignError, or one of CORRUPT."""
    found = []
    for resource_spans in _decode(line).resource_spans:
        resource = _values(resource_spans.resource.attributes)
        told = (
            str(resource.get("service.name", "")),
            str(resource.get("host.name", "")),
            _count(resource.get("process.pid", 0)),
            began,
        )
        for scope_spans in resource_spans.scope_spans:
            lines.check(scope_spans.scope.name, scope_spans.scope.version)
            for span in scope_spans.spans:
                one = _happening(span, told)
                if one is not None:
                    found.append(one)
    return found


def _happening(span: _Span, told: tuple[str, str, int, int]) -> Happening | None:
    begin, end = int(span.begin), int(span.end)
    if not 0 < begin < _LATEST_NS or end > _LATEST_NS:
        raise ValueError("no time")
    name = span.name
    get = (values := _values(span.attributes)).get
    if name == schema.DELIVERY_SPAN:
        what, alike = DELIVERY, int(span.id, 16) & _64
    elif name.startswith(schema.SEND_SPAN):
        what, alike = SEND, 0
    elif name == schema.VIOLATION_SPAN:
        if get(schema.SYNTHETIC):
            return None
        what = VIOLATION if schema.RULE in values else OUTCOME
        alike = _alike(str(get(schema.DELIVERY_ID, "")))
    else:
        return None
    trace = int(span.trace, 16)
    owners = ",".join(
        [
            f"{_kind(key)} {value}"
            for key, value in values.items()
            if key.startswith(_HEAD) and key.endswith(_HASH) and key != _CONNECTION
        ]
    )
    if not owners and schema.OWNER_HASH in values:  # a storm's line
        owners = f"owner {values[schema.OWNER_HASH]}"
    fields: tuple[Any, ...] = (
        what,
        trace >> 64 & _64,
        trace & _64,
        int(span.id, 16) & _64,
        int(span.parent, 16) & _64 if span.parent else 0,
        alike,
        begin,
        max(0, end - begin),
        *told,
        *[str(get(name, "")) for name in _WHERE],
        owners,
        str(get(schema.VERDICT, model.VIOLATION if what == VIOLATION else "")),
        *[str(get(name, "")) for name in _SAID],
        _count(get(schema.BYTES, 0)),
        _count(get(schema.DELIVERIES, 0) if what == SEND else get(schema.COUNT, 1)),
    )
    return Happening(*fields)


def _values(attributes: list[_Attribute]) -> dict[str, Any]:
    return {
        it.key: (
            value.string
            if (value := it.value).string is not None
            else int(value.whole)
            if value.whole is not None
            else value.flag
        )
        for it in attributes
    }


def _count(value: Any) -> int:
    number = int(value)
    if not 0 <= number <= MOST:
        raise ValueError("no count")
    return number


@lru_cache(maxsize=64)
def _kind(key: str) -> str:
    return key[len(_HEAD) : -len(_HASH)]


def _alike(delivery: str) -> int:
    """The span that `store.events` writes of a delivery has its id for a number."""
    prefix, _, number = delivery.partition("-")
    return int(f"{prefix}{int(number) & 0xFFFF_FFFF:08x}", 16) & _64 if number else 0
