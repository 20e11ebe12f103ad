# SPDX-License-Identifier: Apache-2.0
# The floor is on the path of these processes, but of no type checker.
# mypy: disable-error-code="import-not-found"
"""Ways in which an interpreter ends while events are in flight.

python ending.py nothing | exception | exit_in_a_handler | os_exit | daemons | exit_handlers
"""

from __future__ import annotations

import asyncio
import atexit
import os
import sys
import threading
from typing import Any

import floor


async def leaving(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """The application, which ends the program in the middle of a connection."""
    await floor.application(scope, receive, send)
    sys.exit(7)


def background(audited: Any, number: int) -> None:
    while True:
        floor.some(audited, 10, number)


def main(how: str) -> None:
    if how == "exit_handlers":
        atexit.register(lambda: floor.some(audited, 20, "registered first, so called last"))
    audited = floor.serve(leaving if how == "exit_in_a_handler" else floor.application)
    if how == "exit_handlers":
        atexit.register(lambda: floor.some(audited, 20, "registered last, so called first"))
    if how == "exit_in_a_handler":
        asyncio.run(several(audited))
    floor.some(audited, 50, how)
    if how == "daemons":
        for number in range(4):
            threading.Thread(target=background, args=(audited, number), daemon=True).start()
        floor.some(audited, 50, "meanwhile")
    if how == "exception":
        raise LookupError("the application's own")
    if how == "os_exit":
        os._exit(5)


async def several(audited: Any) -> None:
    chance = floor.random.Random(3)
    await asyncio.gather(
        *(floor.connection(audited, user, floor.plan(20, user, chance)) for user in floor.USERS)
    )


if __name__ == "__main__":
    main(sys.argv[1])
