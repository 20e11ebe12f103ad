# SPDX-License-Identifier: Apache-2.0
"""Who hears of deliveries from the sink, as types: what doctor and learn count, violations' ways.

Why it exists: the sink is below all of them and knows none. It must never hold anything else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from .messages.intents import Frame
    from .model import Delivery, Evidence, Verdict
    from .principals.identity import Cell


class Clues(Protocol):
    """Looks at some of the deliveries nobody could judge; see facts."""

    def unjudged(
        self,
        cell: Cell,
        scope: dict[str, Any],
        content: object,
        frame: Frame | None,
        evidence: tuple[Evidence, ...],
        event: str,
        reason: str,
    ) -> str: ...

    def offer(self, connection: int, sort: str, path: str, value: object, kind: str) -> None: ...


class Learner(Protocol):
    """Counts what messages look like when all is well; see facts."""

    def look(
        self,
        connection: Evidence | None,
        content: object,
        frame: Frame | None,
        event: str,
        verdict: Verdict,
    ) -> None: ...


class Violations(Protocol):
    """Where a violation goes at once, and where its outcome goes afterwards."""

    def record(self, delivery: Delivery) -> None: ...
    def outcome(self, delivery: Delivery) -> None: ...
