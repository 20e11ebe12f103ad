# SPDX-License-Identifier: Apache-2.0
"""The circuit breaker: when the agent costs too much, or is broken, it takes itself out.

Why it exists: the application comes first, also before the audit. Nobody watches an agent all
the time; what it may cost is a setting (`limits.cpu_share`), and this holds it to that.

It must never be steered by a client. One odd payload that makes a step of ours raise is counted
and nothing more, however often it is sent: a step is broken only if it fails every time, for
everybody. And it must never come back by itself: a breaker that flaps is worse than none.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType

    from ws_audit.hooks.meter import Meter

_CGROUPS: Final = "/sys/fs/cgroup"
# Reading back what others found is done once it is done: unpatching would end none of it.
BOUNDED: Final = "recall"
# What is done with a message that comes in: only a client decides what is in it.
_INBOUND: Final = "inbound"


class Breaker:
    """Looks once a second; `tripped` says why the agent took itself out, and is empty if not."""

    # So many windows in a row above the limit: starting up and a burst of 20 s are fewer.
    WINDOW: Final = 5.0
    WINDOWS: Final = 6
    # A broken step has failed so often within FAILING seconds, and not come through for SILENT.
    FAILURES: Final = 100
    FAILING: Final = 10
    SILENT: Final = 60

    def __init__(
        self,
        share: float,
        cpu_seconds: Callable[[], dict[str, float]],
        meter: Meter,
        guards: frozenset[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.tripped = ""
        self._share = share
        self._cpu_seconds = cpu_seconds
        self._meter = meter
        self._guards = guards  # the files in which a step that failed is caught
        self._clock = clock
        self._cpus = 0.0
        self._failures: dict[CodeType, str] = {}  # the last error's place
        self._failed: dict[CodeType, int] = {}  # within this second
        self._seconds: list[dict[CodeType, int]] = []
        self._begin()

    def _begin(self) -> None:
        self._window = (0.0, 0.0)  # when it began, what had been spent by then
        self._above: list[float] = []
        self._failed = {}
        self._seconds = []
        self._meter.second = int(self._clock())

    def reset(self) -> None:
        """Somebody has switched the agent on again: from here on everything counts anew."""
        self.tripped = ""
        self._begin()

    def forget(self) -> None:
        """After a fork: the parent's time and errors are not ours; that it tripped holds."""
        self._begin()

    def failed(self, fault: BaseException) -> None:
        """An error of ours was caught. It counts here if a whole step around a call failed."""
        where = fault.__traceback__
        if where is None or where.tb_frame.f_code.co_filename not in self._guards:
            return  # caught further in: the step goes on, or it stands in nobody's way
        if where.tb_next is not None:
            where = where.tb_next
        step = where.tb_frame.f_code
        if step.co_name == _INBOUND:
            return
        self._failed[step] = self._failed.get(step, 0) + 1
        module = where.tb_frame.f_globals.get("__name__")
        name = getattr(step, "co_qualname", step.co_name)
        self._failures[step] = f"{module}:{name} ({type(fault).__name__})"

    def tick(self) -> str:
        """About once a second; why it has tripped now, else nothing."""
        now = self._clock()
        failed, self._failed = self._failed, {}
        self._seconds = [*self._seconds, failed][-self.FAILING :]
        self._meter.tick(int(now), closely=any(self._seconds))
        if self.tripped or self._share >= 1:
            return ""
        self.tripped = self._broken(now) or self._costly(now)
        return self.tripped

    def _broken(self, now: float) -> str:
        total: dict[CodeType, int] = {}
        for failed in self._seconds:
            for step, times in list(failed.items()):  # a thread may still write to it
                total[step] = total.get(step, 0) + times
        for step, times in total.items():
            last = self._meter.came_through.get(step)
            if times >= self.FAILURES and (last is None or now - last > self.SILENT):
                return (
                    f"{self._failures[step]} failed {times} times within {self.FAILING} s"
                    f" (limit {self.FAILURES}) and not once succeeded within {self.SILENT} s"
                )
        return ""

    def _costly(self, now: float) -> str:
        begun, before = self._window
        spent = sum(it for stage, it in self._cpu_seconds().items() if stage != BOUNDED)
        if begun and now - begun < self.WINDOW:
            return ""
        self._window = now, spent
        if not begun:
            return ""
        if not self._cpus:
            self._cpus = cpus()
        share = (spent - before) / (now - begun) / self._cpus
        self._above = [*self._above, share][-self.WINDOWS :] if share > self._share else []
        if len(self._above) < self.WINDOWS:
            return ""
        machine = f"{self._cpus:g} CPU{'' if self._cpus == 1 else 's'}"
        return (
            f"the agent used {min(self._above):.3f} to {max(self._above):.3f} of {machine}"
            f" for {self.WINDOWS * self.WINDOW:g} s (limits.cpu_share {self._share:g})"
        )


def cpus(folder: str = _CGROUPS) -> float:
    """How many CPUs this process may use: by affinity, and by a container's quota."""
    if sys.platform == "linux":
        number = float(len(os.sched_getaffinity(0)))
    else:
        number = float(os.cpu_count() or 1)
    for files in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        words: list[str] = []
        for file in files:
            try:
                with open(f"{folder}/{file}", encoding="ascii") as text:
                    words += text.read().split()
            except (OSError, ValueError):
                break
        try:
            quota, period = map(int, words)
        except ValueError:  # no such file, or "max": no quota
            continue
        if quota > 0 and period > 0:
            number = min(number, quota / period)
    return number
