# SPDX-License-Identifier: Apache-2.0
# The example is on the path of these processes, but of no type checker.
# mypy: disable-error-code="import-not-found,untyped-decorator"
"""Clients of the switchboard, in a process of their own, with the example's witness.

    python switchboard_clients.py URL USERS.json PLAN.json OUT.json FRAMES.json

PLAN: {"connections": per user, "commands": [[connection number, command], ...], "frames": N,
"vanish": {connection number: frames after which it is gone without a word}, "kill": [pid, frames
after which this process is killed]}. Connections are numbered user by user. It ends when N frames
beside the welcomes have come, or nothing for a second.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import struct
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agent_chat.witness import Witness, reference
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

SILENCE = 1.0


class Fleet:
    def __init__(self, url: str, users: dict[str, str], plan: dict[str, Any]) -> None:
        self.url = url
        self.plan = plan
        self.users = [
            (token, user) for token, user in users.items() for _ in range(plan["connections"])
        ]
        self.secrets = {f"{number:032x}": user for number, user in enumerate(users.values(), 7)}
        self.witness = Witness(self.secrets)
        self.last = time.monotonic()
        self.errors: list[str] = []
        self.target, self.deadly = plan.get("kill", (0, -1))

    async def drive(self) -> None:
        sockets = [
            await connect(f"{self.url}?token={token}", max_queue=None) for token, _ in self.users
        ]
        readers = [
            asyncio.create_task(self.read(number, each)) for number, each in enumerate(sockets)
        ]
        secret_of = {user: secret for secret, user in self.secrets.items()}
        for number, command in self.plan["commands"]:
            text = reference(secret_of[self.users[number][1]], 0)
            await sockets[number].send(json.dumps({**command, "text": text}))
        self.last = time.monotonic()
        wanted = self.plan["frames"] + len(sockets)
        # Silence is no event one could wait for.
        while len(self.witness.frames) < wanted and self.silence() < SILENCE:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        # Nothing may come after what was expected, either.
        await asyncio.sleep(0.1)
        await asyncio.gather(*(each.close() for each in sockets))
        await asyncio.gather(*readers)

    def silent(self) -> float:
        return time.monotonic() - self.last

    def silence(self) -> float:
        return time.monotonic() - self.last

    async def read(self, number: int, connection: ClientConnection) -> None:
        left = self.plan.get("vanish", {}).get(str(number), -1)
        try:
            while True:
                raw = await connection.recv()
                self.last = time.monotonic()
                self.witness.see(self.users[number][1], raw)
                left -= 1
                if len(self.witness.frames) == self.deadly:
                    os.kill(self.target, signal.SIGKILL)
                if left == 0:
                    vanish(connection)
        except ConnectionClosed as error:
            if left > 0:
                self.errors.append(f"{number}: {error}")


def vanish(connection: ClientConnection) -> None:
    """Gone as with a dead battery and an impatient NAT: a reset, no close frame."""
    raw = connection.transport.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.transport.abort()


def main() -> None:
    url, users, plan, out, frames = sys.argv[1:]
    fleet = Fleet(url, json.loads(Path(users).read_text()), json.loads(Path(plan).read_text()))
    asyncio.run(fleet.drive())
    lines = (json.dumps(asdict(frame)) + "\n" for frame in fleet.witness.frames)
    Path(frames).write_text("".join(lines))
    result = {"frames": len(fleet.witness.frames), "errors": fleet.errors}
    Path(out).write_text(json.dumps(result))


if __name__ == "__main__":
    main()
