# SPDX-License-Identifier: Apache-2.0
# The floor is on the path of these processes, but of no type checker.
# mypy: disable-error-code="import-not-found"
"""Programs started by a program that serves: they inherit the variable, and nothing else of ours.

python spawning.py | spawning.py child NUMBER
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import floor


def inherited() -> list[str]:
    """What this process has open of the agent's: files of the store, sockets."""
    open_files = []
    for each in Path("/proc/self/fd").iterdir():
        try:
            open_files.append(str(each.readlink()))
        except OSError:
            continue
    store = os.environ["WS_AUDIT_TRACE_DIR"]
    return [name for name in open_files if name.startswith((store, "socket:"))]


def main() -> None:
    if len(sys.argv) > 1:
        floor.tell(inherited=inherited())
        floor.some(floor.serve(), 30, sys.argv[2])
        return
    audited = floor.serve()
    with floor.load(audited, 4):
        for number in range(3):
            command = [sys.executable, __file__, "child", str(number)]
            subprocess.run(command, check=True, timeout=floor.SECONDS)


if __name__ == "__main__":
    main()
