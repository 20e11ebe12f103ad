# SPDX-License-Identifier: Apache-2.0
# The floor is on the path of these processes, but of no type checker.
# mypy: disable-error-code="import-not-found"
"""Processes and pools of multiprocessing, beside a parent that serves as well.

python pools.py fork | spawn | forkserver
"""

from __future__ import annotations

import multiprocessing
import sys
from typing import Any

import floor


def work(number: int) -> None:
    """Serve a little; ends with the function, so that the agent has no time of its own."""
    floor.some(floor.serve(), 30, number)


def idle(number: int) -> None:
    """Nothing."""


def main() -> None:
    context: Any = multiprocessing.get_context(sys.argv[1])
    audited = floor.serve()
    with floor.load(audited, 2):
        jobs = [context.Process(target=work, args=(number,)) for number in range(3)]
        jobs.append(context.Process(target=idle, args=(0,)))
        for job in jobs:
            job.start()
        for job in jobs:
            job.join()
            assert job.exitcode == 0
        pool = context.Pool(2)
        pool.map(work, range(10, 18), chunksize=1)
        pool.close()
        pool.join()


if __name__ == "__main__":
    main()
