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
import os
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

import msgspec

from ws_audit import schema
from ws_audit.incidents import place
from ws_audit.review.segments import lines
from ws_audit.review.segments.shapes import Shapes, Told

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

    from ws_audit.model import Finding

_BLOCK: Final = 4096
_REASON_OF: Final = {name: reason for reason, name in lines.REASONS.items()}
_NOTHING: Final = msgspec.Raw(b"[]")
_SHAPES: Final = Shapes()  # of all segments that this process reads


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
        self._sums: dict[str, int] = {}  # of the coverage, by the attributes' names

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
        sums = self._sums
        part.coverage = {key: sums[it] for key, it in lines.COUNTS.items() if it in sums}
        part.reasons = {key: sums[it] for key, it in lines.REASONS.items() if it in sums}

    def _line(self, at: int, line: bytes) -> None:
        part = self.part
        known = _SHAPES.find(line)
        if known is None and not line.strip():
            return
        played = lines.PLAYED in line if known is None else known[0].played
        if not played:
            part.wrote = True
        try:
            if known is not None:
                told = [known[0].told(known[1], self._texts)]
            else:
                told = [Told.of(span) for span in lines.spans(line, self._texts)]
                _SHAPES.missed(line)
        except (lines.ForeignError, *lines.CORRUPT) as error:
            fault = lines.fault(line, error)
            first, count = part.faults.get(fault, (part.lines, 0))
            part.faults[fault] = (first, count + 1)
            return
        for one in told:
            if not played:
                service = one.like.service
                first_ns, last_ns = part.services.get(service, (one.start_ns, one.end_ns))
                part.services[service] = min(first_ns, one.start_ns), max(last_ns, one.end_ns)
            self._span(one, at, len(line))

    def _span(self, told: Told, at: int, length: int) -> None:
        part = self.part
        like = told.like
        if like.counts is not None and self._kind == "coverage":
            self._count(like.service, told)
            part.finished = like.final
        elif like.key:
            part.key = like.key
        elif like.finding is not None:
            self._found(told, like.finding, at, length)
        elif like.settled and like.name == schema.VIOLATION_SPAN:
            self._settle(told)

    def _count(self, service: str, told: Told) -> None:
        numbers = told.numbers
        for name, number in numbers.items():
            self._sums[name] = self._sums.get(name, 0) + number
        counts = [numbers.get(name, 0) for name in lines.COUNTS.values()]
        reasons = {
            _REASON_OF[name]: number
            for name, number in numbers.items()
            if number and name in _REASON_OF
        }
        self.minutes.append(Minute(service, told.end_ns, counts, reasons))

    def _found(self, told: Told, finding: Finding, begins: int, length: int) -> None:
        where = self._places.get(finding.site)
        if where is None:
            where = self._places[finding.site] = place(finding.site)
        row = len(self.rows)
        settled = told.like.settled
        if not settled:
            self.part.open[told.id] = (row, finding.count)
            self._seen.add(told.id)
        self.rows.append(
            Row(
                self._number,
                row,
                finding.service,
                finding.version,
                finding.rule,
                finding.severity,
                told.recipient,
                told.owner,
                finding.manager,
                finding.site,
                where,
                told.start_ns,
                told.end_ns if finding.count > 1 else told.start_ns,
                finding.count,
                finding.delivered,
                told.numbers.get(schema.BYTES, 0),
                told.trace_id,
                finding.synthetic,
                told.id,
                not settled,
                begins,
                length,
            )
        )

    def _settle(self, told: Told) -> None:
        like = told.like
        waiting = self.part.open.pop(told.id, None)
        if waiting is not None:
            row, count = waiting
            self.rows[row].delivered = like.delivered(count)
        elif told.id in self._seen:
            self.part.orphans += 1
        else:
            self.part.carried[told.id] = (like.told, like.out)
            self._seen.add(told.id)
