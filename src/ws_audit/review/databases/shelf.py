# SPDX-License-Identifier: Apache-2.0
"""Where a review keeps what it has read: files that are never changed, and named by their digest.

Why it exists: a cache is believed only if it is whole, ours, and in a folder nobody else can write.

It must never be in the way: where nothing can be kept, everything is read again.
"""

from __future__ import annotations

import os
import stat
import time
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from ws_audit.review.segments import gather, lines

if TYPE_CHECKING:
    from pathlib import Path

UNFINISHED: Final = "new-"  # what the name of a file that is being written begins with
_ABANDONED_S: Final = 3600.0  # one this old is nobody's


def places(directory: Path) -> list[Path]:
    """The folders in which something of a trace directory may be kept, the best one first."""
    return [directory / lines.CACHE, gather.elsewhere(directory, str(os.getuid()))]


def check_private(place: Path) -> None:
    """Raise OSError unless this is a folder only its owner, who owns it rightly, can write."""
    status = place.lstat()
    ours = status.st_uid in {os.getuid(), place.parent.stat().st_uid}
    if not stat.S_ISDIR(status.st_mode) or not ours or status.st_mode & 0o022:
        raise PermissionError(f"{place} is not private")


def abandoned(path: Path) -> bool:
    """Whether nobody can be at a file any more."""
    try:
        return time.time() - path.stat().st_mtime > _ABANDONED_S
    except OSError:
        return False


def sweep(place: Path) -> None:
    """Remove what somebody who was killed has left unfinished. Raises OSError."""
    for path in place.glob(f"{UNFINISHED}*"):
        if abandoned(path):
            path.unlink()


def digest(path: Path) -> str:
    """What a whole file looks like. Raises OSError."""
    found = blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()


def quoted(text: str) -> str:
    """Text between the quotes of an SQL string."""
    return text.replace("'", "''")
