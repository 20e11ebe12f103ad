# SPDX-License-Identifier: Apache-2.0
"""What reaches a member while they are connected, and what waits for them while they are not."""

from __future__ import annotations

import asyncio
from typing import Any

from litestar.channels import ChannelsPlugin
from litestar.channels.backends.memory import MemoryChannelsBackend
from members import Member

channels = ChannelsPlugin(backend=MemoryChannelsBackend(), arbitrary_channels_allowed=True)


def board_channel(tenant: str, board: str) -> str:
    return f"board:{tenant}:{board}"


def personal_channel(member: Member, board: str) -> str:
    return f"personal:{member.subject}:{board}"


class MemberNotifier:
    """Tells one member, on all their devices."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self.devices = 0
        self.pending: list[dict[str, Any]] = []

    @property
    def channel(self) -> str:
        return f"member:{self.member.subject}"

    def notify(self, event: str, **body: Any) -> None:
        message = {"event": event, "member_id": self.member.id, **body}
        if not self.devices:
            self.pending.append(message)
            return
        channels.publish(message, self.channel)

    def connected(self) -> None:
        self.devices += 1
        while self.pending:
            channels.publish(self.pending.pop(0), self.channel)

    def disconnected(self) -> None:
        self.devices -= 1


class Notifiers:
    def __init__(self) -> None:
        self._notifiers: dict[str, MemberNotifier] = {}

    def for_member(self, member: Member) -> MemberNotifier:
        notifier = self._notifiers.get(member.subject)
        if notifier is None:
            notifier = self._notifiers[member.subject] = MemberNotifier(member)
        return notifier


notifiers = Notifiers()


class Outbox:
    """Reminders leave one after the other; the worker starts with the first of them."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[tuple[Member, str, dict[str, Any]]] = asyncio.Queue()
        self._worker: asyncio.Task[None] | None = None

    def put(self, member: Member, event: str, body: dict[str, Any]) -> None:
        if self._worker is None:
            self._worker = asyncio.create_task(self._run())
        self._queue.put_nowait((member, event, body))

    async def _run(self) -> None:
        while True:
            member, event, body = await self._queue.get()
            notifiers.for_member(member).notify(event, **body)


outbox = Outbox()
