# SPDX-License-Identifier: Apache-2.0
"""The rows a review is told from: violations, coverage, processes and sends, as they are stored.

Why it exists: a trace directory, its columnar cache and a ClickHouse give the same rows, so
whatever is told from them is told the same way. The attributes' names are those of schema.

It must never know where a row came from, and never hold a value that was not stored.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ws_audit import model, schema

if TYPE_CHECKING:
    from collections.abc import Mapping

    Attributes = Mapping[str, Any]  # plain values, or all of them as text (ClickHouse)

_TRUE: Final = frozenset({True, "true"})
_HEAD, _HASH = schema.evidence_attribute("{}", "hash").split("{}")  # what frames the kind
_REASON: Final = f"{schema.UNATTRIBUTED}."


class Origin(NamedTuple):
    """The process that wrote a row, as its resource says; "" or 0 where that says nothing.

    `began` is its segments' own number (Unix nanoseconds; 0 if not known): it tells apart two
    processes that had the same pid one after the other.
    """

    service: str
    version: str
    host: str
    pid: int
    began: int = 0


class EvidenceRow(NamedTuple):
    """One piece of evidence as a violation's flat attributes have it."""

    kind: str
    hash: str
    at: str
    source: str
    strength: str
    namespace: str


class ViolationRow(NamedTuple):
    """One stored violation, its outcome joined: one delivery, or a storm's aggregate.

    `recipient` is whose connection, `owner` whose data; "" where unknown. `count` is above 1 on an
    aggregate, which has the evidence that all it stands for were judged by, and no outcome of its
    own; `delivered` is how many of `count` went out or may have. `outcome` is `unknown` while no
    second line told it.
    """

    origin: Origin
    trace_id: str
    span_id: str
    parent_span_id: str
    first_ns: int
    last_ns: int
    rule: str
    severity: str
    recipient: str
    owner: str
    event: str
    manager: str
    site: str
    count: int  # type: ignore[assignment]  # hides tuple.count, as model.Finding does
    delivered: int
    size: int
    synthetic: bool
    outcome: str
    kind: str
    transport: str
    function: str
    payload_path: str
    intent_id: str
    delivery_id: str
    connection_id: str
    evidence: tuple[EvidenceRow, ...]
    judged: str = ""  # what judging it again takes; "" if that was not stored

    @property
    def finding(self) -> model.Finding:
        """What incidents are folded from."""
        return model.Finding(
            service=self.origin.service,
            version=self.origin.version,
            rule=self.rule,
            severity=self.severity,
            recipient=self.recipient,
            owner=self.owner,
            event=self.event,
            manager=self.manager,
            site=self.site,
            first_ns=self.first_ns,
            last_ns=self.last_ns,
            count=self.count,
            delivered=self.delivered,
            size=self.size,
            trace_id=self.trace_id,
            synthetic=self.synthetic,
        )


class CoverageRow(NamedTuple):
    """What one process saw between two moments. `reasons` sum up to `unattributed`."""

    origin: Origin
    first_ns: int
    last_ns: int
    frames: int
    judged: int
    unattributed: int
    excused: int
    dropped: int
    final: bool
    reasons: tuple[tuple[str, int], ...]


class ProcessRow(NamedTuple):
    """A process began to audit."""

    origin: Origin
    time_ns: int
    agent: str  # the version of ws-audit
    mode: str
    python: str
    opentelemetry: str
    targets: int  # manager classes it has hooked
    policies: str = ""  # those in force, as JSON; "" if that was not stored
    key: str = ""  # which key its hashes were made with; "" if that was not stored


class SendRow(NamedTuple):
    """A send that was kept because a violation followed (`store.neighbours`), or all of them."""

    origin: Origin
    trace_id: str
    span_id: str
    first_ns: int
    last_ns: int
    manager: str
    kind: str
    event: str
    site: str
    outcome: str
    deliveries: int
    intent_id: str
    evidence: tuple[EvidenceRow, ...]


class JournalRow(NamedTuple):
    """Somebody acknowledged an incident; `first_ns` and `last_ns` are what was known of it then."""

    time_ns: int
    incident: str
    by: str
    note: str
    first_ns: int
    last_ns: int


class FileRow(NamedTuple):
    """A file (or table) that was read, and how many bytes and lines (or rows) of it."""

    name: str
    size: int
    lines: int


class Rows(NamedTuple):
    """Everything a source gives beside the review's JSON. `sends_left_out` were not kept."""

    violations: list[ViolationRow]
    coverage: list[CoverageRow]
    processes: list[ProcessRow]
    sends: list[SendRow]
    journal: list[JournalRow]
    files: list[FileRow]
    sends_left_out: int = 0


def violation(
    origin: Origin,
    attributes: Attributes,
    ids: tuple[str, str, str],
    first_ns: int,
    end_ns: int,
) -> ViolationRow:
    """Read a violation; `ids` are those of trace, span and parent. ValueError if it is none."""
    get = attributes.get
    severity = str(get(schema.SEVERITY, ""))
    if severity not in model.SEVERITIES:
        raise ValueError("no severity")
    count = number(get(schema.COUNT, 1))
    outcome = str(get(schema.OUTCOME, model.UNKNOWN))
    return ViolationRow(
        origin,
        *ids,
        first_ns=first_ns,
        # Only an aggregate lasts: a single delivery's span ends when its call does.
        last_ns=end_ns if count > 1 else first_ns,
        rule=str(get(schema.RULE, "")),
        severity=severity,
        recipient=str(get(schema.USER_HASH, "")),
        owner=str(get(schema.OWNER_HASH, "")),
        event=str(get(schema.EVENT, model.NONE)),
        manager=str(get(schema.MANAGER, model.NONE)),
        site=str(get(schema.SITE, model.NONE)),
        count=count,
        delivered=delivered(attributes, count),
        size=number(get(schema.BYTES, 0)),
        synthetic=get(schema.SYNTHETIC) in _TRUE,
        outcome=outcome,
        kind=str(get(schema.KIND, "")),
        transport=str(get(schema.TRANSPORT, "")),
        function=str(get(schema.FUNCTION, "")),
        payload_path=str(get(schema.PAYLOAD_PATH, "")),
        intent_id=str(get(schema.INTENT_ID, "")),
        delivery_id=str(get(schema.DELIVERY_ID, "")),
        connection_id=str(get(schema.CONNECTION_ID, "")),
        evidence=evidence(attributes),
        judged=str(get(schema.RECORD, "")),
    )


def coverage(origin: Origin, attributes: Attributes, first_ns: int, end_ns: int) -> CoverageRow:
    """Read a coverage span."""
    return CoverageRow(
        origin,
        first_ns,
        end_ns,
        frames=number(attributes.get(schema.FRAMES, 0)),
        judged=number(attributes.get(schema.JUDGED, 0)),
        unattributed=number(attributes.get(schema.UNATTRIBUTED, 0)),
        excused=number(attributes.get(schema.EXCUSED_COUNT, 0)),
        dropped=number(attributes.get(schema.DROPPED, 0)),
        final=attributes.get(schema.FINAL) in _TRUE,
        reasons=tuple(
            (name[len(_REASON) :], number(value))
            for name, value in attributes.items()
            if name.startswith(_REASON)
        ),
    )


def process(origin: Origin, attributes: Attributes, time_ns: int) -> ProcessRow:
    """Read the span with which a process says that it audits from now on."""
    return ProcessRow(
        origin,
        time_ns,
        agent=str(attributes.get("ws_audit.version", "")),
        mode=str(attributes.get("ws_audit.mode", "")),
        python=str(attributes.get("process.runtime.version", "")),
        opentelemetry=str(attributes.get("opentelemetry.version", "")),
        targets=number(attributes.get("ws_audit.targets", 0)),
        policies=str(attributes.get(schema.POLICY_TABLES, "")),
        key=str(attributes.get(schema.KEY_ID, "")),
    )


def send(
    origin: Origin, attributes: Attributes, ids: tuple[str, str], first_ns: int, end_ns: int
) -> SendRow:
    """Read a send; `ids` are those of trace and span."""
    get = attributes.get
    return SendRow(
        origin,
        *ids,
        first_ns=first_ns,
        last_ns=end_ns,
        manager=str(get(schema.MANAGER, model.NONE)),
        kind=str(get(schema.KIND, "")),
        event=str(get(schema.EVENT, model.NONE)),
        site=str(get(schema.SITE, model.NONE)),
        outcome=str(get(schema.OUTCOME, model.UNKNOWN)),
        deliveries=number(get(schema.DELIVERIES, 0)),
        intent_id=str(get(schema.INTENT_ID, "")),
        evidence=evidence(attributes),
    )


def evidence(attributes: Attributes) -> tuple[EvidenceRow, ...]:
    """The pieces of evidence among the attributes, in their order."""
    found = []
    for name in attributes:
        if name.endswith(_HASH) and name.startswith(_HEAD):
            kind = name[len(_HEAD) : -len(_HASH)]
            found.append(EvidenceRow(kind, *[str(attributes.get(it, "")) for it in _fields(kind)]))
    return tuple(found)


@lru_cache(maxsize=64)
def _fields(kind: str) -> tuple[str, ...]:
    fields = ("hash", "at", "source", "strength", "namespace")
    return tuple(schema.evidence_attribute(kind, field) for field in fields)


def delivered(attributes: Attributes, count: int) -> int:
    """How many of `count` went out, or may have: a process that died cannot tell."""
    if schema.DELIVERED in attributes:
        return min(number(attributes[schema.DELIVERED]), count)
    outcome = attributes.get(schema.OUTCOME, model.UNKNOWN)
    return count if outcome in {model.OK, model.UNKNOWN} else 0


def number(value: Any) -> int:
    """Read a count. ValueError if it is below zero."""
    count = int(value)
    if count < 0:
        raise ValueError("a count below zero")
    return count
