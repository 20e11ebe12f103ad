# SPDX-License-Identifier: Apache-2.0
"""Whose secret arrived on whose connection: the record the clients keep, and nothing else."""

import json
import re
import time
from collections import Counter
from dataclasses import dataclass, field

REFERENCE = re.compile(r"\[ref ([0-9a-f]{32})/(\d+)\]")


def reference(secret: str, run: int) -> str:
    """What a user writes into a prompt, so that every echo of it is recognised."""
    return f"[ref {secret}/{run}]"


@dataclass(frozen=True)
class Frame:
    """One message as it arrived: on whose connection, and whose secrets were in it."""

    recipient: str
    event: str
    ns: int
    bytes: int
    owners: tuple[str, ...]
    runs: tuple[int, ...]  # of the recipient's own, as a prompt named them


@dataclass
class Leak:
    """All frames of one kind that brought one user's data to another."""

    recipient: str
    owner: str
    event: str
    count: int
    first_ns: int
    last_ns: int


@dataclass
class Witness:
    """Takes down every frame, in the order of arrival."""

    user_of_secret: dict[str, str]
    frames: list[Frame] = field(default_factory=list)

    def see(self, recipient: str, raw: str | bytes) -> Frame:
        ns = time.time_ns()
        content = raw.encode() if isinstance(raw, str) else raw
        text = content.decode(errors="replace")
        # Dictionaries as sets that keep their order.
        owners: dict[str, None] = {}
        runs: dict[int, None] = {}

        for secret, run in REFERENCE.findall(text):
            if (owner := self.user_of_secret.get(secret)) is not None:
                owners[owner] = None

                if owner == recipient:
                    runs[int(run)] = None

        frame = Frame(recipient, event_of(text), ns, len(content), tuple(owners), tuple(runs))
        self.frames.append(frame)

        return frame

    def per_user(self) -> dict[str, int]:
        return dict(Counter(frame.recipient for frame in self.frames))

    def leaks(self) -> list[Leak]:
        leaks: dict[tuple[str, str, str], Leak] = {}

        for frame in self.frames:
            for owner in frame.owners:
                if owner == frame.recipient:
                    continue

                key = (frame.recipient, owner, frame.event)
                leak = leaks.setdefault(key, Leak(*key, 0, frame.ns, frame.ns))
                leak.count += 1
                leak.last_ns = frame.ns

        return list(leaks.values())


def event_of(text: str) -> str:
    try:
        message = json.loads(text)
    except ValueError:
        return "unreadable"

    return str(message.get("type", "none")) if isinstance(message, dict) else "none"
