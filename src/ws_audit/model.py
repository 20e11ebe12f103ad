# SPDX-License-Identifier: Apache-2.0
"""The vocabulary as types: what is known of a message, and what was decided about it.

Why it exists: hooks, judge, drain, outputs and review talk to each other in these values
and in nothing else, so each can be tested and replaced alone.

It must never import anything of ours, and no value here may hold an application object:
records outlive the call that made them, so they consist of atoms (str, int, bool, None)
and tuples of atoms.
"""

from __future__ import annotations

from typing import NamedTuple

RECORD_VERSION = 1

# Capture points: two pieces of evidence are independent when these differ.
ACCEPT, CONSTRUCT, INBOUND, CALL, CONTENT = "accept", "construct", "inbound", "call", "content"

# Strengths.
STRONG, MEDIUM, WEAK = "strong", "medium", "weak"

# Verdicts.
MATCH, VIOLATION, EXCUSED, UNATTRIBUTED = "match", "violation", "excused", "unattributed"

# Severities, worst first.
CONFIRMED, PROBABLE, SUSPECTED, HYGIENE = "confirmed", "probable", "suspected", "hygiene"
SEVERITIES = (CONFIRMED, PROBABLE, SUSPECTED, HYGIENE)

# Reasons a delivery cannot be judged.
NO_PRINCIPAL, NO_EVIDENCE, INCOMPARABLE = "no_principal", "no_evidence", "incomparable"
UNDECLARED_BROADCAST, OPAQUE = "undeclared_broadcast", "opaque_payload"
UNREADABLE, LIMIT, INTERNAL_ERROR = "unreadable_payload", "limit", "internal_error"

# Hook kinds.
CREATE, BIND, UNBIND, SEND = "create", "bind", "unbind", "send"
BROADCAST, RECEIVE, FACTORY = "broadcast", "receive", "factory"

# Outcomes of a call or of a delivery.
OK, ERROR, CANCELLED, UNDELIVERED = "ok", "error", "cancelled", "undelivered"
REFUSED = "refused"  # in mode block
UNKNOWN = "unknown"  # a stored violation whose process died before the call came back

NONE, OTHER = "none", "other"  # label values: no intent or event; past the cap


class IsolationViolation(Exception):  # noqa: N818  (what happened, not what went wrong)
    """A delivery that mode `block` refused: the message would have gone to the wrong person.

    Raised where the application sends, before anything is delivered. `rule` and `severity` are
    those of the violation, which has been recorded; nobody is named.
    """

    def __init__(self, rule: str, severity: str) -> None:
        super().__init__(rule, severity)
        self.rule = rule
        self.severity = severity

    def __str__(self) -> str:
        return f"ws-audit refused a delivery: {self.rule}, {self.severity}"


IsolationViolation.__module__ = "ws_audit"  # its public name, for tracebacks and pickles


class Principal(NamedTuple):
    """Who data belongs to.

    `kind` says what the identifier is (id, name, email, subject), `shape` how it looks
    (int, uuid, email, opaque); together they decide what may be compared with what.
    `user` is in canonical form (see identity.principal).
    """

    tenant: str | None
    user: str
    kind: str
    shape: str


class Evidence(NamedTuple):
    """One independent statement of who a message belongs to.

    `name` is the evidence kind (connection, argument, payload, instance, resource, context,
    canary, or thread_as_user for an id that stands for a user and is none), `at` its capture
    point, `source` where it was read: a parameter, payload path or scope key, never a value.
    `attests` is false where agreement proves nothing (an inner argument under a broadcast).
    `aliases` are other identifiers of the same person from the same source.
    """

    name: str
    principal: Principal
    at: str
    source: str
    strength: str
    attests: bool = True
    aliases: tuple[Principal, ...] = ()


class Resource(NamedTuple):
    """A resource a message or call names: what it is (a run, a thread) and its id.

    `path` is where it was read. `joint`: several people may have it by nature, as a
    conversation.
    """

    key: tuple[str, str]
    path: str
    joint: bool


class Verdict(NamedTuple):
    """What the judge says of one delivery.

    `reason` is set for unattributed (why) and excused (which policy), `rule` and `severity`
    for a violation; `dissent` is then the evidence that decided it.
    """

    verdict: str
    reason: str = ""
    rule: str = ""
    severity: str = ""
    dissent: Evidence | None = None


class Inputs(NamedTuple):
    """What a delivery was judged by that is not evidence, as it was then.

    `event` is the name as the message or its caller has it (a record's own is a label), and
    `answers` what declared memberships said of the connection's user: (membership, where the
    room or resource was named, whether the user belongs to it). Of a violation, `named` is the
    label of the message's own name, if that is another one.
    """

    event: str
    answers: tuple[tuple[str, str, bool], ...] = ()
    named: str = ""


class Call(NamedTuple):
    """Record of one settled intent: one logical event at the outermost manager hook.

    `started_ns` is wall time, `duration_ns` monotonic; `parent_trace_id` and `parent_span_id`
    are what was current at the call, 0 if nothing. Its own span's ids follow from `intent_id`.
    """

    version: int
    intent_id: int
    started_ns: int
    duration_ns: int
    kind: str
    manager: str
    function: str
    event: str
    site: str
    outcome: str
    deliveries: int
    evidence: tuple[Evidence, ...]
    parent_trace_id: int
    parent_span_id: int
    parent_sampled: bool


class Delivery(NamedTuple):
    """Record of one application message on one connection, with its verdict.

    `evidence` begins with the connection's, if it has one. `note` is a reason the content
    gave no evidence (opaque, unreadable, limit) or empty. `sites` is module:function:line.
    `intent_id` is 0 and `manager` `none` when no intent joined.
    """

    version: int
    delivery_id: int
    time_ns: int
    transport: str
    connection_id: int
    intent_id: int
    kind: str
    manager: str
    function: str
    event: str
    site: str
    evidence: tuple[Evidence, ...]
    note: str
    size: int
    verdict: Verdict
    outcome: str
    trace_id: int
    span_id: int
    parent_span_id: int
    inputs: Inputs | None = None  # what policies went by, if any was asked


class Creation(NamedTuple):
    """Record of one manager instance: made now, or first seen after the patch came too late."""

    version: int
    time_ns: int
    duration_ns: int
    manager: str
    function: str
    site: str
    first_seen: bool
    owner: Evidence | None
    parent_trace_id: int
    parent_span_id: int
    parent_sampled: bool


class Finding(NamedTuple):
    """A stored violation as incidents and review see it: principals are keyed hashes here.

    `owner` is whose data, `recipient` whose connection; "" where unknown. `count` is above 1
    on a storm's aggregate line (then `last_ns` is later than `first_ns`). `size` is bytes in
    all, and `delivered` how many of `count` went out or may have (outcome ok or unknown).
    """

    service: str
    version: str
    rule: str
    severity: str
    recipient: str
    owner: str
    event: str
    manager: str
    site: str
    first_ns: int
    last_ns: int
    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody calls on a finding
    delivered: int
    size: int
    trace_id: str
    synthetic: bool = False


class Span(NamedTuple):
    """A finished span, before it becomes OTLP JSON in the store or protobuf on the wire.

    Times are Unix nanoseconds, ids are integers (0: none), attribute values are str, int,
    bool or float.
    """

    name: str
    trace_id: int
    span_id: int
    parent_span_id: int
    start_ns: int
    end_ns: int
    attributes: dict[str, str | int | bool | float]
    error: bool = False
    parent_sampled: bool | None = None  # None: no parent; decides the user's sampler
