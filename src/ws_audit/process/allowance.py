# SPDX-License-Identifier: Apache-2.0
"""How much CPU time an output that can do without may use, so that the breaker stays closed.

Why it exists: past `limits.cpu_share` the agent takes itself out, and a leak is seen by nobody.
Keeping every event must not be what brings that about: it gets what the others leave.

It must never hold back what a violation needs.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from .breaker import BOUNDED, cpus

if TYPE_CHECKING:
    from collections.abc import Callable

_PART: Final = 0.8  # of the share: what others need may grow within the second


class Allowance:
    """Of `share` of all CPUs what nobody else of the agent has used, second by second."""

    def __init__(
        self,
        share: float,
        cpu_seconds: Callable[[], dict[str, float]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._share = share
        self._cpu_seconds = cpu_seconds
        self._clock = clock
        self.forget()

    def forget(self) -> None:
        """After a fork: everybody begins anew."""
        self._last: tuple[float, float] | None = None  # when, and what had been spent by then
        self._used = 0  # by us since then, in nanoseconds
        self._most = 0.0  # 0: no limit, as in the first second

    def use(self, ns: int) -> None:
        """So much was used."""
        self._used += ns

    @property
    def left(self) -> bool:
        """Whether more may be used in this second."""
        return not self._most or self._used < self._most

    def tick(self) -> None:
        """About once a second."""
        if self._share >= 1:
            return  # nor is there a breaker
        now = self._clock()
        spent = sum(it for stage, it in self._cpu_seconds().items() if stage != BOUNDED)
        if self._last is not None and now > self._last[0]:
            passed = now - self._last[0]
            others = max(0.0, spent - self._last[1] - self._used / 1e9) / passed
            # Never nothing: what is left of the events tells that there is more.
            self._most = max(1e6, (self._share * _PART * cpus() - others) * 1e9)
        self._last = now, spent
        self._used = 0
