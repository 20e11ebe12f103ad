# SPDX-License-Identifier: Apache-2.0
"""The clients: who connects, what they send, and a journal of every message they received.

Why it exists: this runs in a process of its own and knows nothing of the agent. Its journal is
the truth the agent's account is held against.

It must never decide what is a leak: it writes down what came, whole.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import json
import os
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from .people import NAMES, Person, load

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

PATIENCE = 10.0
QUIET = 0.25  # nothing has come for so long: nothing will


class Connection:
    """One live connection of one person: everything that comes is written down at once."""

    def __init__(self, stage: Stage, person: Person | None, number: int) -> None:
        self.stage = stage
        self.person = person
        self.number = number
        self.messages: list[str] = []
        self._news = asyncio.Event()
        self.socket: ClientConnection | None = None

    def took(self, text: str | bytes) -> None:
        """A message came; also for scripts that bring a client of their own (Socket.IO)."""
        if isinstance(text, bytes):
            text = text.decode("utf-8", "replace")
        self.messages.append(text)
        self.stage.write(self, text)
        self._news.set()

    async def send(self, message: Any) -> None:
        """Text or bytes as they are, anything else as JSON."""
        assert self.socket is not None
        raw = message if isinstance(message, (str, bytes)) else json.dumps(message)
        await self.socket.send(raw)

    async def until(self, wanted: Callable[[Any], Any], count: int = 1) -> list[Any]:
        """The first `count` messages for which `wanted` holds, JSON where it is; TimeoutError."""
        deadline = time.monotonic() + PATIENCE
        while True:
            found = [one for one in map(_parsed, self.messages) if _holds(wanted, one)]
            if len(found) >= count:
                return found[:count]
            self._news.clear()
            await asyncio.wait_for(self._news.wait(), deadline - time.monotonic())

    async def got(self, count: int) -> list[Any]:
        """The first so many messages."""
        return await self.until(lambda _: True, count)


class Stage:
    """What a scenario is given: the server's address, the people, and the journal."""

    def __init__(self, host: str, port: int, people: list[Person], journal: Path) -> None:
        self.http = f"http://{host}:{port}"
        self.ws = f"ws://{host}:{port}"
        self.people = dict(zip(NAMES, people, strict=True))
        self.last = time.monotonic()
        self._journal = journal.open("w")
        self._connections = 0
        self.random = random.Random(7)

    def __getattr__(self, name: str) -> Person:
        """`stage.alice`: a person by first name."""
        try:
            return self.people[name]
        except KeyError:
            raise AttributeError(name) from None

    def connection(self, person: Person | None) -> Connection:
        """A connection to write messages down for; `websocket` and `events` make theirs."""
        self._connections += 1
        return Connection(self, person, self._connections)

    def write(self, connection: Connection, text: str) -> None:
        """One line of the journal."""
        self.last = time.monotonic()
        who = connection.person.name if connection.person is not None else ""
        line = {"t": time.time_ns(), "who": who, "connection": connection.number, "text": text}
        self._journal.write(json.dumps(line) + "\n")
        self._journal.flush()

    @contextlib.asynccontextmanager
    async def websocket(
        self, person: Person | None, path: str, **options: Any
    ) -> AsyncIterator[Connection]:
        """A WebSocket of this person; leaves when everything has come."""
        made = self.connection(person)
        async with connect(self.ws + path, proxy=None, close_timeout=2, **options) as socket:
            made.socket = socket

            async def read() -> None:
                with contextlib.suppress(ConnectionClosed):
                    async for message in socket:
                        made.took(message)

            reader = asyncio.create_task(read())
            try:
                yield made
                await self.quiet()
            finally:
                await socket.close()
                await asyncio.wait([reader], timeout=2)
                reader.cancel()

    @contextlib.asynccontextmanager
    async def events(
        self, person: Person | None, path: str, method: str = "GET", **options: Any
    ) -> AsyncIterator[Connection]:
        """A stream of server-sent events; each event's data is one message."""
        made = self.connection(person)
        async with (
            httpx.AsyncClient(timeout=PATIENCE, trust_env=False) as client,
            client.stream(method, self.http + path, **options) as response,
        ):
            response.raise_for_status()

            async def read() -> None:
                data: list[str] = []
                with contextlib.suppress(httpx.HTTPError):
                    async for line in response.aiter_lines():
                        if line.startswith("data:"):
                            data.append(line[5:].removeprefix(" "))
                        elif not line and data:
                            made.took("\n".join(data))
                            data = []

            reader = asyncio.create_task(read())
            try:
                yield made
                await self.quiet()
            finally:
                reader.cancel()
                await asyncio.wait([reader], timeout=2)

    async def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """A plain HTTP request; its answer is no message. Raises for an error status."""
        async with httpx.AsyncClient(timeout=PATIENCE, trust_env=False) as client:
            answer = await client.request(method, self.http + path, **options)
            answer.raise_for_status()
            return answer

    async def quiet(self, seconds: float = QUIET) -> None:
        """Until nobody has received anything for a while."""
        self.last = max(self.last, time.monotonic() - seconds / 2)
        while (left := self.last + seconds - time.monotonic()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(left)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _holds(wanted: Callable[[Any], Any], message: Any) -> bool:
    try:
        return bool(wanted(message))
    except (LookupError, TypeError, AttributeError):
        return False


def main() -> None:
    """`python -m benchmarks.leaks.actors APP LIST NUMBER PORT`: play one case's scenario."""
    parser = argparse.ArgumentParser()
    parser.add_argument("application")
    parser.add_argument("list", choices=("DEFECTS", "BENIGN", "HELD_BACK"))
    parser.add_argument("name")
    parser.add_argument("port", type=int)
    options = parser.parse_args()
    module = "held_back" if options.list == "HELD_BACK" else "cases"
    cases = importlib.import_module(f"benchmarks.leaks.apps.{options.application}.{module}")
    listed = cases.BENIGN if options.list == "BENIGN" else cases.DEFECTS
    (case,) = (one for one in listed if one.name == options.name)
    directory = Path(os.environ["LEAKS_DIRECTORY"])
    stage = Stage(
        "127.0.0.1", options.port, load(directory / "people.json"), directory / "journal.jsonl"
    )
    asyncio.run(asyncio.wait_for(case.scenario(stage), 60))


if __name__ == "__main__":
    main()
