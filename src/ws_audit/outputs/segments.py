# SPDX-License-Identifier: Apache-2.0
"""The files of a trace directory: one open segment, and which old ones may go.

Why it exists: what makes a line survive (one append, a file of one's own, a descriptor that
is still ours) and what bounds the directory can each be understood and tested alone.

It must never write into a descriptor the application has since given to something else, and
never choose for deletion a file somebody is writing.
"""

from __future__ import annotations

import errno
import os
import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

VIOLATIONS: Final = "violations"
COVERAGE: Final = "coverage"
EVENTS: Final = "events"  # every send and delivery, if asked for: the first to go

CACHE: Final = "review.cache"  # a folder beside the segments: what a review keeps of them
LOADED: Final = "@"  # in it, behind the name of the segment whose events a file has

QUIET_SECONDS: Final = 3600.0  # coverage grows every minute: who is silent this long is dead

_NAME: Final = re.compile(rf"({VIOLATIONS}|{COVERAGE}|{EVENTS})-(.+-[0-9]+-[0-9]+)-([0-9]+)\.jsonl")
_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_flush: Final = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync


def create(path: Path) -> int:
    """Create a file that only this user reads and open it for appending. Raises OSError."""
    return os.open(path, _FLAGS, 0o600)


class Segment:
    """One open file of whole lines. The caller sees to it that one thread writes at a time."""

    __slots__ = ("_dirty", "_fd", "_identity", "_torn", "at_limit", "path", "size")

    def __init__(self, path: Path) -> None:
        self._fd = create(path)
        status = os.fstat(self._fd)
        self._identity = (status.st_dev, status.st_ino)
        self._torn = False  # the last line lacks its end
        self._dirty = False  # something was written since the last sync
        self.path = path
        self.size = 0
        self.at_limit = False  # this file may not grow, though the disk has room

    def usable(self) -> bool:
        """Whether a line written now lands in our file, and in one that still has a name.

        An application that closes every descriptor to become a daemon gives our number to
        something else; and somebody may have deleted the file.
        """
        try:
            status = os.fstat(self._fd)
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self._identity and status.st_nlink > 0

    def changed_ns(self) -> int:
        """When it was written last, by the clock of the disk. Raises OSError."""
        status = os.fstat(self._fd)
        if (status.st_dev, status.st_ino) != self._identity:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return status.st_mtime_ns

    def append(self, line: bytes) -> None:
        """Write one line with one call. Raises OSError if not all of it went.

        A line that went in part spoils no other: the next one begins on a new line.
        """
        if self._torn:
            line = b"\n" + line
        try:
            written = os.write(self._fd, line)
        except OSError as error:
            self.at_limit = error.errno == errno.EFBIG
            raise
        self.size += written
        self._dirty = True
        self._torn = written < len(line)
        if self._torn:
            raise OSError(errno.ENOSPC, f"{written} of {len(line)} bytes written", str(self.path))

    def sync(self) -> None:
        """Wait until the disk has what was written. Raises OSError."""
        if self._dirty and self.usable():
            self._dirty = False  # first: a line written meanwhile makes it true again
            try:
                _flush(self._fd)
            except OSError:
                self._dirty = True
                raise

    def close(self) -> None:
        """Sync and close; a segment that stayed empty is removed. Raises OSError."""
        try:
            self.sync()
            if not self.size and self.usable():
                self.path.unlink()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close the descriptor if it is still ours: in a fork's child, or the file is gone."""
        try:
            status = os.fstat(self._fd)
            if (status.st_dev, status.st_ino) == self._identity:
                os.close(self._fd)
        except OSError:
            pass


class Closed(NamedTuple):
    """A segment as the directory shows it; `writer` is host-pid-start, `changed` Unix seconds."""

    name: str
    kind: str
    writer: str
    number: int
    size: int
    changed: float


def list_segments(directory: Path) -> list[Closed]:
    """List the segments of every process in a trace directory. Raises OSError."""
    found = []
    with os.scandir(directory) as entries:
        for entry in entries:
            match = _NAME.fullmatch(entry.name)
            if match is None:
                continue
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue  # another process deleted it meanwhile
            kind, writer, number = match.groups()
            found.append(
                Closed(entry.name, kind, writer, int(number), status.st_size, status.st_mtime)
            )
    return found


def forget_columns(directory: Path, segments: list[Closed]) -> None:
    """Remove what reviews have kept of these segments. Raises OSError.

    What happened they keep segment by segment, what `columns` need all in one file.
    """
    folder = directory / CACHE
    if not folder.is_dir() or folder.is_symlink():
        return
    gone = {segment.name for segment in segments}
    for path in folder.glob(f"*{LOADED}*.parquet"):
        if f"{path.name.partition(LOADED)[0]}.jsonl" in gone:
            path.unlink(missing_ok=True)
    if any(segment.kind != EVENTS for segment in segments):
        for path in folder.glob("columns-*.parquet"):
            path.unlink(missing_ok=True)


def expendable(
    segments: list[Closed], ours: set[str], now: float, max_bytes: int, max_age: float
) -> list[Closed]:
    """Choose what to delete, oldest first: past the age, then until the size is met.

    For the size, every event goes before the first violation does.

    `ours` are the names this process is writing: never chosen. The newest segments of another
    process are chosen for size only once it is dead, which its coverage tells by no longer
    growing. Should it live after all (a suspended machine), it loses nothing it writes from
    then on: `Segment.usable` misses the name and a new segment is opened.
    """
    newest: dict[tuple[str, str], int] = {}
    heard: dict[str, float] = {}
    for segment in segments:
        stream = segment.kind, segment.writer
        newest[stream] = max(segment.number, newest.get(stream, 0))
        heard[segment.writer] = max(segment.changed, heard.get(segment.writer, 0.0))

    theirs = [segment for segment in segments if segment.name not in ours]
    chosen = [segment for segment in theirs if now - segment.changed > max_age]
    total = sum(segment.size for segment in segments) - sum(segment.size for segment in chosen)
    for segment in sorted(theirs, key=lambda segment: (segment.kind != EVENTS, segment.changed)):
        writing = (
            segment.number == newest[segment.kind, segment.writer]
            and now - heard[segment.writer] < QUIET_SECONDS
        )
        if total > max_bytes and not writing and now - segment.changed <= max_age:
            chosen.append(segment)
            total -= segment.size
    return chosen
