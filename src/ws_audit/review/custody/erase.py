# SPDX-License-Identifier: Apache-2.0
"""A person's hash taken out of a trace directory, so that nothing there leads to them any more.

Why it exists: hashes are personal data, and people may ask for theirs to be erased. The records
are others' evidence too, so they stay, with a name in the hash's place that nobody can compute:
counts, pairs and times are what they were.

It must never change anything but those 32 digits, nor their number: processes that append to the
same file are not disturbed, and whatever has been read of it stays in its place. And it must never
say that a hash is gone without having looked again.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from ws_audit import journal, schema
from ws_audit.review.segments import gather, lines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HASH: Final = re.compile(r"[0-9a-f]{32}")
_HEAD: Final = b"erased-"
_LETTERS: Final = "ghijklmnopqrstuvwxyz"  # none is a digit: where one is, a hash is not gone whole
_LENGTH: Final = 32
_BLOCK: Final = 1 << 20
_PAGE: Final = 4096  # what is written within one is on the disk whole, or not at all
_OURS: Final = re.compile(
    rf"{lines.SEGMENT.pattern}|{lines.EVENTS.pattern}|state-.+-[0-9]+\.json(?:\.new)?"
    rf"|pushed\.jsonl|{re.escape(journal.FILE)}"
)
_QUIET_S: Final = 180.0  # coverage grows every minute: who is silent for three has ended
_FINAL: Final = f'"{schema.FINAL}"'.encode()
_LAST: Final = 65_536  # bytes of a coverage segment in which its last lines are
_ROUNDS: Final = 3


class Found(NamedTuple):
    """Where a hash stands: how often in which files of ours, and files of somebody else's.

    `kept` are folders of what reviews have kept to be quicker, whatever is in them.
    """

    files: dict[Path, int]
    foreign: list[Path]
    kept: list[Path]


def find(directory: Path, person: str) -> Found:
    """Where a hash stands in a trace directory. Raises OSError."""
    digits = person.encode()
    files: dict[Path, int] = {}
    foreign = []
    for path in sorted(directory.iterdir()):
        if not stat.S_ISREG(path.lstat().st_mode):
            continue
        with suppress(FileNotFoundError), path.open("rb") as file:
            count = sum(1 for _ in _places(file.fileno(), digits))
            if count and _OURS.fullmatch(path.name):
                files[path] = count
            elif count:
                foreign.append(path)
    return Found(files, foreign, [it for it in _caches(directory) if it.is_dir()])


def erase(directory: Path, person: str, name: str) -> int:
    """Put `name` in the place of a hash, everywhere; how often. Raises OSError.

    In the journal it is another name: who asked for a person, and why, may tell whom.
    """
    done = 0
    for _ in range(_ROUNDS):  # a process that runs may have written it again meanwhile
        found = find(directory, person)
        for path in found.files:
            new = name if path.name != journal.FILE else new_name()
            with suppress(FileNotFoundError):  # too old: the agent has deleted it just now
                done += _overwrite(path, person.encode(), new.encode())
        forget(directory)
        if not found.files:
            break
    return done


def forget(directory: Path) -> None:
    """Remove what reviews have kept of the directory. Raises OSError."""
    for folder in _caches(directory):
        if folder.is_dir() and not folder.is_symlink():
            for path in folder.iterdir():
                with suppress(FileNotFoundError):
                    path.unlink()


def new_name() -> str:
    """What stands in a hash's place: as long, never two alike, and nobody's."""
    rest = "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH - len(_HEAD)))
    return _HEAD.decode() + rest


def running(directory: Path) -> list[str]:
    """The processes that seem to write into the directory still."""
    newest: dict[str, tuple[float, Path]] = {}
    ended = set()
    for path in directory.iterdir():
        match = lines.SEGMENT.fullmatch(path.name)
        if match is None:
            continue
        name = f"process {match[3]} on {match[2]}"
        with suppress(OSError):
            changed = path.stat().st_mtime
            newest[name] = max(newest.get(name, (0.0, path)), (changed, path))
            if match[1] == "coverage" and _FINAL in _tail(path):
                ended.add(name)
    now = time.time()
    return sorted(it for it, (at, _) in newest.items() if now - at < _QUIET_S and it not in ended)


def _caches(directory: Path) -> list[Path]:
    """Where reviews may have kept something of a directory: in it, or anybody's temporary place."""
    anybodys = gather.elsewhere(directory, "*")
    return [directory / lines.CACHE, *sorted(anybodys.parent.glob(anybodys.name))]


def _overwrite(path: Path, digits: bytes, name: bytes) -> int:
    """Write a name over a hash wherever it stands in a file; how often. Raises OSError."""
    done = 0
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        before = os.fstat(descriptor)
        for place in _places(descriptor, digits):
            cut = _PAGE - place % _PAGE
            if cut < _LENGTH:
                # First and last half may be lost apart. In this order what is left of a hash
                # follows a name's beginning, by which it is known.
                os.pwrite(descriptor, name[:cut], place)
                os.fsync(descriptor)
                os.pwrite(descriptor, name[cut:], place + cut)
            else:
                os.pwrite(descriptor, name, place)
            done += 1
        os.fsync(descriptor)
        if done:
            # Its age counts from what was written last, and a cache knows it by its time.
            os.utime(descriptor, ns=(before.st_atime_ns, before.st_mtime_ns - 1_000))
    finally:
        os.close(descriptor)
    return done


def _places(descriptor: int, digits: bytes) -> Iterator[int]:
    """Where a hash begins in a file; also one of which a name has taken the first half."""
    at = 0
    while block := os.pread(descriptor, _BLOCK + _LENGTH - 1, at):
        begin = block.find(digits)
        while begin >= 0:
            yield at + begin
            begin = block.find(digits, begin + _LENGTH)
        for page in range(-at % _PAGE, len(block), _PAGE):
            begin = _torn(block, page, digits)
            if begin >= 0:
                yield at + begin
        at += _BLOCK


def _torn(block: bytes, page: int, digits: bytes) -> int:
    """Where a half overwritten hash begins that goes on behind the end of a page; -1: none."""
    for cut in range(1, _LENGTH):
        begin = page - cut
        if begin < 0:
            break
        head = _HEAD[:cut]
        if block[page : page + _LENGTH - cut] == digits[cut:] and block.startswith(head, begin):
            return begin
    return -1


def _tail(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _LAST))
        return file.read()
