# SPDX-License-Identifier: Apache-2.0
"""Which code delivers which event, and how often: counted from the records as they pass.

Why it exists: two classes that both *could* send an event are a matter of taste; two that both
*do*, 97 to 3, are why the fix in one of them changed nothing for some people.

It must never grow with traffic, and knows only names that stand in code.
"""

from __future__ import annotations

from typing import Any, Final

from ws_audit.model import NONE, OTHER, REFUSED, Creation, Delivery
from ws_audit.schema import EVENT_RULES

_KEYS: Final = 1_000


class Traffic:
    """Deliveries by event and the code they come from; constructions by class and line."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """After a fork: what the parent delivered is the parent's."""
        self._delivered: dict[tuple[str, str], int] = {}
        self._made: dict[tuple[str, str], int] = {}

    def fold(self, record: Any) -> None:
        """A delivery, or an instance; nothing from other records."""
        if type(record) is Delivery:
            if record.outcome != REFUSED and record.verdict.rule not in EVENT_RULES:
                _count(self._delivered, (record.event, _code(record)))
        elif type(record) is Creation and not record.first_seen:
            _count(self._made, (record.manager, record.site))

    def delivered(self) -> dict[str, dict[str, int]]:
        """Event -> code -> deliveries."""
        found: dict[str, dict[str, int]] = {}
        for (event, code), amount in list(self._delivered.items()):
            found.setdefault(event, {})[code] = amount
        return found

    def made(self) -> dict[tuple[str, str], int]:
        """(class, line that made it) -> instances."""
        return dict(self._made)


def _code(record: Delivery) -> str:
    """The outermost hooked method, or past every manager the line that wrote, if it is known."""
    return record.function or record.site or NONE


def _count(counts: dict[tuple[str, str], int], key: tuple[str, str]) -> None:
    if key not in counts and len(counts) >= _KEYS:
        key = (OTHER, OTHER)
    counts[key] = counts.get(key, 0) + 1
