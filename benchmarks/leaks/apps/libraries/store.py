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

# How many pairs of help articles are of nearly the same length: candidates for merging.
NEAR_PAIRS = """
local words, near = redis.call('LRANGE', KEYS[1], 0, -1), 0
for i = 1, #words do words[i] = tonumber(words[i]) end
for i = 1, #words do
  local mine = words[i]
  for j = i + 1, #words do
    local apart = mine - words[j]
    if apart < 3 and apart > -3 then near = near + 1 end
  end
end
return near
"""


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
        lengths = [200 + (number * 7919) % 1800 for number in range(7000)]
        await client.rpush("articles:words", *lengths)
        yield
    finally:
        await client.close()
        with contextlib.suppress(ProcessLookupError):
            server.terminate()
        await server.wait()


async def near_pairs() -> int:
    return int(await client.eval(NEAR_PAIRS, 1, "articles:words"))


async def remember(user: str, line: str) -> None:
    await client.append(f"history:{user}", line + "\n")


async def history(user: str) -> str:
    return await client.get(f"history:{user}") or ""


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
