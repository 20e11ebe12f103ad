# SPDX-License-Identifier: Apache-2.0
# The floor is on the path of these processes, but of no type checker.
# mypy: disable-error-code="import-not-found"
"""Event loops of every kind and number, and managers called from threads beside them.

python loops.py twice | uvloop | many | trio | anyio | executor | to_thread | ended
"""

from __future__ import annotations

import asyncio
import contextvars
import random
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import floor

REQUEST: contextvars.ContextVar[str] = contextvars.ContextVar("request")


class ThreadedConnectionManager:
    """Called on threads that are no loop's; the frame itself leaves on the loop, meanwhile."""

    def send_to_user(self, user_id: str, message: str, loop: Any, wire: Any) -> None:
        frame = {"type": "websocket.send", "text": message}
        asyncio.run_coroutine_threadsafe(wire(frame), loop).result(10)
        assert REQUEST.get("") in ("", user_id)  # the application's own context came along


manager = ThreadedConnectionManager()


def threaded(how: str) -> Any:
    pool = ThreadPoolExecutor(4)

    async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        loop = asyncio.get_running_loop()
        for owner in scope["plan"]:
            given = (owner, '{"type": "note"}', loop, send)
            if how == "to_thread":
                REQUEST.set(owner)
                await asyncio.to_thread(manager.send_to_user, *given)
            else:
                await loop.run_in_executor(pool, manager.send_to_user, *given)

    return application


async def crowd(audited: Any, frames: int = 20) -> None:
    """Everybody at once."""
    chance = random.Random(frames)
    plans = [(user, floor.plan(frames, user, chance)) for user in floor.USERS]
    await asyncio.gather(*(floor.connection(audited, user, plan) for user, plan in plans))


async def structured(audited: Any) -> None:
    """The same in an anyio task group, whatever its backend."""
    import anyio

    chance = random.Random(5)
    async with anyio.create_task_group() as group:
        for user in floor.USERS:
            group.start_soon(floor.connection, audited, user, floor.plan(20, user, chance))


async def patient(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """The application without asyncio in it."""
    import anyio.lowlevel

    await send({"type": "websocket.accept"})
    for owner in scope["plan"]:
        await floor.manager.send_to_user(owner, {"type": "note"}, send)
        await anyio.lowlevel.checkpoint()


def main(how: str) -> None:
    if how in ("executor", "to_thread"):
        asyncio.run(crowd(floor.serve(threaded(how))))
    elif how in ("trio", "anyio"):
        import anyio

        audited = floor.serve(patient)
        anyio.run(structured, audited, backend="trio" if how == "trio" else "asyncio")
    elif how == "uvloop":
        import uvloop

        uvloop.run(crowd(floor.serve()))
    elif how == "many":
        audited = floor.serve()
        loops = [
            threading.Thread(target=asyncio.run, args=(crowd(audited, 10 + number),))
            for number in range(4)
        ]
        for each in loops:
            each.start()
        for each in loops:
            each.join()
    elif how == "ended":
        once_and_again()
    else:
        audited = floor.serve()
        asyncio.run(crowd(audited))
        asyncio.run(crowd(audited, 25))
    sent = floor.sums("ws_audit_events_sent_total", "outcome")
    floor.tell(frames=floor.frames_scraped(), sent=sent, threads=floor.ours())


def once_and_again() -> None:
    """Threads of ours before there is a server, with one, and after disable()."""
    floor.tell(before=floor.ours())
    audited = floor.serve()
    floor.some(audited, 20, 1)
    floor.tell(serving=floor.ours())
    import ws_audit

    ws_audit.disable()
    floor.tell(disabled=floor.ours())
    ws_audit.enable()
    floor.some(floor.serve(), 20, 2)
    floor.tell(enabled=floor.ours())


if __name__ == "__main__":
    main(sys.argv[1])
