# SPDX-License-Identifier: Apache-2.0
"""Threads: who takes part, and what was said."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field


@dataclass
class Thread:
    thread_id: str
    title: str
    members: list[str]
    messages: list[dict[str, str]] = field(default_factory=list)

    @property
    def shared(self) -> bool:
        return len(self.members) > 1


class ThreadStore:
    def __init__(self) -> None:
        self._threads: dict[str, Thread] = {}
        self._defaults: dict[str, Thread] = {}

    def create(self, title: str, members: list[str]) -> Thread:
        thread = Thread(f"thr_{uuid.uuid4().hex[:16]}", title, members)
        self._threads[thread.thread_id] = thread
        return thread

    def default_for(self, user_id: str) -> Thread:
        if user_id not in self._defaults:
            self._defaults[user_id] = self.create("My first thread", [user_id])
        return self._defaults[user_id]

    def get(self, thread_id: str) -> Thread | None:
        return self._threads.get(thread_id)

    def get_for_user(self, thread_id: str, user_id: str) -> Thread | None:
        thread = self._threads.get(thread_id)
        return thread if thread is not None and user_id in thread.members else None

    def members(self, thread_id: str) -> list[str]:
        thread = self._threads.get(thread_id)
        return list(thread.members) if thread is not None else []


threads = ThreadStore()


def members(thread_id: str) -> list[str]:
    return threads.members(thread_id)
