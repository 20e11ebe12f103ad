# SPDX-License-Identifier: Apache-2.0
# mypy: disable-error-code="import-not-found"
"""A crowd of clients in a process of its own: it comes and goes, and knows whose each frame is.

    python crowd.py URL USERS.json PLAN.json OUT.json

USERS: token -> user. PLAN: {"seconds", "connections", "seed", "rate", "wrong"}. Every text carries
the unguessable secret of the user who asked for it. Four of five places are steady: who leaves
there says goodbye. The others are restless: they are gone without a word, and somebody else sits
down. Some read slowly, through a small window.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import secrets
import socket
import struct
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

WAYS = ("direct", "nested", "task", "queue", "plain")
QUIET = 2.0


class Crowd:
    def __init__(self, url: str, users: dict[str, str], plan: dict[str, Any]) -> None:
        self.url, self.plan = url, plan
        people = list(users.items())
        border = len(people) * 4 // 5
        self.steady, self.restless = people[:border], people[border:]
        self.secret = {user: secrets.token_hex(16) for user in users.values()}
        self.owner = {secret: user for user, secret in self.secret.items()}
        self.seen: Counter[tuple[str, str]] = Counter()
        self.count: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.aborted: set[str] = set()
        self.over = 0.0
        self.last = 0.0
        self.leave = asyncio.Event()

    async def drive(self) -> None:
        self.over = time.monotonic() + self.plan["seconds"]
        places = [
            asyncio.create_task(self.place(number)) for number in range(self.plan["connections"])
        ]
        # Silence is no event one could wait for.
        while time.monotonic() < self.over or time.monotonic() - self.last < QUIET:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        self.leave.set()
        await asyncio.gather(*places)

    async def place(self, number: int) -> None:
        """One place in the crowd, with one user after the other."""
        chance = random.Random(f"{self.plan['seed']}-{number}")
        restless = number % 5 == 4
        people = self.restless if restless else self.steady
        token, user = people[number % len(people)]
        await asyncio.sleep(chance.uniform(0, self.plan["seconds"] / 8))
        while True:
            stay = chance.expovariate(1 / (4 if restless else 20))
            try:
                await self.visit(chance, token, user, stay, restless)
            except (OSError, InvalidHandshake, TimeoutError) as error:
                self.errors[type(error).__name__] += 1
                await asyncio.sleep(0.2)
            if time.monotonic() >= self.over:
                return
            if chance.random() < 0.5:
                token, user = chance.choice(people)
            self.count["reconnects"] += 1

    async def visit(
        self, chance: random.Random, token: str, user: str, stay: float, restless: bool
    ) -> None:
        slow = chance.random() < 0.05
        options: dict[str, Any] = {"max_queue": 1, "sock": window(self.url)} if slow else {}
        connection = await connect(
            f"{self.url}?token={token}", proxy=None, open_timeout=20, **options
        )
        self.count["connections"] += 1
        self.count["slow"] += slow
        reader = asyncio.create_task(self.read(connection, user, chance, slow))
        until = min(time.monotonic() + stay, self.over)
        try:
            while time.monotonic() < until:
                pause = chance.expovariate(self.plan["rate"])
                await asyncio.sleep(min(pause, max(0.0, until - time.monotonic())))
                await connection.send(json.dumps(self.command(chance, user, slow)))
                self.count["commands"] += 1
        except ConnectionClosed as error:
            self.errors[str(error)[:60]] += 1
        if time.monotonic() >= self.over:
            await self.leave.wait()  # what is still on its way is to come
        elif restless:
            self.count["vanished"] += 1
            self.aborted.add(user)
            raw = connection.transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.transport.abort()
        await connection.close()
        await reader

    def command(self, chance: random.Random, user: str, slow: bool) -> dict[str, Any]:
        wrong = chance.random() < self.plan["wrong"]
        self.count["wrong"] += wrong
        filling = "." * (20_000 if slow else chance.choice((0, 0, 0, 500)))
        command = {
            "way": chance.choice(WAYS),
            "wrong": wrong,
            "text": self.secret[user] + filling,
        }
        if chance.random() < 0.1:
            command["cancel"] = chance.uniform(0.0001, 0.004)
            self.count["cancelled"] += 1
        return command

    async def read(
        self, connection: ClientConnection, user: str, chance: random.Random, slow: bool
    ) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                raw = await connection.recv()
                self.last = time.monotonic()
                self.count["frames"] += 1
                message = json.loads(raw)
                if message["type"] == "note":
                    self.seen[self.owner[message["text"][:32]], user] += 1
                if slow:
                    await asyncio.sleep(chance.uniform(0, 0.3))


def window(url: str) -> socket.socket:
    """A socket that takes little at a time."""
    place = urlsplit(url)
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.connect((place.hostname, place.port))
    raw.setblocking(False)
    return raw


def main() -> None:
    url, users, plan, out = sys.argv[1:]
    crowd = Crowd(url, json.loads(Path(users).read_text()), json.loads(Path(plan).read_text()))
    asyncio.run(crowd.drive())
    result = {
        "seen": [[owner, recipient, number] for (owner, recipient), number in crowd.seen.items()],
        "count": crowd.count,
        "errors": crowd.errors,
        "aborted": sorted(crowd.aborted),
    }
    Path(out).write_text(json.dumps(result))


if __name__ == "__main__":
    main()
