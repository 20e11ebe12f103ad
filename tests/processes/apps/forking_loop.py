# SPDX-License-Identifier: Apache-2.0
# The floor is on the path of these processes, but of no type checker.
# mypy: disable-error-code="import-not-found"
"""Forks out of an event loop that is serving twenty connections.

Half of the children serve in a loop of their own; the other half leave as SystemExit does, through
a loop full of the parent's connections.

python forking_loop.py CHILDREN
"""

from __future__ import annotations

import asyncio
import atexit
import os
import random
import sys
from typing import Any

import floor


async def serve(audited: Any, number: int, over: asyncio.Event) -> None:
    chance = random.Random(number)
    while not over.is_set():
        user = chance.choice(floor.USERS)
        await floor.connection(audited, user, floor.plan(20, user, chance))


async def forks(audited: Any, children: int) -> None:
    over = asyncio.Event()
    tasks = [asyncio.create_task(serve(audited, number, over)) for number in range(20)]
    for number in range(children):
        await asyncio.sleep(0.02)
        pid = os.fork()
        if not pid:
            if number % 2:
                # Registered last, so called first: while the agent still runs.
                atexit.register(last, number)
                sys.exit(0)
            floor.some(audited, 25, number)
            floor.tell(number=number, frames=floor.frames_scraped(), alive=alive())
            os._exit(0)
        while not ended(pid):  # noqa: ASYNC110 (a child is no event)
            await asyncio.sleep(0.001)
    over.set()
    await asyncio.gather(*tasks)
    floor.tell(number=-1, frames=floor.frames_scraped(), alive=alive())


def ended(pid: int) -> bool:
    # By asking: what would wake this loop went to pieces when the child closed its copy of it.
    return os.waitpid(pid, os.WNOHANG)[0] == pid


def last(number: int) -> None:
    floor.tell(number=number, frames=floor.frames_scraped(), alive=alive())


def alive() -> Any:
    return floor.metric("ws_audit_connections_alive", transport="asgi")


if __name__ == "__main__":
    asyncio.run(forks(floor.serve(), int(sys.argv[1])))
