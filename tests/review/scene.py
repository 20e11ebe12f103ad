# SPDX-License-Identifier: Apache-2.0
"""Trace directories of several processes and hosts, written as their agents would."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from ws_audit import schema
from ws_audit.model import Span
from ws_audit.outputs.lines import Lines

if TYPE_CHECKING:
    from pathlib import Path

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
START = 1_795_428_000 * SECOND  # 2026-11-23T10:00:00Z


def person(name: str) -> str:
    """A hash as a principal leaves a process."""
    return blake2b(name.encode(), digest_size=16).hexdigest()


class Process:
    """One process that writes its own segments. Times are seconds from the start."""

    def __init__(
        self,
        directory: Path,
        *,
        service: str = "chat",
        version: str = "1.2.3",
        host: str = "web-1",
        pid: int = 100,
        start: float = 0,
        said_host: str = "",
    ) -> None:
        resource: dict[str, str | int] = {
            "service.name": service,
            "service.version": version,
            "host.name": said_host or host,
            "process.pid": pid,
        }
        self.start_ns = START + int(start * SECOND)
        self._lines = Lines(resource)
        self._directory = directory
        self._name = f"{host}-{pid}-{self.start_ns}"
        self._spans = self.start_ns ^ (pid << 40)
        attributes: dict[str, Any] = {
            "ws_audit.version": "0.1.0",
            "ws_audit.mode": "observe",
            "ws_audit.targets": 6,
            "process.runtime.version": "3.11.7",
            "opentelemetry.version": "1.45.2",
        }
        self.write("coverage", self.span(schema.PROCESS_SPAN, start, start, attributes))

    def span(self, name: str, first: float, last: float, attributes: dict[str, Any]) -> Span:
        self._spans += 1
        return Span(
            name,
            (self._spans << 32) + 7,
            self._spans & (2**63 - 1),
            0,
            START + int(first * SECOND),
            START + int(last * SECOND),
            attributes,
            error=True,
        )

    def write(self, kind: str, *spans: Span) -> None:
        path = self._directory / f"{kind}-{self._name}-1.jsonl"
        with path.open("ab") as file:
            file.write(b"".join(self._lines.line(span) for span in spans))

    def leak(
        self,
        at: float,
        owner: str,
        recipient: str,
        outcome: str | None = "ok",
        *,
        rule: str = "payload_vs_connection",
        severity: str = "confirmed",
        kinds: tuple[str, ...] = ("payload", "argument"),
        **attributes: Any,
    ) -> None:
        """One violation and its outcome; None: the process died between."""
        values: dict[str, Any] = {
            schema.RULE: rule,
            schema.SEVERITY: severity,
            schema.USER_HASH: recipient,
            schema.OWNER_HASH: owner,
            schema.EVENT: "agent_completed",
            schema.MANAGER: "chat.hub:Hub",
            schema.SITE: "chat.hub:Hub.push:42",
            schema.BYTES: 210,
            schema.KIND: "send",
            schema.TRANSPORT: "asgi",
            schema.FUNCTION: "chat.hub.Hub.push",
            schema.CONNECTION_ID: "27fa36f7-2",
            schema.DELIVERY_ID: f"27fa36f7-{self._spans & 0xFFFF}",
            schema.INTENT_ID: "27fa36f7-1",
            schema.PAYLOAD_PATH: "user_id",
            **_statement("connection", recipient, "accept", "dependency:current_user"),
        }
        points = {"payload": "content", "argument": "call", "instance": "construct"}
        for kind in kinds:
            values |= _statement(kind, owner, points.get(kind, "call"), "user_id")
        values |= {name.replace("__", "."): value for name, value in attributes.items()}
        span = self.span(schema.VIOLATION_SPAN, at, at, values)
        self.write("violations", span)
        if outcome is not None:
            told = span._replace(attributes={schema.OUTCOME: outcome}, end_ns=span.end_ns + 9)
            self.write("violations", told)

    def storm(self, first: float, last: float, owner: str, recipient: str, count: int) -> None:
        """An aggregate: so many deliveries of one pair."""
        values = {
            schema.RULE: "payload_vs_connection",
            schema.SEVERITY: "confirmed",
            schema.USER_HASH: recipient,
            schema.OWNER_HASH: owner,
            schema.EVENT: "agent_completed",
            schema.MANAGER: "chat.hub:Hub",
            schema.SITE: "chat.hub:Hub.push:42",
            schema.BYTES: 210 * count,
            schema.COUNT: count,
            schema.DELIVERED: count - 1,
        }
        self.write("violations", self.span(schema.VIOLATION_SPAN, first, last, values))

    def send(self, at: float, owner: str) -> None:
        """A send that was kept because a violation followed."""
        values = {
            schema.MANAGER: "chat.hub:Hub",
            schema.KIND: "send",
            schema.EVENT: "agent_started",
            schema.SITE: "chat.hub:Hub.push:42",
            schema.OUTCOME: "ok",
            schema.DELIVERIES: 1,
            **_statement("argument", owner, "call", "push.user_id"),
        }
        self.write("violations", self.span("ws_audit.send Hub.push", at, at, values))

    def cover(
        self, first: float, last: float, frames: int, *, final: bool = False, **reasons: int
    ) -> None:
        """One coverage record; `reasons` are of what could not be judged."""
        unattributed = sum(reasons.values())
        values: dict[str, Any] = {
            schema.FRAMES: frames,
            schema.JUDGED: frames - unattributed,
            schema.UNATTRIBUTED: unattributed,
            schema.EXCUSED_COUNT: frames // 10,
            schema.DROPPED: 0,
        }
        for reason, count in reasons.items():
            values[f"{schema.UNATTRIBUTED}.{reason}"] = count
        if final:
            values[schema.FINAL] = True
        self.write("coverage", self.span(schema.COVERAGE_SPAN, first, last, values))


def _statement(kind: str, hash_: str, at: str, source: str) -> dict[str, str]:
    name = schema.evidence_attribute
    return {
        name(kind, "hash"): hash_,
        name(kind, "at"): at,
        name(kind, "source"): source,
        name(kind, "strength"): "strong",
        name(kind, "namespace"): "id:uuid",
    }


def night(directory: Path) -> None:
    """Two hosts, two versions, a worker that is killed, a minute that is missing.

    The new version leaks: confirmed pairs, some only possible, one attempted in vain, one whose
    process died in the call, and hygiene beside them.
    """
    directory.mkdir(parents=True, exist_ok=True)
    old = Process(directory, version="1.2.2", pid=90, start=0)
    for minute in range(10):
        old.cover(minute * 60, minute * 60 + 60, 1200, final=minute == 9, no_evidence=3)
    people = [person(f"user {number}") for number in range(8)]
    first = Process(directory, pid=100, start=605)
    second = Process(directory, host="web-2", pid=100, start=607)
    third = Process(directory, host="web-2", pid=101, start=607)
    for minute in range(12):
        begin = 605 + minute * 60
        if minute not in (4, 5):
            first.cover(begin, begin + 60, 900 + minute, no_evidence=7, opaque_payload=2)
        second.cover(begin + 2, begin + 62, 1100, final=minute == 11, undeclared_broadcast=40)
        if minute < 6:
            third.cover(begin + 2, begin + 62, 800, no_principal=11)
    for number in range(26):
        at = 640 + 22.7 * number
        owner, recipient = people[number % 3], people[3 + number % 2]
        first.send(at - 0.4, owner)
        first.send(at - 0.1, owner)
        first.leak(at, owner, recipient)
    for number in range(9):
        at = 800 + 41.3 * number
        second.leak(
            at,
            people[5],
            people[1],
            kinds=("payload",),
            severity="probable",
            ws_audit__site="chat.digest:Digest.mail:17",
            ws_audit__manager="chat.digest:Digest",
        )
    second.storm(1000, 1001, people[0], people[3], 480)
    second.leak(1100, people[6], people[2], "refused")
    third.leak(
        985,
        people[7],
        people[0],
        None,
        rule="instance_vs_connection",
        kinds=("instance",),
        severity="suspected",
        ws_audit__site="chat.pool:Pool.take:8",
    )
    third.leak(
        984,
        people[2],
        people[4],
        rule="thread_as_user",
        severity="hygiene",
        ws_audit__site="chat.runs:Runs.tell:3",
    )


def crowd(directory: Path, pairs: int, violations: int) -> None:
    """So many violations, of so many pairs, by one process in an hour."""
    directory.mkdir(parents=True, exist_ok=True)
    process = Process(directory)
    process.cover(0, 3600, violations * 2, final=True)
    people = [person(str(number)) for number in range(int(pairs**0.5) + 2)]
    every = [(one, other) for one in people for other in people if one != other][:pairs]
    spans = []
    for number in range(violations):
        owner, recipient = every[number % pairs]
        values = {
            schema.RULE: "payload_vs_connection",
            schema.SEVERITY: "confirmed",
            schema.USER_HASH: recipient,
            schema.OWNER_HASH: owner,
            schema.SITE: "chat.hub:Hub.push:42",
            schema.BYTES: 100,
            schema.DELIVERY_ID: f"27fa36f7-{number}",
            **_statement("connection", recipient, "accept", "dependency:current_user"),
            **_statement("payload", owner, "content", "user_id"),
            **_statement("argument", owner, "call", "push.user_id"),
        }
        at = 3600 * number / violations
        span = process.span(schema.VIOLATION_SPAN, at, at, values)
        spans += [span, span._replace(attributes={schema.OUTCOME: "ok"})]
    process.write("violations", *spans)
