# SPDX-License-Identifier: Apache-2.0
"""Runs, under way and done; a client that comes back resumes one by its id."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from threads import Thread

if TYPE_CHECKING:
    from emitters import Emitter


@dataclass
class Run:
    run_id: str
    user_id: str
    thread: Thread
    emitter: Emitter
    events: list[dict[str, Any]] = field(default_factory=list)
    viewers: set[str] = field(default_factory=set)
    approved: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class RunRegistry:
    """Clients choose run ids; many count from run-1."""

    def __init__(self) -> None:
        self._runs: dict[Any, list[Run]] = {}

    def _key(self, user_id: str, run_id: str) -> Any:
        return (user_id, run_id)

    def add(self, run: Run) -> None:
        self._runs.setdefault(self._key(run.user_id, run.run_id), []).append(run)

    def latest(self, user_id: str, run_id: str) -> Run | None:
        runs = self._runs.get(self._key(user_id, run_id))
        return runs[-1] if runs else None

    def events(self, user_id: str, run_id: str) -> list[dict[str, Any]]:
        """All that has happened under this id, attempts before a retry included."""
        return [
            event for run in self._runs.get(self._key(user_id, run_id), []) for event in run.events
        ]


registry = RunRegistry()
