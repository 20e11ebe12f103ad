# SPDX-License-Identifier: Apache-2.0
"""Redis: documents, histories, inboxes, and the queue of the billing hooks.

A redis-server of our own, on a socket beside the application; the client library comes from
install.py (see there), not from the environment.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import install

REDIS_PY = "4.6.0"
sys.path.insert(0, str(install.ensure("redis", REDIS_PY)))

from redis.asyncio import Redis  # noqa: E402

SOCKET = Path("redis.sock")
client: Redis = Redis(unix_socket_path=str(SOCKET), decode_responses=True)

DAY = 86_400


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[None]:
    """Redis, from start to end."""
    quiet = asyncio.subprocess.DEVNULL
    server = await asyncio.create_subprocess_exec(
        "redis-server", "--port", "0", "--unixsocket", str(SOCKET), "--save", "",
        stdout=quiet, stderr=quiet,
    )  # fmt: skip
    try:
        while not SOCKET.exists():
            await asyncio.sleep(0.01)
        yield
    finally:
        await client.close()
        with contextlib.suppress(ProcessLookupError):
            server.terminate()
        await server.wait()


async def hold_writes(seconds: float) -> None:
    """While the operators switch to the replica."""
    await client.execute_command("CLIENT PAUSE", int(seconds * 1000), "WRITE")


async def resume_writes() -> None:
    await client.execute_command("CLIENT UNPAUSE")


async def remember(user: str, line: str) -> None:
    await client.append(f"history:{user}", line + "\n")


async def history(user: str) -> str:
    """Kept for a month after it was last looked at."""
    return await client.getex(f"history:{user}", ex=30 * DAY) or ""


async def save_document(fields: dict[str, Any]) -> int:
    number = int(await client.incr("documents"))
    await client.hset(f"document:{number}", mapping=fields)
    return number


async def document(number: int) -> dict[str, str]:
    return await client.hgetall(f"document:{number}")


async def deliver(user: str, message: dict[str, Any]) -> None:
    await client.rpush(f"inbox:{user}", json.dumps(message))


async def next_in_inbox(user: str) -> dict[str, Any]:
    """Waits until there is something."""
    _, item = await client.blpop(f"inbox:{user}")
    return json.loads(item)


async def queue_hook(body: dict[str, Any]) -> None:
    await client.rpush("hooks", json.dumps(body))


async def next_hook() -> dict[str, Any]:
    _, item = await client.blpop("hooks")
    return json.loads(item)
