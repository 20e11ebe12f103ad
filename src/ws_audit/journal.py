# SPDX-License-Identifier: Apache-2.0
"""The journal of a trace directory: what people did about incidents, and which numbers they had.

Why it exists: segments are deleted by age and processes end, but who acknowledged what, who took
evidence away and who asked for a person by name must stay, and an incident must keep its number
when the evidence of earlier ones is gone.

It must never be rewritten or shortened (lines are only appended; when a person is erased, the
digits of their hash alone give way), and never cost a reader more than the line that is wrong.
"""

from __future__ import annotations

import calendar
import errno
import json
import os
import re
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ws_audit.incidents import Mark, timestamp

if TYPE_CHECKING:
    from collections.abc import Iterable

FILE: Final = "journal.jsonl"
VERSION: Final = 1
ACK: Final = "ack"  # somebody has acknowledged it: the next of its cause is another incident
OPENED: Final = "opened"  # it began after a silence; written by the agent, to keep its number
EXPORT: Final = "export"  # somebody has taken a copy of its evidence; changes nothing about it
ERASE: Final = "erase"  # somebody has had a person's hash taken out of all that is on record
WHO: Final = "who"  # somebody has asked what is on record of a person whom they know by name

_ID: Final = re.compile(r"([0-9a-f]{12})(?:-([1-9][0-9]{0,8}))?")
_OF_NONE: Final = (WHO, ERASE)  # what is about no incident
_CAUSE: Final = 12  # digits of an id that name its cause
_TIME: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:([Zz])|([+-])(\d\d):(\d\d))",
    re.ASCII,
)
_MOST: Final = 64 << 20  # bytes read: no journal of ours comes near


class Journal(NamedTuple):
    """What a journal says, in its order, and what in it could not be read.

    Not `readable`: nothing is known of what it says.
    """

    marks: list[Mark]
    problems: list[str]
    readable: bool = True


def path(directory: str | os.PathLike[str]) -> Path:
    """Where the journal of a trace directory is."""
    return Path(directory) / FILE


def read(directory: str | os.PathLike[str]) -> Journal:
    """Read the journal; a directory without one has an empty one. Never raises OSError."""
    marks: list[Mark] = []
    problems: list[str] = []
    try:
        lines = _lines(directory)
    except OSError as error:
        problem = f"{FILE}: cannot be read: {error.strerror or error}"
        return Journal([], [problem], readable=False)
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            mark = _mark(json.loads(line))
            if mark is not None:
                marks.append(mark)
        except _ForeignError as foreign:
            problems.append(f"{FILE} line {number}: {foreign}, not counted")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            torn = not line.endswith(b"\n")
            fault = "torn (killed or disk full in mid-write)" if torn else "corrupt"
            problems.append(f"{FILE} line {number}: {fault}, not counted")
    return Journal(marks, problems)


def append(directory: str | os.PathLike[str], marks: Iterable[Mark]) -> None:
    """Write marks to the end of the journal and wait for the disk. Raises OSError."""
    _append(directory, [_entry(mark) for mark in marks])


def exported(directory: str | os.PathLike[str], mark: Mark, digest: str) -> None:
    """Write that `mark.by` took a copy of the evidence at `mark.time_ns`. Raises OSError."""
    _append(directory, [{**_entry(mark), "action": EXPORT, "digest": digest}])


def asked(
    directory: str | os.PathLike[str], hashes: Iterable[str], by: str, note: str, time_ns: int
) -> None:
    """Write that somebody looked a person up, who is kept as hashes only. Raises OSError."""
    _append(directory, [{**_deed(WHO, by, note, time_ns), "hashes": list(hashes)}])


def erased(
    directory: str | os.PathLike[str], places: int, by: str, note: str, time_ns: int
) -> None:
    """Write that a person was erased, who is not named, in so many places. Raises OSError."""
    _append(directory, [{**_deed(ERASE, by, note, time_ns), "places": places}])


def deeds(directory: str | os.PathLike[str], action: str) -> list[dict[str, Any]]:
    """The entries of one action as they were written. Raises OSError."""
    found = []
    for line in _lines(directory):
        try:
            entry = json.loads(line)
            if entry["version"] == VERSION and entry["action"] == action:
                found.append(entry)
        except (ValueError, TypeError, KeyError, RecursionError):
            continue  # named where the journal is read
    return found


def check(directory: str | os.PathLike[str]) -> None:
    """Raise OSError unless the journal can be written."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        os.close(os.open(path(directory), flags))
    except FileNotFoundError:
        if not os.access(directory, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES)) from None
    else:
        if not stat.S_ISREG(path(directory).stat().st_mode):
            raise OSError("not a regular file")


def about(directory: str | os.PathLike[str], cause: str) -> bytes:
    """The lines about the incidents of a cause, byte for byte. Raises OSError."""
    return b"".join(line for line in _lines(directory) if _cause(line) == cause)


def _append(directory: str | os.PathLike[str], entries: list[dict[str, Any]]) -> None:
    text = b"".join(json.dumps(entry).encode() + b"\n" for entry in entries)
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
    descriptor = os.open(path(directory), flags, 0o600)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError("not a regular file")
        if status.st_size and os.pread(descriptor, 1, status.st_size - 1) != b"\n":
            text = b"\n" + text  # somebody's line is torn: it spoils no other
        elif not status.st_size:
            _give(descriptor, directory)
        written = os.write(descriptor, text)
        os.fsync(descriptor)
        if written < len(text):
            raise OSError(f"{written} of {len(text)} bytes written")
    finally:
        os.close(descriptor)
    if not status.st_size:
        _sync_directory(directory)


def stamp(directory: str | os.PathLike[str]) -> tuple[int, ...]:
    """Something that is different when the journal has changed."""
    try:
        status = path(directory).stat()
    except OSError:
        return ()
    return (status.st_ino, status.st_size, status.st_mtime_ns)


def nanoseconds(text: str) -> int:
    """Read RFC 3339 into Unix nanoseconds. Raises ValueError."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(text)
    day, clock, fraction, _, sign, hours, minutes = match.groups()
    seconds = calendar.timegm(time.strptime(f"{day} {clock}", "%Y-%m-%d %H:%M:%S"))
    if sign:
        offset = (int(hours) * 60 + int(minutes)) * 60
        seconds -= offset if sign == "+" else -offset
    return seconds * 1_000_000_000 + int((fraction or "").ljust(9, "0"))


class _ForeignError(Exception):
    """A whole line that is not for us; the text says why."""


def _lines(directory: str | os.PathLike[str]) -> list[bytes]:
    """The lines there are, with their ends. Raises OSError."""
    try:
        status = path(directory).stat()
        if not stat.S_ISREG(status.st_mode):
            raise OSError("not a regular file")  # a pipe would keep us waiting
        with path(directory).open("rb") as file:
            return file.read(_MOST).splitlines(keepends=True)
    except FileNotFoundError:
        return []


def _cause(line: bytes) -> str | None:
    """Which cause a line is about; None if it is none of ours."""
    try:
        entry = json.loads(line)
        _mark(entry)
        if entry["action"] in _OF_NONE:
            return None
    except (_ForeignError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return str(entry["incident"])[:_CAUSE]


def _mark(entry: dict[str, Any]) -> Mark | None:
    if entry["version"] != VERSION:
        version = repr(str(entry["version"])[:40])
        raise _ForeignError(f"journal version {version}, this one reads version {VERSION}")
    action = entry["action"]
    if action in _OF_NONE:
        return None
    if action not in (ACK, OPENED, EXPORT):
        raise _ForeignError(f"action {str(action)[:40]!r} is not known here")
    match = _ID.fullmatch(entry["incident"])
    if match is None:
        raise ValueError("no incident")
    cause, number = match.groups()
    first_ns, last_ns = nanoseconds(entry["first_seen"]), nanoseconds(entry["last_seen"])
    time_ns = nanoseconds(entry["time"])
    if action == EXPORT:
        return None
    if action == OPENED:
        return Mark(cause, int(number or 1), first_ns, last_ns)
    by, note = entry["by"], entry["note"]
    if not isinstance(by, str) or not isinstance(note, str):
        raise TypeError("no text")
    return Mark(cause, int(number or 1), first_ns, last_ns, time_ns, by, note)


def _entry(mark: Mark) -> dict[str, Any]:
    return {
        "version": VERSION,
        "time": timestamp(mark.time_ns or time.time_ns()),
        "action": ACK if mark.time_ns else OPENED,
        "incident": mark.incident,
        "first_seen": timestamp(mark.first_ns),
        "last_seen": timestamp(mark.last_ns),
        "by": mark.by,
        "note": mark.note,
    }


def _deed(action: str, by: str, note: str, time_ns: int) -> dict[str, Any]:
    """An entry that is about no incident."""
    time_text = timestamp(time_ns)
    return {"version": VERSION, "time": time_text, "action": action, "by": by, "note": note}


def _give(descriptor: int, directory: str | os.PathLike[str]) -> None:
    """A journal that root begins is for whom the directory belongs to: the agent reads it."""
    owner = Path(directory).stat()
    if os.geteuid() == 0 and owner.st_uid:
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def _sync_directory(directory: str | os.PathLike[str]) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
