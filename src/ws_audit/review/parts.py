# SPDX-License-Identifier: Apache-2.0
"""A stretch of a segment in a form that can be kept: what its lines add up to, and rows.

Why it exists: a segment is only appended to, so what was read once need not be read again.
A part is what a stretch of one says by itself; only together with those before it can be told
which violation an outcome belongs to.

It must never say anything else of a line than `lines` does: where the quick way is not sure, the
slow one decides.
"""

from __future__ import annotations

import gc
import json
import os
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ws_audit import schema
from ws_audit.incidents import place

from . import lines

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

    from ws_audit.model import Finding

_BLOCK: Final = 4096
_SPANS: Final = '"spans":['
_NOTHING: Final = msgspec.Raw(b"[]")


class Part(msgspec.Struct):
    """What a stretch of one segment says.

    Lines and rows are counted within it. `services` has the first and last moment that was
    recorded of each; `coverage` and `reasons` are sums, and `recorded` what they are of. `open` has
    what waits for an outcome: by span id the row and its count. `carried` are the outcomes of
    violations that are not in it: how many went out if that was told (else -1), and whether.
    `finished` is None where no coverage is; `key` is the one the process says it hashes with.
    """

    start: int
    end: int
    lines: int = 0
    wrote: bool = False
    services: dict[str, tuple[int, int]] = {}
    coverage: dict[str, int] = {}
    reasons: dict[str, int] = {}
    recorded: msgspec.Raw = _NOTHING  # seldom asked for: decoded only then
    finished: bool | None = None
    faults: dict[str, tuple[int, int]] = {}
    open: dict[str, tuple[int, int]] = {}
    carried: dict[str, tuple[int, bool]] = {}
    orphans: int = 0
    key: str = ""

    def minutes(self) -> list[Minute]:
        """The coverage records."""
        return msgspec.json.decode(self.recorded, type=list[Minute])


class Minute(msgspec.Struct, array_like=True):
    """One coverage record: its service, its end, the counts in their order, and the reasons."""

    service: str
    last_ns: int
    counts: list[int]
    reasons: dict[str, int]


class Row(msgspec.Struct):
    """One violation. `pended`: its line had no outcome. `begins` and `length`: its line."""

    part: int
    row: int
    service: str
    version: str
    rule: str
    severity: str
    recipient: str
    owner: str
    manager: str
    site: str
    place: str
    first_ns: int
    last_ns: int
    n: int
    delivered: int
    size: int
    trace_id: str
    synthetic: bool
    span_id: str
    pended: bool
    begins: int
    length: int


def whole_lines(file: BinaryIO, size: int) -> int:
    """Where the last whole line of the first `size` bytes ends; 0 if there is none."""
    end = size
    while end:
        start = max(0, end - _BLOCK)
        found = os.pread(file.fileno(), end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def fingerprint(file: BinaryIO, end: int) -> str:
    """What the bytes before `end` look like."""
    start = max(0, end - _BLOCK)
    return blake2b(os.pread(file.fileno(), end - start, start), digest_size=16).hexdigest()


def read(path: Path, kind: str, start: int, end: int, number: int) -> tuple[Part, bytes]:
    """Read the bytes from `start` to `end` of a segment.

    Returns the part and its rows as JSON lines, which have the part's `number`. Raises OSError.
    """
    collecting = gc.isenabled()
    gc.disable()  # nothing in here is a cycle, and looking for one takes a third of the time
    try:
        with path.open("rb") as file:
            file.seek(start)
            reading = _Reading(kind, start, end, number)
            reading.read(file)
        reading.part.recorded = msgspec.Raw(msgspec.json.encode(reading.minutes))
        return reading.part, msgspec.json.Encoder().encode_lines(reading.rows)
    finally:
        if collecting:
            gc.enable()


class _Reading:
    """One part in the making."""

    def __init__(self, kind: str, start: int, end: int, number: int) -> None:
        self.part = Part(start, end)
        self.rows: list[Row] = []
        self.minutes: list[Minute] = []
        self._kind = kind
        self._number = number
        self._seen: set[str] = set()  # span ids of which this part knows enough
        self._texts: lines.Texts = {}
        self._places: dict[str, str] = {}
        self._decode = msgspec.json.Decoder().decode
        self._frame: tuple[bytes, bytes, dict[str, Any]] | None = None

    def read(self, file: BinaryIO) -> None:
        """Take in the lines as `lines.numbered` has them, as far as the part goes."""
        part = self.part
        at = part.start
        whole = True
        while at < part.end and (line := file.readline(min(lines.LONGEST, part.end - at))):
            if whole:
                part.lines += 1
                self._line(at, line)
            at += len(line)
            whole = line.endswith(b"\n")

    def _line(self, at: int, line: bytes) -> None:
        if not line.strip():
            return
        part = self.part
        played = lines.PLAYED in line
        if not played:
            part.wrote = True
        try:
            spans = self._quick(line) or self._slow(line)
        except (lines.ForeignError, *lines.CORRUPT) as error:
            fault = lines.fault(line, error)
            first, count = part.faults.get(fault, (part.lines, 0))
            part.faults[fault] = (first, count + 1)
            return
        for span in spans:
            if not played:
                first_ns, last_ns = part.services.get(span.service, (span.start_ns, span.end_ns))
                part.services[span.service] = (
                    min(first_ns, span.start_ns),
                    max(last_ns, span.end_ns),
                )
            self._span(span, at, len(line))

    def _quick(self, line: bytes) -> list[lines.StoredSpan] | None:
        """Read a line that differs from one before it in its one span only; None: not sure."""
        if self._frame is None:
            return None
        head, tail, resource = self._frame
        if not (line.startswith(head) and line.endswith(tail)):
            return None
        try:
            # Whatever this decoder takes, the standard library's reads as the same values.
            span = self._decode(line[len(head) : -len(tail)])
            return [lines.StoredSpan(resource, span, self._texts)]
        except (msgspec.MsgspecError, *lines.CORRUPT):
            return None

    def _slow(self, line: bytes) -> list[lines.StoredSpan]:
        spans = lines.spans(line, self._texts)
        if len(spans) == 1:
            self._frame = _frame(line) or self._frame
        return spans

    def _span(self, span: lines.StoredSpan, at: int, length: int) -> None:
        part = self.part
        if span.counts is not None and self._kind == "coverage":
            for key, count in span.counts.items():
                part.coverage[key] = part.coverage.get(key, 0) + count
            for reason, count in span.reasons.items():
                part.reasons[reason] = part.reasons.get(reason, 0) + count
            reasons = {reason: count for reason, count in span.reasons.items() if count}
            counts = list(span.counts.values())
            self.minutes.append(Minute(span.service, span.end_ns, counts, reasons))
            part.finished = span.final
        elif span.key:
            part.key = span.key
        elif span.finding is not None:
            self._found(span, span.finding, at, length)
        elif span.settled and span.name == schema.VIOLATION_SPAN:
            self._settle(span)

    def _found(self, span: lines.StoredSpan, finding: Finding, begins: int, length: int) -> None:
        where = self._places.get(finding.site)
        if where is None:
            where = self._places[finding.site] = place(finding.site)
        row = len(self.rows)
        if not span.settled:
            self.part.open[span.id] = (row, finding.count)
            self._seen.add(span.id)
        self.rows.append(
            Row(
                self._number,
                row,
                finding.service,
                finding.version,
                finding.rule,
                finding.severity,
                finding.recipient,
                finding.owner,
                finding.manager,
                finding.site,
                where,
                finding.first_ns,
                finding.last_ns,
                finding.count,
                finding.delivered,
                finding.size,
                finding.trace_id,
                finding.synthetic,
                span.id,
                not span.settled,
                begins,
                length,
            )
        )

    def _settle(self, span: lines.StoredSpan) -> None:
        waiting = self.part.open.pop(span.id, None)
        if waiting is not None:
            row, count = waiting
            self.rows[row].delivered = span.delivered(count)
        elif span.id in self._seen:
            self.part.orphans += 1
        else:
            self.part.carried[span.id] = (span.told, span.out)
            self._seen.add(span.id)


def _frame(line: bytes) -> tuple[bytes, bytes, dict[str, Any]] | None:
    """What is before and behind the one span of a line, and what its resource says."""
    text = line.decode("utf-8", "surrogateescape")
    start = text.find(_SPANS)
    if not text.isascii() or text.count(_SPANS) != 1:
        return None
    start += len(_SPANS)
    try:
        span, end = json.JSONDecoder().raw_decode(text, start)
        (resource_spans,) = json.loads(line)["resourceSpans"]
        (scope_spans,) = resource_spans["scopeSpans"]
        if scope_spans["spans"] != [span] or text[end] != "]":
            return None
        resource = lines.attributes_of(resource_spans["resource"])
    except lines.CORRUPT:
        return None
    return line[:start], line[end:], resource
