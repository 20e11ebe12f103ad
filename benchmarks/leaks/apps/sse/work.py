# SPDX-License-Identifier: Apache-2.0
"""Work behind the scenes: export jobs, digests, shared boards."""

import asyncio
import uuid
from dataclasses import dataclass, field
from functools import partial

from accounts import User, colleagues
from broker import Broker, inbox


@dataclass
class Job:
    started_by: str
    tenant: str
    subject: str  # whose data is exported
    title: str
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])

    @property
    def channel(self) -> str:
        return f"job:{self.id}"


class Jobs:
    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.all: dict[str, Job] = {}
        self._queue: asyncio.Queue[Job] = asyncio.Queue()

    def start(self, job: Job) -> None:
        self.all[job.id] = job
        self._queue.put_nowait(job)

    async def run(self) -> None:
        while True:
            job = await self._queue.get()
            for percent in (0, 50, 100):
                await asyncio.sleep(0.02)
                update = {
                    "type": "job.progress" if percent < 100 else "job.done",
                    "job_id": job.id,
                    "started_by": job.started_by,
                    "user": job.subject,
                    "title": job.title,
                    "percent": percent,
                }
                self.broker.publish(job.channel, update)
                self.broker.publish(inbox(job.started_by), update)


class Digests:
    def __init__(self, broker: Broker, notes: dict[str, list[str]]) -> None:
        self.broker = broker
        self.notes = notes

    async def run(self, tenant: str) -> int:
        """Everybody of the tenant who has notes gets a digest of theirs."""
        tasks = []
        for user in colleagues(tenant):
            if user.email in self.notes:
                task = asyncio.create_task(self._compose(user))
                task.add_done_callback(partial(self._deliver, user.email))
                tasks.append(task)
        await asyncio.gather(*tasks)
        return len(tasks)

    async def _compose(self, user: User) -> dict:
        await asyncio.sleep(0.01)
        text = "; ".join(self.notes[user.email])
        return {"type": "digest", "owner": user.email, "text": text}

    def _deliver(self, email: str, task: asyncio.Task[dict]) -> None:
        self.broker.publish(inbox(email), task.result())

    def team(self, tenant: str) -> None:
        """How busy everybody is, to everybody."""
        people = colleagues(tenant)
        rows = [
            {"user": person.email, "notes": len(self.notes.get(person.email, ()))}
            for person in people
        ]
        for person in people:
            self.broker.publish(inbox(person.email), {"type": "team.activity", "users": rows})


@dataclass
class Board:
    owner: str
    name: str
    members: set[str]
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])

    @property
    def channel(self) -> str:
        return f"board:{self.id}"


BOARDS: dict[str, Board] = {}


def members(board_id: str) -> set[str]:
    """E-mail addresses of everybody who may see the board."""
    board = BOARDS.get(board_id)
    return set(board.members) if board else set()
