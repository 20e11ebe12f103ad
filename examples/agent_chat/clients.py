# SPDX-License-Identifier: Apache-2.0
"""Concurrent users of the chat service who write down everything they receive.

Every user puts an unguessable secret into every prompt, and the service echoes prompts in its
events. A secret on somebody else's connection is therefore a leak, whatever the frame claims.

    python -m agent_chat.clients --url ws://127.0.0.1:8000/ws --users users.json --out result.json

users.json holds the service's own AGENT_CHAT_USERS: an object of token to user id. Progress goes
to standard error, a JSON object {"done": ..., "total": ...} a line. Exit 0, or 1 if a connection
broke.
"""

import argparse
import asyncio
import json
import secrets
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, WebSocketException

from .witness import Witness, reference

RUN_EVENTS = frozenset(
    {
        "agent_started",
        "agent_thinking",
        "tool_executing",
        "tool_completed",
        "agent_completed",
        "usage_summary",
    }
)
AGENTS = ("assistant", "researcher")
TIMEOUT = 10.0  # seconds to connect, to be welcomed, to close
SETTLE = 0.05  # seconds of silence after which nothing is under way any more


@dataclass
class Client:
    """One user, with the connection of the moment and what has come of each run."""

    user_id: str
    token: str
    secret: str = field(default_factory=lambda: secrets.token_hex(16))
    socket: ClientConnection | None = None
    reader: asyncio.Task[None] | None = None
    welcomed: asyncio.Event = field(default_factory=asyncio.Event)
    received: dict[int, set[str]] = field(default_factory=dict)

    def prompt(self, run: int) -> str:
        return f"What is new in my case? {reference(self.secret, run)}"

    def has_completed(self, run: int) -> bool:
        return self.received.get(run, set()) >= RUN_EVENTS


class Fleet:
    """All users together: connects them in order, lets them run at once, keeps the record."""

    def __init__(self, url: str, users: dict[str, str], runs: int, patience: float) -> None:
        self.clients = [Client(user_id, token) for token, user_id in users.items()]
        self.errors: list[str] = []
        self._url = url
        self.runs = runs
        self._patience = patience / max(runs, 1)
        self.witness = Witness({client.secret: client.user_id for client in self.clients})
        self._last_arrival = time.monotonic()
        self._done = 0

    async def drive(self) -> None:
        for client in self.clients:
            await self._guarded(client, self._connect)

        for run in range(1, self.runs + 1):
            await self._each(self.clients, partial(self._ask, run))
            await self._finish(run)

            if run == (self.runs + 1) // 2:
                await self._reconnect_some()

        await self._silence(SETTLE)
        await self._each(self.clients, self._close)

    def completed(self) -> int:
        return sum(
            client.has_completed(run) for client in self.clients for run in range(1, self.runs + 1)
        )

    async def _connect(self, client: Client) -> None:
        client.welcomed.clear()
        client.socket = await connect(
            f"{self._url}?token={quote(client.token)}", open_timeout=TIMEOUT, close_timeout=TIMEOUT
        )
        client.reader = asyncio.create_task(self._read(client, client.socket))

        await asyncio.wait_for(client.welcomed.wait(), TIMEOUT)

    async def _close(self, client: Client) -> None:
        if client.socket is None or client.reader is None:
            return

        # The reader ends with the connection, after the last frame that was under way.

        await client.socket.close()
        await asyncio.wait_for(client.reader, TIMEOUT)

    async def _reconnect_some(self) -> None:
        """Every third user loses the connection half way and comes back, as users do."""
        await self._silence(SETTLE)

        for client in self.clients[::3]:
            await self._guarded(client, self._close)
            await self._guarded(client, self._connect)

    async def _ask(self, run: int, client: Client) -> None:
        if client.socket is not None:
            agent = AGENTS[(run - 1) % len(AGENTS)]
            message = {"type": "user_message", "agent": agent, "text": client.prompt(run)}
            await client.socket.send(json.dumps(message))

    async def _finish(self, run: int) -> None:
        """Wait for this run of everybody, but not for frames that went elsewhere."""
        self._last_arrival = time.monotonic()

        while not all(client.has_completed(run) for client in self.clients):
            if time.monotonic() - self._last_arrival > self._patience:
                break

            await asyncio.sleep(0.005)

        self._done += len(self.clients)
        progress = {"done": self._done, "total": self.runs * len(self.clients)}
        print(json.dumps(progress), file=sys.stderr, flush=True)

    async def _silence(self, seconds: float) -> None:
        while True:
            left = self._last_arrival + seconds - time.monotonic()

            if left <= 0:
                return

            await asyncio.sleep(left)

    async def _read(self, client: Client, socket: ClientConnection) -> None:
        try:
            while True:
                self._take(client, await socket.recv())
        except ConnectionClosedError as error:
            self.errors.append(f"{client.user_id}: {error}")
        except ConnectionClosed:
            pass

    def _take(self, client: Client, raw: str | bytes) -> None:
        self._last_arrival = time.monotonic()
        frame = self.witness.see(client.user_id, raw)

        for run in frame.runs:
            client.received.setdefault(run, set()).add(frame.event)

        if frame.event == "welcome":
            client.welcomed.set()

    async def _each(
        self, clients: Sequence[Client], step: Callable[[Client], Awaitable[None]]
    ) -> None:
        await asyncio.gather(*(self._guarded(client, step) for client in clients))

    async def _guarded(self, client: Client, step: Callable[[Client], Awaitable[None]]) -> None:
        try:
            await step(client)
        except (OSError, WebSocketException, asyncio.TimeoutError) as error:
            self.errors.append(f"{client.user_id}: {type(error).__name__}: {error}")


def result_of(fleet: Fleet) -> dict[str, Any]:
    return {
        "frames": len(fleet.witness.frames),
        "per_user": fleet.witness.per_user(),
        "runs": len(fleet.clients) * fleet.runs,
        "runs_complete": fleet.completed(),
        "leaks": [asdict(leak) for leak in fleet.witness.leaks()],
        "errors": fleet.errors,
    }


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="agent_chat.clients", description="Drive the chat.")
    parser.add_argument("--url", required=True, help="ws://HOST:PORT/ws")
    parser.add_argument("--users", required=True, type=Path, help="JSON file: token to user id")
    parser.add_argument("--runs", type=int, default=5, help="runs of each user (default: 5)")
    parser.add_argument("--out", type=Path, help="write the result here, not to standard output")
    parser.add_argument("--frames", type=Path, help="write every frame here, one JSON a line")
    parser.add_argument(
        "--patience",
        type=float,
        default=2.0,
        help="seconds to wait, in total, for frames that do not come (default: 2)",
    )

    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    users: dict[str, str] = json.loads(options.users.read_text())
    fleet = Fleet(options.url, users, options.runs, options.patience)
    asyncio.run(fleet.drive())

    if options.frames:
        lines = (json.dumps(asdict(frame)) + "\n" for frame in fleet.witness.frames)
        options.frames.write_text("".join(lines))

    result = json.dumps(result_of(fleet), indent=1) + "\n"

    if options.out:
        options.out.write_text(result)
    else:
        sys.stdout.write(result)

    return 1 if fleet.errors else 0


if __name__ == "__main__":
    sys.exit(main())
