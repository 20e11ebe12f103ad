# SPDX-License-Identifier: Apache-2.0
# The floor is on the path of these processes, but of no type checker.
# mypy: disable-error-code="import-not-found"
"""A child that does nothing for a while and ends as a program does.

python quiet.py
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import floor

STORE = Path(os.environ["WS_AUDIT_TRACE_DIR"])


def files() -> dict[str, int]:
    return {path.name: path.stat().st_size for path in STORE.iterdir()}


def main() -> None:
    audited = floor.serve()
    floor.some(audited)
    time.sleep(1.5)  # whatever the worker had to write is written
    before = files()
    pid = os.fork()
    if not pid:
        time.sleep(2.5)
        floor.tell(threads=floor.ours())
        sys.exit(0)
    assert floor.reap(pid) == 0
    floor.tell(before=before, after=files())


if __name__ == "__main__":
    main()
