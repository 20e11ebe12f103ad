# SPDX-License-Identifier: Apache-2.0
"""Users who chat until they are told to stop, and say so whenever somebody else's words come.

    python -m examples.stack.load --url ws://127.0.0.1:8000/ws --users users.json

users.json holds the service's AGENT_CHAT_USERS. Every frame that brought another user's secret
is a line on standard output, `{"recipient": ..., "owner": ..., "event": ..., "ns": ...}` with the
time it arrived; at the end (Ctrl-C, SIGTERM) one more line tells how many frames came. A
connection that breaks is opened anew: services are restarted.
"""

import argparse
import asyncio
import contextlib
import json
import random
import secrets
import signal
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from examples.agent_chat.witness import Witness, reference

AGENTS = ("assistant", "researcher")
RETRY = 0.3  # seconds before a broken connection is opened again


class Crowd:
    """All users; each has one connection and asks again and again."""

    def __init__(self, url: str, users: dict[str, str], pause: float) -> None:
        self._url = url
        self._pause = pause
        self._secrets = {user: secrets.token_hex(16) for user in users.values()}
        self._witness = Witness({secret: user for user, secret in self._secrets.items()})
        self._tokens = users
        self.frames = 0
        self.foreign = 0

    async def chat(self) -> None:
        await asyncio.gather(*(self._user(*each) for each in self._tokens.items()))

    async def _user(self, token: str, user: str) -> None:
        run = 0

        while True:
            with contextlib.suppress(OSError, WebSocketException):
                async with connect(f"{self._url}?token={quote(token)}", proxy=None) as socket:
                    reader = asyncio.create_task(self._read(user, socket))

                    try:
                        while not reader.done():
                            run += 1
                            await socket.send(self._question(user, run))
                            await asyncio.sleep(self._pause * random.uniform(0.5, 1.5))
                    finally:
                        reader.cancel()

            await asyncio.sleep(RETRY)

    def _question(self, user: str, run: int) -> str:
        text = f"What is new in my case? {reference(self._secrets[user], run)}"

        return json.dumps(
            {"type": "user_message", "agent": AGENTS[run % len(AGENTS)], "text": text}
        )

    async def _read(self, user: str, socket: Any) -> None:
        with contextlib.suppress(WebSocketException):
            async for raw in socket:
                frame = self._witness.see(user, raw)
                self._witness.frames.clear()  # this goes on for hours
                self.frames += 1

                for owner in frame.owners:
                    if owner != user:
                        self.foreign += 1
                        say(recipient=user, owner=owner, event=frame.event, ns=frame.ns)


def say(**what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def until_told(crowd: Crowd) -> None:
    chatting = asyncio.create_task(crowd.chat())
    loop = asyncio.get_running_loop()

    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, chatting.cancel)

    with contextlib.suppress(asyncio.CancelledError):
        await chatting

    say(frames=crowd.frames, foreign=crowd.foreign)


def main() -> None:
    parser = argparse.ArgumentParser(prog="examples.stack.load", description="Chat until stopped.")
    parser.add_argument("--url", required=True, help="ws://HOST:PORT/ws")
    parser.add_argument("--users", required=True, type=Path, help="JSON file: token to user id")
    parser.add_argument("--pause", type=float, default=0.5, help="seconds between two questions")
    options = parser.parse_args()
    users: dict[str, str] = json.loads(options.users.read_text())

    asyncio.run(until_told(Crowd(options.url, users, options.pause)))


if __name__ == "__main__":
    main()
