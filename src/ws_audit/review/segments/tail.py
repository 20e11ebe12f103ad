# SPDX-License-Identifier: Apache-2.0
"""Trace directories as they grow: read once, and then only what is new.

Why it exists: whoever looks on while a leak goes on must not have a gibibyte read again for each
new line. It reads with the reader's own methods, so what it adds up to is what a review says.

It must never take in a line whose end is not there yet, and never go on counting what the
directory no longer has.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from . import lines, read

if TYPE_CHECKING:
    from typing import BinaryIO

    from ws_audit.review.selection import Selection

    from .gather import Where
    from .read import Progress, Writer


class ChangedError(Exception):
    """Something that was read is not there any more: all of it has to be read anew."""


class _Read:
    """How far a segment has been read, and what was wrong so far."""

    __slots__ = ("at", "faults", "inode", "lines", "whole")

    def __init__(self, inode: int) -> None:
        self.inode = inode
        self.at = 0
        self.lines = 0
        self.whole = True  # the last line has its end
        self.faults: lines.Faults = {}


class Tail(read.Reader):
    """Each `read` takes in what has been written since the last one."""

    def __init__(self, where: Where, progress: Progress | None, asked: Selection) -> None:
        super().__init__(where, progress, None, asked)
        self._segments_read: dict[str, _Read] = {}
        self._there: set[str] = set()
        self.news = False  # whether the last `read` has found something

    def read(self) -> read.Stored:
        """Give all there is by now. Raises ChangedError, or OSError if a directory is gone."""
        self._problems = []
        self._done = self._total = 0
        self._there = set()
        self.news = False
        stored = super().read()
        self._progress = None  # what comes now is little
        if self._segments_read.keys() - self._there:
            raise ChangedError
        return stored

    def _file(self, name: str, kind: str, writer: Writer, file: BinaryIO) -> None:
        status = os.fstat(file.fileno())
        so_far = self._segments_read.setdefault(name, _Read(status.st_ino))
        if so_far.inode != status.st_ino or status.st_size < so_far.at:
            raise ChangedError
        self._there.add(name)
        self._done += so_far.at
        file.seek(so_far.at)
        torn: lines.Faults = {}
        while line := file.readline(lines.LONGEST):
            ends = line.endswith(b"\n")
            if not ends and len(line) < lines.LONGEST:
                torn[lines.fault(line, ValueError())] = (so_far.lines + so_far.whole, 1)
                break  # its end is not written yet, or never will be
            self._take(so_far, kind, writer, line)
            so_far.whole = ends
        if self._progress is not None:
            self._progress(self._done, self._total)
        self._name(name, so_far.faults)
        if so_far.whole:
            self._name(name, torn)

    def _take(self, so_far: _Read, kind: str, writer: Writer, line: bytes) -> None:
        self.news = True
        so_far.at += len(line)
        self._done += len(line)
        if not so_far.whole:
            return  # the rest of a line that is too long to be ours
        so_far.lines += 1
        if self._progress is not None and so_far.lines % 1000 == 0:
            self._progress(self._done, self._total)
        try:
            self._line(kind, writer, line)
        except (lines.ForeignError, *lines.CORRUPT) as error:
            fault = lines.fault(line, error)
            first, count = so_far.faults.get(fault, (so_far.lines, 0))
            so_far.faults[fault] = (first, count + 1)
