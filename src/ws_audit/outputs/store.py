# SPDX-License-Identifier: Apache-2.0
"""The trace directory: violations and coverage on record before anything can be lost.

Why it exists: a violation must be kept before the application's call goes on, whatever then
becomes of the process, the network or the exporter. One line is one `write(2)`: once it has
returned, the kernel has the line and SIGKILL cannot take it back.

On the call path it must never raise, log, wait for the disk or list a directory; and no
process may ever write into another's file.
"""

from __future__ import annotations

import errno
import os
import re
import time
from _thread import RLock  # threading itself must not be imported this early
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ws_audit.outputs.lines import Lines
from ws_audit.outputs.segments import (
    COVERAGE,
    EVENTS,
    VIOLATIONS,
    Segment,
    create,
    expendable,
    forget_columns,
    list_segments,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from ws_audit.model import Span

KEY_FILE: Final = "hash.key"
_LOOK_BACK: Final = 65_536  # bytes, when something written a moment ago is looked for
SWEEP_SECONDS: Final = 60.0  # between two looks at the whole directory, rotations apart

# Events leave this much of a disk to the violations: so many bytes, or this part of a small one.
_RESERVE: Final = 64 << 20
_RESERVED_PART: Final = 8
_EVENTS_PART: Final = 16  # of `max_bytes` a segment of events has at most one in so many


class StoreError(Exception):
    """A trace directory that cannot be used; the text names it, what is wrong and the fix."""


class Store:
    """Appends spans to the segments of one trace directory, for one process and its forks.

    `resource` is what every line says of its source (`service.name`, `service.version`,
    `host.name`); `process.pid` is added and stays right after a fork. A segment is left for
    the next one past `segment_bytes`; whole segments are deleted, oldest first, once they are
    older than `max_age_days` or the directory holds more than `max_bytes`. With `events` there
    are segments of every send and delivery, too: the first to go, and not written where the disk
    has little room left.

    `dropped` counts the lines that could not be written (from 0 again in a fork's child) and
    `last_error` says why the last of them was not, or is empty.

    Raises StoreError if the directory cannot be used; nothing raises after that.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        resource: dict[str, str],
        segment_bytes: int = 16_777_216,
        max_bytes: int = 1_073_741_824,
        max_age_days: float = 30,
        events: bool = False,
    ) -> None:
        self.directory = _prepare(directory)
        self.dropped = 0
        self.last_error = ""
        self._resource = dict(resource)
        self._segment_bytes = segment_bytes
        self._max_bytes = max_bytes
        self._max_age = max_age_days * 86_400
        self._kinds = (VIOLATIONS, COVERAGE, EVENTS) if events else (VIOLATIONS, COVERAGE)
        self._room = True  # for events
        self._segments: dict[str, Segment] = {}
        self._next_sweep = 0.0
        self._pid = 0
        self._beginning: dict[int, RLock] = {}
        self._begin(os.getpid())

    @property
    def writer(self) -> str:
        """What the names of this process's segments have in common: host, pid and start."""
        return self._writer

    def write_violation(self, span: Span) -> bool:
        """Append one line to the violations: true once the kernel has all of it.

        For the call path, any thread, and right after a fork. False: this line is lost,
        `dropped` has counted it and `last_error` says why.
        """
        return self._write(VIOLATIONS, lambda: self._lines.line(span))

    def write_coverage(self, span: Span) -> bool:
        """Append one line to the coverage; the same in every other respect."""
        return self._write(COVERAGE, lambda: self._lines.line(span))

    def changed_ns(self) -> int:
        """When the coverage was written last, by the clock of the disk; 0 if that is not known.

        On a disk of this machine that is its own clock. One that several share compares theirs.
        """
        try:
            with self._lock:
                segment = self._segments.get(COVERAGE)
            return segment.changed_ns() if segment is not None else 0
        except Exception as error:
            self._remember(error)
            return 0

    def write_events(self, spans: list[str]) -> bool:
        """Append spans, encoded as `Lines.span` does, to the events: one line.

        Not for the call path, but a violation that is written meanwhile waits for none of it.
        False: they are lost, and counted as one line; without `room` nothing was tried.
        """
        return self._room and self._write(EVENTS, lambda: self._lines.whole(spans))

    def holds(self, text: str) -> int:
        """How often a text stands in the violations written last, as others would read them.

        Raises OSError if the file can't be opened by its name.
        """
        with self._lock:
            path = self._segments[VIOLATIONS].path if VIOLATIONS in self._segments else None
        if path is None:
            return 0
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _LOOK_BACK))
            return file.read().count(text.encode())

    def sync(self) -> bool:
        """Bring what was written to the disk, begin new segments, delete old ones.

        For the drain, at least once a second and off the call path, since it may wait for the
        disk. It also opens the segments beforehand: a process that has run out of file
        descriptors can still write its violations. True if the disk has everything that was
        written; otherwise `last_error` says why not.
        """
        pid = os.getpid()
        if self._pid != pid:
            self._begin(pid)

        complete = True
        with self._syncing:
            for kind in self._kinds:
                try:
                    self._turn_over(kind)
                except Exception as error:
                    complete = False
                    self._remember(error)

            if EVENTS in self._kinds:
                try:
                    self._room = self._has_room()
                except OSError as error:
                    self._remember(error)

            now = time.monotonic()
            if now >= self._next_sweep:
                self._next_sweep = now + SWEEP_SECONDS
                try:
                    self._sweep()
                except Exception as error:
                    self._remember(error)
        return complete

    def close(self) -> None:
        """Bring everything to the disk and close; a line written later opens new segments."""
        pid = os.getpid()
        if self._pid != pid:
            self._begin(pid)

        with self._syncing:
            with self._events_lock, self._lock:
                segments = list(self._segments.values())
                self._segments.clear()
            for segment in segments:
                try:
                    segment.close()
                except Exception as error:
                    self._remember(error)

    def forget(self) -> None:
        """After a fork: begin anew, even if the child's pid was an ancestor's once."""
        self._pid = 0

    def _begin(self, pid: int) -> None:
        """Start over as this process, with new locks: a thread of the parent may hold the old.

        Threads of a new child may get here together; the first does it.
        """
        with self._beginning.setdefault(pid, RLock()):
            if self._pid == pid:
                return
            inherited = self._segments

            # Re-entrant, because the collector may run application code (a `__del__` that
            # sends) at any allocation, also while a lock is held.
            self._lock = RLock()
            self._events_lock = RLock()  # before `_lock`, where both are held
            self._syncing = RLock()
            self._segments = {}
            self._numbers = count(1)
            self._next_sweep = 0.0
            self.dropped = 0

            host = re.sub(r"[^A-Za-z0-9._-]", "_", os.uname().nodename) or "host"
            self._writer = f"{host}-{pid}-{time.time_ns()}"
            self._lines = Lines({**self._resource, "process.pid": pid})
            self._pid = pid

            for segment in inherited.values():
                segment.abandon()

    def _lock_of(self, kind: str) -> RLock:
        return self._events_lock if kind == EVENTS else self._lock

    def _write(self, kind: str, encode: Callable[[], bytes]) -> bool:
        try:
            pid = os.getpid()
            if self._pid != pid:
                self._begin(pid)
            line = encode()  # now: its resource says which process this is
            with self._lock_of(kind):
                self._current(kind).append(line)
            return True
        except Exception as error:
            with self._lock:
                self.dropped += 1
            self._remember(error)
            return False

    @property
    def room(self) -> bool:
        """Whether events are written, as far as the disk's room goes."""
        return self._room

    def _has_room(self) -> bool:
        status = os.statvfs(self.directory)
        reserve = min(_RESERVE, status.f_blocks * status.f_frsize // _RESERVED_PART)
        return status.f_bavail * status.f_frsize >= reserve

    def _current(self, kind: str) -> Segment:
        """Return the segment to write into, a new one if need be. The kind's lock is held."""
        segment = self._segments.get(kind)
        if segment is not None and segment.usable():
            return segment
        self._segments[kind] = self._open(kind)
        if segment is not None:
            segment.abandon()
        return self._segments[kind]

    def _open(self, kind: str) -> Segment:
        path = self.directory / f"{kind}-{self._writer}-{next(self._numbers)}.jsonl"
        try:
            return Segment(path)
        except FileNotFoundError:
            # Somebody removed the directory itself. What comes next is worth a new one.
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            return Segment(path)

    def _turn_over(self, kind: str) -> None:
        most = self._segment_bytes
        if kind == EVENTS:
            most = min(most, self._max_bytes // _EVENTS_PART)
        with self._lock_of(kind):
            segment = self._current(kind)
            full = segment.size >= most or segment.at_limit
            if full and segment.size:
                self._segments[kind] = self._open(kind)
                self._next_sweep = 0.0
            else:
                full = False

        # The disk is waited for without the lock that the call path takes.
        if full:
            segment.close()
        else:
            segment.sync()

    def _sweep(self) -> None:
        with self._lock:
            ours = {segment.path.name for segment in list(self._segments.values())}
        segments = list_segments(self.directory)
        chosen = expendable(segments, ours, time.time(), self._max_bytes, self._max_age)
        if chosen:
            # What a review has kept of them must not outlive them; the next one makes it anew.
            try:
                forget_columns(self.directory, chosen)
            except OSError as error:
                self._remember(error)
        for old in chosen:
            try:
                (self.directory / old.name).unlink()
            except FileNotFoundError:
                pass  # another process was quicker
            except OSError as error:
                self._remember(error)

    def _remember(self, error: Exception) -> None:
        # Of an error that is not the disk's only the type: its text may quote what was written.
        text = (
            f"{type(error).__name__}: {error}"
            if isinstance(error, OSError)
            else type(error).__name__
        )
        self.last_error = f"{self.directory}: {text}"


def hash_key(directory: str | os.PathLike[str]) -> bytes:
    """Return the key with which the principals in this trace directory are hashed.

    It is text, 64 hex digits, just as `WS_AUDIT_HASH_KEY` would hold it, in the file
    `hash.key` with mode 0600. The first process to ask creates it, and processes that start
    together get the same one. May wait up to a second for one that is being created. Raises
    StoreError if it cannot be created or read, or is too short to keep anything secret.
    """
    path = _prepare(directory) / KEY_FILE
    try:
        try:
            descriptor = create(path)
        except FileExistsError:
            return _read_key(path)
        return _write_key(path, descriptor)
    except OSError as error:
        raise StoreError(
            f"hash key {path}: {error.strerror or error}. Make it a file this user can read "
            "(and the disk have room to create it), or set WS_AUDIT_HASH_KEY."
        ) from error


def _write_key(path: Path, descriptor: int) -> bytes:
    key = os.urandom(32).hex().encode()
    try:
        if os.write(descriptor, key) < len(key):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(descriptor)
    except OSError:
        path.unlink()
        raise
    finally:
        os.close(descriptor)
    return key


def _read_key(path: Path) -> bytes:
    # Whoever creates the file fills it at once: give them the moment in between.
    deadline = time.monotonic() + 1.0
    while True:
        with path.open("rb") as file:
            key = file.read(4096).strip()
        if len(key) >= 32:
            return key
        if time.monotonic() > deadline:
            raise StoreError(
                f"hash key {path}: {len(key)} characters, expected at least 32. Restore it from "
                "a backup, or delete it: a new key then names everybody anew."
            )
        time.sleep(0.02)


def _prepare(directory: str | os.PathLike[str]) -> Path:
    """Create the directory if it is missing and return its absolute path. Raises StoreError."""
    path = Path(directory).absolute()
    fix = "Give the application's user a directory it may write, or set WS_AUDIT_TRACE_DIR."
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise StoreError(f"trace directory {path}: a file is in its place. {fix}") from error
    except OSError as error:
        why = error.strerror or str(error)
        raise StoreError(f"trace directory {path}: cannot be created: {why}. {fix}") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise StoreError(f"trace directory {path}: not writable. {fix}")
    return path
