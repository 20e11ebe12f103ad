# SPDX-License-Identifier: Apache-2.0
"""A trace directory as a running agent reads it: only violations, and only what is new.

Why it exists: after a restart, and beside other workers, a process must know what it has not
found itself. The directory may hold a gibibyte, so nothing is kept but what incidents are made
of, and whoever reads may pause at every line.

It must never read what its own process wrote, and never take in a line whose end is not there
yet.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, NamedTuple

from ws_audit import schema

from . import lines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from ws_audit.book import Parts
    from ws_audit.model import Finding

_VIOLATION: Final = f'"{schema.VIOLATION_SPAN}"'.encode()
_MOST_PENDING: Final = 10_000  # violations of others that wait for their outcome


class News(NamedTuple):
    """A segment that has grown, and how long it is now."""

    path: str
    writer: str
    number: int
    size: int


class Follower:
    """Reads the violations of one trace directory, those of one writer excepted."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self._directory = directory
        self._sizes: dict[str, int] = {}  # as they were when looked at last
        self._offsets: dict[str, int] = {}  # read so far
        self._pending: dict[tuple[str, str], Finding] = {}
        self._texts: lines.Texts = {}
        self.newest: dict[tuple[str, str], int] = {}  # (rule, severity): Unix nanoseconds

    def news(self, own: str) -> list[News]:
        """List what has grown, but not the segments of the writer `own`. Raises OSError."""
        found = []
        there = set()
        with os.scandir(self._directory) as entries:
            for entry in entries:
                match = lines.SEGMENT.fullmatch(entry.name)
                if match is None or match[1] != "violations":
                    continue
                writer = f"{match[2]}-{match[3]}-{match[4]}"
                try:
                    if writer == own or not entry.is_file():
                        continue
                    size = entry.stat().st_size
                except OSError:
                    continue  # another process deleted it meanwhile
                there.add(entry.path)
                if size != self._sizes.get(entry.path, 0):
                    found.append(News(entry.path, writer, int(match[5]), size))
        for known in (self._sizes, self._offsets):
            for path in known.keys() - there:
                del known[path]
        return sorted(found, key=lambda it: (it.writer, it.number))

    def read(self, news: list[News], parts: Parts) -> Iterator[None]:
        """Read what has grown into `parts`, line by line."""
        for one in news:
            try:
                with open(one.path, "rb") as file:
                    yield from self._segment(one, file, parts)
            except OSError:
                pass  # deleted meanwhile; the review names what cannot be read
            self._sizes[one.path] = one.size

    def _segment(self, one: News, file: BinaryIO, parts: Parts) -> Iterator[None]:
        whole = True
        file.seek(self._offsets.get(one.path, 0))
        while file.tell() < one.size:
            line = file.readline(lines.LONGEST)
            ends = line.endswith(b"\n")
            if not ends and len(line) < lines.LONGEST:
                return  # its end is not written yet
            self._offsets[one.path] = file.tell()
            if ends and whole and _VIOLATION in line:
                self._line(one.writer, line, parts)
            whole = ends
            yield

    def _line(self, writer: str, line: bytes, parts: Parts) -> None:
        try:
            spans = lines.spans(line, self._texts)
        except (lines.ForeignError, *lines.CORRUPT):
            return  # the review names it
        for span in spans:
            key = (writer, span.id)
            if span.finding is not None:
                self._found(key, span, span.finding, parts)
            elif span.settled and span.name == schema.VIOLATION_SPAN:
                finding = self._pending.pop(key, None)
                if finding is not None:
                    less = span.delivered(finding.count) - finding.delivered
                    if less:
                        parts.add(finding._replace(count=0, delivered=less, size=-finding.size))

    def _found(
        self, key: tuple[str, str], span: lines.StoredSpan, finding: Finding, parts: Parts
    ) -> None:
        if finding.synthetic:
            return
        parts.add(finding)
        kind = (finding.rule, finding.severity)
        self.newest[kind] = max(finding.last_ns, self.newest.get(kind, 0))
        if not span.settled:
            if len(self._pending) >= _MOST_PENDING:
                del self._pending[next(iter(self._pending))]
            self._pending[key] = finding
