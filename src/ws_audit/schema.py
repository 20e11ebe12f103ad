# SPDX-License-Identifier: Apache-2.0
"""Every name that leaves the process: metrics, labels, closed sets, spans, attributes.

Why it exists: dashboards, alert rules, reviews and other people's tools are built on these
names. They are the published contract; tests hold this module against it word for word.

It must never gain a label that names a user, connection, room or run.
"""

from __future__ import annotations

from typing import Final

SEMCONV_VERSION: Final = "1.44.0"
SCHEMA_URL: Final = f"https://opentelemetry.io/schemas/{SEMCONV_VERSION}"
SCOPE_NAME: Final = "ws_audit"

# (rule -> severities it may have): every pair is exposed at 0 from the start, because an
# alert cannot see the first increment of a series that did not exist before.
PERMITTED: Final[dict[str, tuple[str, ...]]] = {
    "canary": ("confirmed",),
    "argument_vs_connection": ("confirmed", "probable", "suspected"),
    "payload_vs_connection": ("confirmed", "probable", "suspected"),
    "instance_vs_connection": ("confirmed", "probable", "suspected"),
    "resource_vs_connection": ("probable", "suspected"),
    "context_vs_connection": ("suspected",),
    "thread_as_user": ("hygiene",),
    "rebound_connection": ("probable",),
    "inbound_vs_connection": ("hygiene",),
    "shared_instance": ("hygiene",),
    "shared_state": ("probable", "hygiene"),
}

# Rules that are no delivery: counted once per event, never among the verdicts.
EVENT_RULES: Final = (
    "rebound_connection",
    "inbound_vs_connection",
    "shared_instance",
    "shared_state",
)

# Rules that may refuse a delivery in mode block: those that can be sure enough of one.
BLOCKABLE: Final = tuple(
    rule
    for rule, severities in PERMITTED.items()
    if rule not in EVENT_RULES and {"confirmed", "probable"} & set(severities)
)

VERDICTS: Final = ("match", "violation", "excused", "unattributed")
REASONS: Final = (
    "no_principal",
    "no_evidence",
    "incomparable",
    "undeclared_broadcast",
    "opaque_payload",
    "unreadable_payload",
    "limit",
    "internal_error",
)
POLICIES: Final = ("broadcast", "room", "share", "impersonation", "system")
SENT_OUTCOMES: Final = ("ok", "error", "refused", "cancelled", "undelivered")
DROP_STAGES: Final = ("ring", "store", "export", "push")
TARGET_STATES: Final = ("patched", "too_late", "failed")
TRANSPORTS: Final = ("asgi", "sse", "socketio")  # those with a sink in this version

MAX_MANAGERS: Final = 50
MAX_PAIRS: Final = 200  # (manager, event), and as many (factory, product)

# Span names. A send or create span's name goes on with the manager's qualified name.
CREATE_SPAN: Final = "ws_audit.create"
SEND_SPAN: Final = "ws_audit.send"
VIOLATION_SPAN: Final = "ws_audit.violation"
DELIVERY_SPAN: Final = "ws_audit.delivery"  # in event segments only (store.events = "all")
COVERAGE_SPAN: Final = "ws_audit.coverage"
PROCESS_SPAN: Final = "ws_audit.process"

# Process span attribute: with the same one a person has the same hash.
KEY_ID: Final = "ws_audit.hash_key.id"

# Span attributes.
RULE: Final = "security_rule.name"
SEVERITY: Final = "ws_audit.severity"
USER_HASH: Final = "user.hash"  # whose connection
OWNER_HASH: Final = "ws_audit.owner.hash"  # whose data
EVENT: Final = "ws_audit.event"
PAYLOAD_PATH: Final = "ws_audit.payload.path"
FUNCTION: Final = "code.function.name"
SITE: Final = "ws_audit.site"
MANAGER: Final = "ws_audit.manager"
KIND: Final = "ws_audit.kind"
TRANSPORT: Final = "ws_audit.transport"
INTENT_ID: Final = "ws_audit.intent.id"
DELIVERY_ID: Final = "ws_audit.delivery.id"
CONNECTION_ID: Final = "ws_audit.connection.id"
BYTES: Final = "ws_audit.bytes"
OUTCOME: Final = "ws_audit.outcome"
VERDICT: Final = "ws_audit.verdict"  # on a delivery
REASON: Final = "ws_audit.reason"  # why unattributed, or which policy excused
COUNT: Final = "ws_audit.count"  # above 1 on a storm's aggregate: this many deliveries
DELIVERED: Final = "ws_audit.delivered"  # on an aggregate: how many of COUNT went out
RECORD: Final = "ws_audit.record"  # what judging it again takes beside the evidence: JSON
DELIVERIES: Final = "ws_audit.deliveries"  # on a send: deliveries that joined it
FIRST_SEEN: Final = "ws_audit.first_seen"  # on a create: seen late, not built now
SYNTHETIC: Final = "ws_audit.synthetic"


def evidence_attribute(kind: str, field: str) -> str:
    """Name of a flat evidence attribute; field is hash, at, source, strength or namespace."""
    return f"ws_audit.evidence.{kind}.{field}"


# On a process span: the policies in force, without their reasons, users as hashes (JSON).
POLICY_TABLES: Final = "ws_audit.policies"

# Coverage span attributes: integer deltas since the process's last one.
FRAMES: Final = "ws_audit.frames"
JUDGED: Final = "ws_audit.judged"
UNATTRIBUTED: Final = "ws_audit.unattributed"  # and one more per reason: ".<reason>"
EXCUSED_COUNT: Final = "ws_audit.excused"
DROPPED: Final = "ws_audit.dropped"
FINAL: Final = "ws_audit.final"  # true on the last one a process writes
# Which time (Unix nanoseconds) the monotonic clock counts from by this process's clock: it stays
# the same until somebody sets that clock. Also on a process span.
CLOCK_BASE: Final = "ws_audit.clock.base_ns"
# How far the clock of the disk is ahead of this process's, by the last line it wrote (nanoseconds).
CLOCK_DISK: Final = "ws_audit.clock.disk_ahead_ns"

# The OpenTelemetry log event, and the message field of the log line.
VIOLATION_EVENT: Final = "ws_audit.isolation.violation"
