# SPDX-License-Identifier: Apache-2.0
"""The ring and the one worker that empties it, off the application's call path.

Why it exists: hashing, folding, spans and files are slower than a call may wait. The call
path appends a tuple; this worker carries it on, in slices short enough that the event loop
it shares an interpreter with keeps breathing.

It must never block a caller, grow without bound (a full ring drops and counts), or start a
thread before a server takes the application or the first record asks for one.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from .tally import Tally


class Output(Protocol):
    """One way out of the process. `fold` takes a record; `tick` runs about once a second."""

    def fold(self, record: Any) -> None: ...
    def tick(self, now_ns: int) -> None: ...


def ending() -> bool:
    """Whether the interpreter is about to end."""
    return not threading.main_thread().is_alive()


class Drain:
    """A bounded ring of records and the thread that hands them to the outputs."""

    CAPACITY: Final = 65_536
    SLICE_NS: Final = 200_000
    SPARE: Final = 4  # slices of other work after each fold
    PAUSE: Final = 0.0005  # between slices: long enough for the event loop to run
    INTERVAL: Final = 0.2
    TICK_NS: Final = 1_000_000_000

    def __init__(self, tally: Tally, failed: Callable[[str, BaseException], None]) -> None:
        self._ring: deque[Any] = deque()
        self._tally = tally
        self._failed = failed
        self._outputs: list[Output] = []
        self._begun: Callable[[], None] | None = None
        self._prepare: Callable[[], None] | None = None
        self.spare: Callable[[], bool] | None = None  # a slice of work; whether there is more
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._starting = threading.RLock()
        self._folding = threading.RLock()
        self._stopping = False
        self._last_tick = 0
        self._accounted = 0  # the worker's CPU time that cpu_ns contains
        self.cpu_ns = 0

    def __len__(self) -> int:
        return len(self._ring)

    def append(self, record: Any) -> None:
        """Take a record from the call path; a full ring drops it and counts."""
        if len(self._ring) >= self.CAPACITY:
            self._tally.add(("dropped", "ring"))
            return
        self._ring.append(record)
        if self._thread is None:
            self.start()

    def hold(self, record: Any) -> None:
        """Take a record that is no reason to start the worker yet (an instance was made)."""
        if len(self._ring) >= self.CAPACITY:
            self._tally.add(("dropped", "ring"))
        else:
            self._ring.append(record)

    def wake(self) -> None:
        """Something urgent was recorded: don't wait for the interval."""
        self._wake.set()

    def outputs(
        self,
        outputs: list[Output],
        begun: Callable[[], None] | None = None,
        prepare: Callable[[], None] | None = None,
    ) -> None:
        """Set where records go.

        `begun` is told when the worker starts, by whoever starts it; `prepare` runs in the
        worker, before the first record. Both again after a fork.
        """
        self._outputs = outputs
        self._begun = begun
        self._prepare = prepare

    def start(self) -> None:
        """Start the worker if it does not run (again after a fork)."""
        if self._thread is not None or self._stopping:
            return
        with self._starting:  # two threads may record their first at once
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="ws-audit-drain", daemon=True)
                self._thread = thread
                try:
                    if self._begun is not None:
                        self._begun()
                except Exception as fault:
                    self._failed("drain", fault)
                try:
                    thread.start()
                except RuntimeError as fault:  # no more threads: the next record tries again
                    self._thread = None
                    self._failed("drain", fault)

    def fold(self, *, slices: bool = False) -> None:
        """Hand what is in the ring now to the outputs; in slices when nobody waits for it.

        Not what comes meanwhile: threads that send without a pause would never let go of a
        scrape, of the second's tick, or of a process that is about to end.
        """
        left = len(self._ring)
        while left:
            left = self._fold_some(left, self.SLICE_NS if slices else None)
            if left:
                if slices:
                    self._turn()  # a worker that does not catch up has a clock all the same
                # Without the lock: a scrape, maybe on the event loop, does not wait for pauses.
                time.sleep(self.PAUSE)

    def _fold_some(self, most: int, slice_ns: int | None) -> int:
        """Fold so many, or for so long; how many are left."""
        with self._folding:
            ring, outputs = self._ring, self._outputs
            begun = time.perf_counter_ns()
            for left in range(most - 1, -1, -1):
                try:
                    record = ring.popleft()
                except IndexError:  # somebody else folds as well
                    break
                for output in outputs:
                    try:
                        output.fold(record)
                    except Exception as fault:
                        self._failed("drain", fault)
                if slice_ns is not None and time.perf_counter_ns() - begun > slice_ns:
                    return left
            return 0

    def tick(self, now_ns: int) -> None:
        """Let each output do its periodic work."""
        with self._folding:
            for output in self._outputs:
                try:
                    output.tick(now_ns)
                except Exception as fault:
                    self._failed("drain", fault)

    def _run(self) -> None:
        if self._prepare is not None:
            try:
                self._prepare()
            except Exception as fault:
                if not ending():  # else no wonder: modules can't be imported any more
                    self._failed("drain", fault)
        self._accounted = time.thread_time_ns()
        while not self._stopping:
            self._wake.wait(self.INTERVAL)
            self._wake.clear()
            self.fold(slices=True)
            self._turn()
            self._work()

    def _work(self) -> None:
        """What can wait until there is time, in slices as well, and without the lock."""
        for _ in range(self.SPARE):
            try:
                if self._stopping or self.spare is None or not self.spare():
                    return
            except Exception as fault:
                self._failed("drain", fault)
                return
            time.sleep(self.PAUSE)

    def _turn(self) -> None:
        """The worker's clock: what it has used so far, and the tick if it is time."""
        now = time.time_ns()
        if now - self._last_tick >= self.TICK_NS or now < self._last_tick:
            self._last_tick = now
            self.tick(now)
        spent = time.thread_time_ns()
        self.cpu_ns += spent - self._accounted
        self._accounted = spent

    def stop(self) -> None:
        """Fold what is left and end the worker (at exit, or after disable())."""
        self._stopping = True
        self._wake.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(2.0)
        self._thread = None
        self.fold()
        self.tick(time.time_ns())

    def resume(self) -> None:
        """Allow the worker to be started again after stop()."""
        self._stopping = False

    def forget(self) -> None:
        """After a fork: the records are the parent's, its thread and locks are not here."""
        self._ring.clear()
        self._thread = None
        self._wake = threading.Event()
        self._starting = threading.RLock()
        self._folding = threading.RLock()
        self.cpu_ns = 0
