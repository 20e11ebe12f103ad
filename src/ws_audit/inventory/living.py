# SPDX-License-Identifier: Apache-2.0
"""The living instances of manager classes: for what kind of user, and who of them has left.

Why it exists: one emitter for each user is a design, ten thousand of them for users who left an
hour ago are memory, and whoever gets one of them next gets somebody else's.

It must never hold an instance: entries are weak, and nothing of a user is told but the kind of
their identifier.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from ws_audit.model import NONE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ws_audit.messages.tables import Instances
    from ws_audit.principals.people import People

_GRACE_NS: Final = 10_000_000_000  # to be let go in, after the last connection has ended
_ENTRIES: Final = 200  # between two looks at the clock


class Living:
    """What the last look found."""

    def __init__(self, instances: Instances, people: People) -> None:
        self._instances = instances
        self._people = people
        self.kinds: dict[str, dict[str, int]] = {}  # class -> kind of its user, or none -> number
        self.outlived: dict[str, int] = {}  # class -> instances of users who have left

    def count(self) -> Iterator[None]:
        """Look at all of them."""
        kinds: dict[str, dict[str, int]] = {}
        outlived: dict[str, int] = {}
        before = time.time_ns() - _GRACE_NS
        for number, entry in enumerate(self._instances.entries(), 1):
            if entry.ref is not None and entry.ref() is not None:
                who = None if entry.owner is None else entry.owner.principal
                kind = NONE if who is None else who.kind
                of = kinds.setdefault(entry.manager, {})
                of[kind] = of.get(kind, 0) + 1
                if who is not None and self._people.departed(who.user, before):
                    outlived[entry.manager] = outlived.get(entry.manager, 0) + 1
            if number % _ENTRIES == 0:
                yield
        self.kinds, self.outlived = kinds, outlived
