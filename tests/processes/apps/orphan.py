# SPDX-License-Identifier: Apache-2.0
# The floor is on the path of these processes, but of no type checker.
# mypy: disable-error-code="import-not-found"
"""A child that outlives its parent: it says when the parent may be looked for in vain.

python orphan.py
"""

from __future__ import annotations

import os
import time

import floor


def main() -> None:
    audited = floor.serve()
    floor.some(audited, 20, 1)
    parent = os.getpid()
    if os.fork():
        os._exit(0)
    while os.getppid() == parent:
        time.sleep(0.01)
    floor.tell(orphan=True)
    time.sleep(floor.SECONDS)


if __name__ == "__main__":
    main()
