# SPDX-License-Identifier: Apache-2.0
"""What every script here stands on: an audited application, and a wire that says what it carried.

A connection has a user and a plan: whose messages are sent on it, in order. What goes over the
wire is appended to the file WIRE with one write a frame, below the agent: the clients' account.
A watchdog ends a process, and each of its forks, that hangs, with the stacks of its threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import json
import os
import random
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECONDS = 80  # some five times what the longest takes on an idle machine
USERS = [f"user-{number}" for number in range(8)]
WRONG = 0.1  # the share of frames that go to somebody else

# Seeding by a text imports a module. Who forks in the middle of that hangs without any agent.
random.Random("first")

_wire = os.open(os.environ["WIRE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


# An alarm: it kills unless somebody handles it. faulthandler's own timer hangs in a fork's child.
faulthandler.register(signal.SIGALRM, chain=True)
signal.alarm(SECONDS)
os.register_at_fork(after_in_child=lambda: signal.alarm(SECONDS))


class User:
    def __init__(self, name: str) -> None:
        self.id = name


class ConnectionManager:
    """Names the owner of a message and sends it where it is told to."""

    async def send_to_user(self, user_id: str, message: dict[str, Any], wire: Any) -> None:
        await wire({"type": "websocket.send", "text": json.dumps(message)})


manager = ConnectionManager()


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await send({"type": "websocket.accept"})
    for owner in scope["plan"]:
        # Nothing in the text says whose it is: only the call does.
        await manager.send_to_user(owner, {"type": "note"}, send)
        await asyncio.sleep(0)


def serve(app: Any = application) -> Any:
    """The application as uvicorn takes it."""
    import uvicorn

    config = uvicorn.Config(app, log_config=None, proxy_headers=False, lifespan="off")
    config.load()
    return config.loaded_app


def plan(frames: int, user: str, chance: random.Random) -> list[str]:
    others = [other for other in USERS if other != user]
    return [chance.choice(others) if chance.random() < WRONG else user for _ in range(frames)]


async def connection(audited: Any, user: str, owners: list[str], **more: Any) -> None:
    """One connection from beginning to end."""
    whose = iter(owners)

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    async def wire(message: dict[str, Any]) -> None:
        if message["type"] == "websocket.send":
            carry(user, next(whose))

    scope = {"type": "websocket", "path": "/", "headers": [], "user": User(user), "plan": owners}
    await audited(scope | more, receive, wire)


def carry(recipient: str, owner: str) -> None:
    """A frame has come to a client."""
    line = {"pid": os.getpid(), "recipient": recipient, "owner": owner}
    os.write(_wire, json.dumps(line).encode() + b"\n")


def some(audited: Any, frames: int = 30, seed: object = None) -> None:
    """One connection in an event loop of its own."""
    chance = random.Random(f"{seed}")
    user = chance.choice(USERS)
    asyncio.run(connection(audited, user, plan(frames, user, chance)))


@contextlib.contextmanager
def load(audited: Any, threads: int = 8) -> Iterator[None]:
    """Threads that serve one connection after the other, and one that scrapes, all the while."""
    from prometheus_client import generate_latest

    over = threading.Event()

    def send(number: int) -> None:
        turn = 0
        while not over.is_set():
            some(audited, 10, (number, turn))
            turn += 1
            time.sleep(0.005)

    def scrape() -> None:
        while not over.wait(0.001):
            generate_latest()

    work: list[tuple[Callable[..., None], tuple[Any, ...]]] = [
        *((send, (number,)) for number in range(threads)),
        (scrape, ()),
    ]
    crew = [threading.Thread(target=each, args=given) for each, given in work]
    for each in crew:
        each.start()
    try:
        yield
    finally:
        over.set()
        for each in crew:
            each.join()


def tell(**facts: Any) -> None:
    """Hand the test some facts, by one write."""
    os.write(1, json.dumps({"pid": os.getpid()} | facts).encode() + b"\n")


def frames_scraped() -> float:
    """What the metrics of this process count."""
    from prometheus_client import REGISTRY

    names = [{"transport": "asgi", "judged": judged} for judged in ("true", "false")]
    return sum(REGISTRY.get_sample_value("ws_audit_frames_total", name) or 0 for name in names)


def metric(name: str, **labels: str) -> float | None:
    from prometheus_client import REGISTRY

    return REGISTRY.get_sample_value(name, labels)


def sums(name: str, label: str) -> dict[str, float]:
    """What is not 0 of a metric, by one label."""
    from prometheus_client import REGISTRY

    found: dict[str, float] = {}
    for family in REGISTRY.collect():
        for sample in family.samples:
            if sample.name == name and sample.value:
                key = sample.labels[label]
                found[key] = found.get(key, 0) + sample.value
    return found


def ours() -> list[str]:
    """The threads of this process but for the main one."""
    return sorted(
        each.name for each in threading.enumerate() if each is not threading.main_thread()
    )


def reap(pid: int) -> int:
    """The exit code of a child."""
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


if sys.version_info >= (3, 12):  # forking with threads is what is tested here
    import warnings

    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
