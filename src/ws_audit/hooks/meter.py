# SPDX-License-Identifier: Apache-2.0
"""What the agent's own steps around application calls cost, and which of them still work.

Why it exists: the circuit breaker has to know the agent's share of the CPU, and nearly all of
it is spent on the application's threads, where a clock around every step would cost more than
it tells. So few steps are timed: the first of each second, and then one in `EVERY`.

It must never raise, and never stand between a hook and its caller on the stack: hooks count
frames. A lost update between threads does no harm; nothing here is a count to rely on.
"""

from __future__ import annotations

from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from types import CodeType

# A prime: a send is the same few steps again and again, and it must not be always the same one.
EVERY: Final = 251
OUTLIER: Final = 8  # times what is usual
EXACT: Final = 32  # calls of each second that are timed in any case


class Meter:
    """Shared by all hooks of the process; the guard uses it like this::

        meter.left -= 1
        timed = 0 if meter.left > 0 else meter.every
        begun = meter.begin() if timed else 0
        try: ...                      # the step
        except Exception: begun = -begun
        if timed: meter.end(begun, step, timed)

    `timed` is how many calls this one stands for; what comes after the call is timed with it.
    """

    __slots__ = ("_exact", "_taken", "_typical", "came_through", "every", "left", "ns", "second")

    def __init__(self) -> None:
        self.every = self.left = 1
        self.ns = 0  # CPU time of all steps, estimated from those that were timed
        self.second = 0  # whatever the breaker counts time in
        self.came_through: dict[CodeType, int] = {}  # step -> when it was last seen to succeed
        self._exact = EXACT
        self._taken = 0
        self._typical: dict[Any, float] = {}  # step -> ns it usually takes

    def begin(self) -> int:
        """A step that is timed begins.

        By the wall's clock: asking for the thread's own is a system call, and disturbs what it
        measures more than a step costs.
        """
        return perf_counter_ns()

    def end(self, begun: int, step: Any, stands_for: int) -> None:
        """It is over; `begun` is negative if it raised."""
        took: float = perf_counter_ns() - abs(begun)
        code = getattr(getattr(step, "__func__", step), "__code__", None)
        # Somebody else had the processor meanwhile, or it was work: seen often, it is believed.
        typical = self._typical.get(code, took)
        took = min(took, OUTLIER * typical)
        self._typical[code] = typical + (took - typical) / 16
        self.ns += int(took * stands_for)
        if begun > 0 and code is not None:
            self.came_through[code] = self.second
        self._taken += 1
        if self.every == 1 and self._taken >= self._exact:
            self.every = EVERY
            self.left = EVERY // 2 + 1  # each timed call stands for those before and after it
        elif self.left <= 0:
            self.left = self.every

    def tick(self, second: int, *, closely: bool) -> None:
        """A new second. `closely`: time every call, because some have failed."""
        self.second = second
        self._exact = 1_000_000 if closely else EXACT
        self._taken = 0
        self.every = self.left = 1
