# SPDX-License-Identifier: Apache-2.0
"""Several trace directories as one: those of a service's hosts, copied side by side.

Why it exists: hosts without a common disk have a directory each, and a leak does not stop at one
of them.

It must never count twice what is there twice: a process has its name in those of its segments, so
a copied segment is known for one.
"""

from __future__ import annotations

import os
import tempfile
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ws_audit import journal

if TYPE_CHECKING:
    from collections.abc import Sequence

    Directory = str | os.PathLike[str]
    Where = Directory | Sequence[Directory]

_BLOCK: Final = 1 << 20


def directories(where: Where) -> tuple[Path, ...]:
    """The trace directories that are meant, each once."""
    several = [where] if isinstance(where, str | os.PathLike) else where
    found: dict[str, Path] = {}
    for path in map(Path, several):
        found.setdefault(os.path.realpath(path), path)  # takes a circle of links, too
    return tuple(found.values())


def elsewhere(directory: Path, user: str) -> Path:
    """Where reviews by a user (a number) keep what they have read, if not in the directory."""
    name = blake2b(str(directory.resolve()).encode("utf-8", "replace"), digest_size=16)
    return Path(tempfile.gettempdir(), f"ws-audit-{user}-{name.hexdigest()}")


def title(path: Path, among: tuple[Path, ...]) -> str:
    """What a file is called in a review of these directories."""
    return path.name if len(among) == 1 else str(path)


def longest(copies: list[Path]) -> tuple[Path, list[str]]:
    """Of segments with one name the one to read, and what is wrong with the others.

    A segment is only appended to, so an earlier copy is the beginning of a later one.
    """
    best = max(copies, key=_size)
    problems = [
        f"{path}: not the beginning of {best}, though it has the same name: not counted"
        for path in copies
        if path is not best and not _begins(best, path)
    ]
    return best, problems


def said(among: tuple[Path, ...]) -> journal.Journal:
    """What the journals of these directories say; what several of them have alike, once."""
    journals = [journal.read(directory) for directory in among]
    if len(among) == 1:
        return journals[0]
    marks = dict.fromkeys(mark for it in journals for mark in it.marks)
    problems = [
        f"{directory}/{problem}"
        for directory, it in zip(among, journals, strict=True)
        for problem in it.problems
    ]
    return journal.Journal(list(marks), problems, all(it.readable for it in journals))


def _begins(whole: Path, part: Path) -> bool:
    """Whether a file begins with all that is in another one. One that can't be read does not."""
    try:
        with whole.open("rb") as one, part.open("rb") as other:
            while block := other.read(_BLOCK):
                if one.read(len(block)) != block:
                    return False
    except OSError:
        return False
    return True


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else -1
    except OSError:
        return -1
