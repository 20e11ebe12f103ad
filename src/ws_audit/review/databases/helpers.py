# SPDX-License-Identifier: Apache-2.0
"""Processes that help to read segments.

Why it exists: reading is decoding text, which one process does on one core.

They must never outlive whom they help, however it ends.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Final

_MOST: Final = 4


def wanted(tasks: int) -> int:
    """How many are of use; below 2, none is."""
    return min(os.cpu_count() or 1, _MOST, tasks)


def pool(size: int) -> ProcessPoolExecutor:
    """So many of them. Not forked: the database has threads already."""
    return ProcessPoolExecutor(size, get_context("spawn"), _begin, (os.getpid(),))


def _begin(parent: int) -> None:
    """Finish what it is at when the terminal interrupts all, and end with the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
