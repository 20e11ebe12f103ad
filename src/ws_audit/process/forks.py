# SPDX-License-Identifier: Apache-2.0
"""What a fork must not cut in two: work of our own threads under locks that are not ours.

Why it exists: a child inherits every lock as it stood at the fork and none of the threads that
would open it. Our own locks are replaced in the child; a lock inside prometheus_client, or of a
module that is being imported, can't be. So a fork waits a moment until our threads are out.

It must never make an application wait for long: who waits in vain forks all the same.
"""

from __future__ import annotations

import os
import weakref
from _thread import RLock  # threading itself must not be imported this early
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from types import TracebackType


class Undivided:
    """A re-entrant lock that no fork of this process finds locked, if it can be helped."""

    PATIENCE: Final = 1.0  # seconds; the longest work under one is an import, the first of all

    def __init__(self) -> None:
        self._lock = RLock()
        _all.append(weakref.ref(self))

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self.leave()

    def before(self) -> None:
        """A fork is about to happen: let nobody else in."""
        self._lock.acquire(timeout=self.PATIENCE)

    def leave(self) -> None:
        """Let others in again."""
        try:
            self._lock.release()
        except RuntimeError:  # a fork that waited in vain, or one in between: never ours
            pass

    def renew(self) -> None:
        """In a forked child: whoever held the lock is not here."""
        self._lock = RLock()


_all: list[weakref.ref[Undivided]] = []

# Around imports by our own threads. A module's import lock survives a fork locked: a child that
# imports the same module would wait for ever.
imports = Undivided()


def _before() -> None:
    # Always in the order in which they were made, so that two that fork at once don't embrace.
    for one in _living():
        one.before()


def _after_in_parent() -> None:
    for one in reversed(_living()):
        one.leave()


def _after_in_child() -> None:
    for one in _living():
        one.renew()


def _living() -> list[Undivided]:
    return [one for ref in _all if (one := ref()) is not None]


os.register_at_fork(
    before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child
)
