# SPDX-License-Identifier: Apache-2.0
"""Sends and deliveries as the call path records them."""

from __future__ import annotations

from typing import Any

from ws_audit.model import STRONG, Call, Delivery, Evidence, Principal, Verdict
from ws_audit.principals.identity import Hasher

NOW = 1_795_428_000_000_000_000
ADA, BOB = (Principal(None, name, "id", "opaque") for name in ("ada", "bob"))
HASH = Hasher("k" * 64)


def delivery(number: int, intent: int = 0, who: Principal = ADA, **other: Any) -> Delivery:
    evidence = (
        Evidence("connection", who, "accept", "scope.user", STRONG),
        Evidence("payload", ADA, "content", "user_id", STRONG),
    )
    fields = {
        "version": 1,
        "delivery_id": number,
        "time_ns": NOW + number * 1_000_000,
        "transport": "asgi",
        "connection_id": 7,
        "intent_id": intent,
        "kind": "send",
        "manager": "app:Hub",
        "function": "app:Hub.push:4",
        "event": "said",
        "site": "",
        "evidence": evidence,
        "note": "",
        "size": 12,
        "verdict": Verdict("match"),
        "outcome": "ok",
        "trace_id": 0,
        "span_id": 0,
        "parent_span_id": 0,
    }
    return Delivery(**{**fields, **other})


def call(intent: int, trace: int = 0, **other: Any) -> Call:
    evidence = (Evidence("argument", ADA, "call", "user_id", STRONG),)
    fields = {
        "version": 1,
        "intent_id": intent,
        "started_ns": NOW,
        "duration_ns": 5_000,
        "kind": "send",
        "manager": "app:Hub",
        "function": "app:Hub.push:4",
        "event": "said",
        "site": "app:run:9",
        "outcome": "ok",
        "deliveries": 1,
        "evidence": evidence,
        "parent_trace_id": trace,
        "parent_span_id": trace and 5,
        "parent_sampled": False,
    }
    return Call(**{**fields, **other})
