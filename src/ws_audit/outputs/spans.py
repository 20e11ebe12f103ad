# SPDX-License-Identifier: Apache-2.0
"""Records become spans: the one place where a principal turns into a hash on its way out.

Why it exists: the store, OTLP and the log line show the same facts; they are named here
once, from schema.

It must never put a raw identifier, payload text or URL into an attribute, and never make a
span current.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from ws_audit import schema
from ws_audit.model import NONE, VIOLATION, Call, Creation, Delivery, Evidence, Finding, Span
from ws_audit.verdict import stored

if TYPE_CHECKING:
    from ws_audit.principals.identity import Hasher

Attributes = dict[str, str | int | bool | float]


class SpanMaker:
    """Builds spans and findings for one process: its hash key, and a prefix for its ids."""

    def __init__(self, hasher: Hasher, service: str, version: str) -> None:
        self.hash = self._hash = hasher
        self._process = secrets.token_hex(4)
        self._service = service
        self._version = version

    @property
    def prefix(self) -> str:
        """What the ids of this process begin with."""
        return self._process

    def forget(self) -> None:
        """After a fork: ids go on counting there and here, so the prefix must differ."""
        self._process = secrets.token_hex(4)

    def finding(self, delivery: Delivery) -> Finding:
        """A violation as incidents see it."""
        verdict = delivery.verdict
        recipient = _recipient(delivery)
        delivered = delivery.outcome in ("ok", "unknown")
        return Finding(
            self._service,
            self._version,
            verdict.rule,
            verdict.severity,
            self._hash(recipient.principal) if recipient else "",
            self._hash(verdict.dissent.principal) if verdict.dissent else "",
            delivery.event,
            delivery.manager,
            delivery.site,
            delivery.time_ns,
            delivery.time_ns,
            1,
            int(delivered),
            delivery.size,
            f"{delivery.trace_id:032x}",
        )

    def violation(self, delivery: Delivery, finding: Finding, *, outcome: bool) -> Span:
        """The violation span; without its outcome while that is not known yet."""
        attributes: Attributes = {
            **_told(finding),
            schema.KIND: delivery.kind,
            schema.TRANSPORT: delivery.transport,
            schema.CONNECTION_ID: f"{self._process}-{delivery.connection_id}",
            schema.DELIVERY_ID: f"{self._process}-{delivery.delivery_id}",
        }
        if delivery.function:
            attributes[schema.FUNCTION] = function_name(delivery.function)
        if delivery.intent_id:
            attributes[schema.INTENT_ID] = f"{self._process}-{delivery.intent_id}"
        self._evidence(attributes, delivery)
        attributes[schema.RECORD] = stored.write(delivery, self._hash)
        if outcome:
            attributes[schema.OUTCOME] = delivery.outcome
        return Span(
            schema.VIOLATION_SPAN,
            delivery.trace_id,
            delivery.span_id,
            delivery.parent_span_id,
            delivery.time_ns,
            delivery.time_ns,
            attributes,
            error=True,
        )

    @staticmethod
    def outcome(delivery: Delivery, now_ns: int, *, synthetic: bool = False) -> Span:
        """The second line of a stored violation: what became of it."""
        attributes: Attributes = {schema.OUTCOME: delivery.outcome}
        if synthetic:
            attributes[schema.SYNTHETIC] = True
        return Span(
            schema.VIOLATION_SPAN,
            delivery.trace_id,
            delivery.span_id,
            delivery.parent_span_id,
            delivery.time_ns,
            now_ns,
            attributes,
            error=True,
        )

    def aggregate(
        self, finding: Finding, like: Delivery | None, trace_id: int, span_id: int
    ) -> Span:
        """A storm's line: this many deliveries of one pair, between first and last.

        All of them were judged by the evidence of the one they are `like`.
        """
        attributes: Attributes = {
            **_told(finding),
            schema.COUNT: finding.count,
            schema.DELIVERED: finding.delivered,
        }
        if like is not None:
            attributes[schema.KIND] = like.kind
            self._evidence(attributes, like)
            attributes[schema.RECORD] = stored.write(like, self._hash)
        return Span(
            schema.VIOLATION_SPAN,
            trace_id,
            span_id,
            0,
            finding.first_ns,
            finding.last_ns,
            attributes,
            error=True,
        )

    def send(self, call: Call, trace_id: int, span_id: int) -> Span:
        """An intent's span."""
        attributes: Attributes = {
            schema.MANAGER: call.manager,
            schema.KIND: call.kind,
            schema.EVENT: call.event,
            schema.SITE: call.site,
            schema.FUNCTION: function_name(call.function),
            schema.OUTCOME: call.outcome,
            schema.DELIVERIES: call.deliveries,
            schema.INTENT_ID: f"{self._process}-{call.intent_id}",
        }
        for item in call.evidence:
            self._one(attributes, item)
        return Span(
            f"{schema.SEND_SPAN} {call.manager.partition(':')[2] or call.manager}",
            trace_id,
            span_id,
            call.parent_span_id,
            call.started_ns,
            call.started_ns + call.duration_ns,
            attributes,
            error=call.outcome == "error",
            parent_sampled=call.parent_sampled if call.parent_span_id else None,
        )

    def create(self, creation: Creation, trace_id: int, span_id: int) -> Span:
        """An instance's span."""
        attributes: Attributes = {
            schema.MANAGER: creation.manager,
            schema.SITE: creation.site,
            schema.FIRST_SEEN: creation.first_seen,
        }
        if creation.function:
            attributes[schema.FUNCTION] = function_name(creation.function)
        if creation.owner is not None:
            self._one(attributes, creation.owner)
        return Span(
            f"{schema.CREATE_SPAN} {creation.manager.partition(':')[2] or creation.manager}",
            trace_id,
            span_id,
            creation.parent_span_id,
            creation.time_ns,
            creation.time_ns + creation.duration_ns,
            attributes,
            parent_sampled=creation.parent_sampled if creation.parent_span_id else None,
        )

    def _evidence(self, attributes: Attributes, delivery: Delivery) -> None:
        dissent = delivery.verdict.dissent
        # Inner and outer hooks may each have said something of one kind: the dissent is shown.
        for item in delivery.evidence:
            if schema.evidence_attribute(item.name, "hash") not in attributes:
                self._one(attributes, item)
        if dissent is not None and delivery.verdict.verdict == VIOLATION:
            if dissent is not connection_of(delivery) and dissent.name != "connection":
                self._one(attributes, dissent)
            for item in delivery.evidence:
                if item.name == "payload":
                    attributes[schema.PAYLOAD_PATH] = item.source

    def _one(self, attributes: Attributes, item: Evidence) -> None:
        name = schema.evidence_attribute
        attributes[name(item.name, "hash")] = self._hash(item.principal)
        attributes[name(item.name, "at")] = item.at
        attributes[name(item.name, "source")] = item.source
        attributes[name(item.name, "strength")] = item.strength
        attributes[name(item.name, "namespace")] = f"{item.principal.kind}:{item.principal.shape}"


def _told(finding: Finding) -> Attributes:
    """What each line of a violation says, one delivery's or a storm's."""
    told: Attributes = {
        schema.RULE: finding.rule,
        schema.SEVERITY: finding.severity,
        schema.USER_HASH: finding.recipient,
        schema.OWNER_HASH: finding.owner,
        schema.EVENT: finding.event,
        schema.MANAGER: finding.manager,
        schema.SITE: finding.site,
        schema.BYTES: finding.size,
    }
    if finding.synthetic:
        told[schema.SYNTHETIC] = True
    return told


def _recipient(delivery: Delivery) -> Evidence | None:
    """Whose connection it was; of an object that two users share, the second."""
    if delivery.verdict.rule in ("shared_instance", "shared_state"):
        return delivery.evidence[0]
    return connection_of(delivery)


def connection_of(delivery: Delivery) -> Evidence | None:
    """The connection's own evidence: the first, if the delivery has it."""
    first = delivery.evidence[0] if delivery.evidence else None
    return first if first is not None and first.name == "connection" else None


def function_name(function: str) -> str:
    """`module:qualname:line` as the conventions want it: module.qualname."""
    module, _, rest = function.partition(":")
    qualname = rest.partition(":")[0]
    return f"{module}.{qualname}" if qualname else module or NONE
