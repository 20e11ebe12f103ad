# SPDX-License-Identifier: Apache-2.0
"""One line of a segment, read: what the agent's store says of one span.

Why it exists: the review reads a whole directory once, a running agent follows what other
processes write; both must take a line for the same.

It must never take in half a line: whatever is wrong with one raises before any of it counts.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from ws_audit import model, schema

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    Texts = dict[str, str]  # the same few names are on every line: each is kept once
    Faults = dict[str, tuple[int, int]]  # what is wrong -> first line, how many

CACHE: Final = "review.cache"  # a folder: what a review keeps to be quicker the next time

# As the store writes it; a review of a self-test's lines is a review without them.
PLAYED: Final = f'{{"key":"{schema.SYNTHETIC}","value":{{"boolValue":true}}}}'.encode()

# kind, host, pid, start, number
SEGMENT: Final = re.compile(r"(violations|coverage)-(.+)-([0-9]+)-([0-9]+)-([0-9]+)\.jsonl")

# Every send and delivery, where the agent was asked for them: what a review does not need.
EVENTS: Final = re.compile(r"events-(.+)-([0-9]+)-([0-9]+)-([0-9]+)\.jsonl")

# The review's coverage figures and the attributes they are summed from.
COUNTS: Final = {
    "frames": schema.FRAMES,
    "judged": schema.JUDGED,
    "unattributed": schema.UNATTRIBUTED,
    "excused": schema.EXCUSED_COUNT,
    "dropped": schema.DROPPED,
}

REASONS: Final = {reason: f"{schema.UNATTRIBUTED}.{reason}" for reason in schema.REASONS}

# Beside times and ids, this is all that is asked of a line (shapes reads no more of it).
RESOURCE: Final = frozenset({"service.name", "service.version"})
SPAN: Final = frozenset({"traceId", "spanId", "name", "startTimeUnixNano", "endTimeUnixNano"})
NUMBERS: Final = frozenset(
    {*COUNTS.values(), *REASONS.values(), schema.COUNT, schema.DELIVERED, schema.BYTES}
)
ATTRIBUTES: Final = NUMBERS | {
    *(schema.RULE, schema.SEVERITY, schema.USER_HASH, schema.OWNER_HASH, schema.EVENT),
    *(schema.MANAGER, schema.SITE, schema.OUTCOME, schema.SYNTHETIC, schema.FINAL),
    schema.KEY_ID,
}

LONGEST: Final = 1 << 20  # no line of ours comes near: what is longer is something else
MOST: Final = (1 << 63) - 1  # OTLP's integers
_LATEST_NS: Final = 253_402_300_800 * 1_000_000_000  # the year 10000: no time, but garbage

# What a line that is none raises, one way or another.
CORRUPT: Final = (ValueError, TypeError, KeyError, AttributeError, RecursionError)


class ForeignError(Exception):
    """A whole line that is not for this version; the text says why."""


def fault(line: bytes, error: Exception) -> str:
    """Say what is wrong with a line that raised this."""
    if isinstance(error, ForeignError):
        return str(error)
    if line.endswith(b"\n"):
        return "corrupt"
    if len(line) >= LONGEST:
        return "longer than any line of ours"
    return "torn (killed or disk full in mid-write)"


def check(name: object, version: object) -> None:
    """Raise ForeignError if the scope of a line's spans is none that is understood here."""
    if name != schema.SCOPE_NAME:
        raise ForeignError(f"written by {_quote(name)}, not by {schema.SCOPE_NAME}")
    if version != str(model.RECORD_VERSION):
        raise ForeignError(
            f"record version {_quote(version)}, this review reads version {model.RECORD_VERSION}"
        )


def spans(line: bytes, texts: Texts) -> list[StoredSpan]:
    """Read all spans of a line. Raises ForeignError, or one of CORRUPT."""
    found = []
    for resource_spans in json.loads(line)["resourceSpans"]:
        resource = attributes_of(resource_spans["resource"])
        for scope_spans in resource_spans["scopeSpans"]:
            check(scope_spans["scope"]["name"], scope_spans["scope"]["version"])
            found += [StoredSpan(resource, span, texts) for span in scope_spans["spans"]]
    return found


class StoredSpan:
    """One span of a line. Whatever is wrong with it raises here, before any of it is counted.

    `counts` and `reasons` (of what could not be judged) are set on coverage, `finding` on the first
    line of a violation; a line with the outcome alone is `settled` and has none of them.
    """

    __slots__ = (
        "attributes",
        "counts",
        "end_ns",
        "final",
        "finding",
        "id",
        "json",
        "key",
        "name",
        "out",
        "reasons",
        "resource",
        "settled",
        "start_ns",
        "told",
    )

    def __init__(
        self,
        resource: dict[str, Any],
        span: dict[str, Any],
        texts: Texts,
        attributes: dict[str, Any] | None = None,
    ) -> None:
        self.json = span
        self.resource = resource
        if attributes is None:
            attributes = attributes_of(span)
        self.attributes = attributes
        self.name = str(span["name"])
        self.id = _clean(str(span["spanId"]))
        self.start_ns, self.end_ns = times(span["startTimeUnixNano"], span["endTimeUnixNano"])

        self.settled = schema.OUTCOME in attributes or schema.DELIVERED in attributes
        # What the outcome says: it went out, or may have. An aggregate tells how many did.
        self.out = attributes.get(schema.OUTCOME, model.UNKNOWN) in {model.OK, model.UNKNOWN}
        self.told = self._number(schema.DELIVERED, -1) if schema.DELIVERED in attributes else -1
        self.final = attributes.get(schema.FINAL) in {True, "true"}
        self.counts: dict[str, int] | None = None
        self.reasons: dict[str, int] = {}
        self.finding: model.Finding | None = None
        self.key = ""  # of a process's first span: which key its hashes were made with
        if self.name == schema.COVERAGE_SPAN:
            self.counts = {key: self._number(name, 0) for key, name in COUNTS.items()}
            self.reasons = {
                reason: self._number(name, 0)
                for reason, name in REASONS.items()
                if name in attributes
            }
        elif self.name == schema.PROCESS_SPAN:
            self.key = _clean(str(attributes.get(schema.KEY_ID, "")))
        elif self.name == schema.VIOLATION_SPAN and schema.RULE in attributes:
            self.finding = self._finding(resource, texts, str(span["traceId"]))

    @property
    def service(self) -> str:
        """Which service it is of; "" if it does not say."""
        return _clean(str(self.resource.get("service.name", "")))

    def delivered(self, count: int) -> int:
        """How many of `count` went out, or may have: a process that died cannot tell."""
        if self.told >= 0:
            return min(self.told, count)
        return count if self.out else 0

    def _finding(self, resource: dict[str, Any], texts: Texts, trace_id: str) -> model.Finding:
        def text(name: str, default: str = "", values: dict[str, Any] = self.attributes) -> str:
            value = str(values.get(name, default))
            return texts.get(value) or texts.setdefault(value, _clean(value))

        severity = text(schema.SEVERITY)
        if severity not in model.SEVERITIES:
            raise ValueError("no severity")
        count = self._number(schema.COUNT, 1)
        return model.Finding(
            service=text("service.name", values=resource),
            version=text("service.version", values=resource),
            rule=text(schema.RULE),
            severity=severity,
            recipient=text(schema.USER_HASH),
            owner=text(schema.OWNER_HASH),
            event=text(schema.EVENT, model.NONE),
            manager=text(schema.MANAGER, model.NONE),
            site=text(schema.SITE, model.NONE),
            first_ns=self.start_ns,
            # Only an aggregate lasts: a single delivery's span ends when its call does.
            last_ns=self.end_ns if count > 1 else self.start_ns,
            count=count,
            delivered=self.delivered(count),
            size=self._number(schema.BYTES, 0),
            trace_id=_clean(trace_id),
            synthetic=self.attributes.get(schema.SYNTHETIC) in {True, "true"},
        )

    def _number(self, name: str, default: int) -> int:
        number = int(self.attributes.get(name, default))
        if not 0 <= number <= MOST:
            raise ValueError("no count")
        return number


def times(start: str, end: str) -> tuple[int, int]:
    """First and last moment of a span. Raises ValueError if they are none."""
    start_ns = int(start)
    end_ns = max(int(end), start_ns)
    if not 0 < start_ns <= end_ns < _LATEST_NS:
        raise ValueError("no time")
    return start_ns, end_ns


def numbered(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield numbered lines; one too long to be ours comes as its beginning alone."""
    number = 0
    whole = True
    while line := file.readline(LONGEST):
        if whole:
            number += 1
            yield number, line
        whole = line.endswith(b"\n")


def attributes_of(holder: dict[str, Any]) -> dict[str, Any]:
    """Flatten OTLP attributes to plain values."""
    values = {}
    for attribute in holder.get("attributes", ()):
        ((form, value),) = attribute["value"].items()
        values[str(attribute["key"])] = int(value) if form == "intValue" else value
    return values


def _clean(value: str) -> str:
    """A lone surrogate, which no line of ours has, cannot be shown nor kept anywhere."""
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


def _quote(value: object) -> str:
    return repr(str(value)[:40])
