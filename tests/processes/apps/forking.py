# SPDX-License-Identifier: Apache-2.0
# The floor is on the path of these processes, but of no type checker.
# mypy: disable-error-code="import-not-found"
"""Forks again and again while eight threads serve and one scrapes; each child does as it is told.

python forking.py CHILDREN
"""

from __future__ import annotations

import os
import sys
from typing import Any

import floor


def child(kind: int, audited: Any) -> None:
    """What the child does before it ends."""
    if kind % 2 == 0:
        floor.some(audited, 40, os.getpid())
    floor.tell(kind=kind, frames=floor.frames_scraped(), threads=floor.ours())
    if kind % 4 < 2:
        os._exit(0)
    sys.exit(0)


def main() -> None:
    audited = floor.serve()
    with floor.load(audited):
        for kind in range(int(sys.argv[1])):
            pid = os.fork()
            if not pid:
                child(kind, audited)
            assert floor.reap(pid) == 0
    floor.tell(kind=-1, frames=floor.frames_scraped(), threads=[])


if __name__ == "__main__":
    main()
