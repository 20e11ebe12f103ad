# SPDX-License-Identifier: Apache-2.0
"""What this process has not found itself: read back from the trace directory, and kept up to date.

Why it exists: a process that was killed has told of its incidents, but its metrics are gone with
it; other workers have found what this one has not; and a person has acknowledged some of it. All
three stand in the trace directory, which the book of this process learns from.

It must never hold up the start of a server, the event loop or the drain: it reads in a thread of
its own, which ends when all is read, in slices with pauses between them. It must never stop the
application, or the other ways out, over a directory it cannot read.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

from ws_audit import journal
from ws_audit.process.forks import imports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ws_audit.book import Parts
    from ws_audit.incidents import Incident, Mark
    from ws_audit.review.segments.follow import Follower

    from .store import Store
    from .violations import Violations

LOOK_NS: Final = 2_000_000_000  # between two looks at the directory
SLICE_NS: Final = 200_000
LONG_SLICE_NS: Final = 1_000_000
PAUSE: Final = 0.0005  # long enough for the event loop to run
BRISK_NS: Final = 20_000_000_000  # what takes longer goes on at half of the pace
LONG_PAUSE: Final = 0.0015


class Recall:
    """Reads what others wrote into the book of this process.

    `first` is called once, when all there was at the start has been read, with the incidents of
    others that nobody has acknowledged.
    """

    def __init__(
        self,
        store: Store,
        violations: Violations,
        *,
        first: Callable[[list[Incident]], None],
        failed: Callable[[str, BaseException], None],
        say: Callable[[str], None],
    ) -> None:
        self._store = store
        self._violations = violations
        self._first = first
        self._failed = failed
        self._say = say
        self.forget()

    def forget(self) -> None:
        """After a fork: the child reads everything anew, its parent's lines among it."""
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._begun = False
        self._told = False  # of what was open at the start
        self._looked_ns = 0
        self._stamp: tuple[int, ...] = ()
        self._said = ""  # the journal's problem that was said last
        self._follower: Follower | None = None
        self._marks: list[Mark] = []
        self._parts: Parts | None = None  # read, and not yet in the book
        self.cpu_ns = 0

    def begin(self) -> None:
        """Read what there is; again after stop(): what was not pushed then is pushed now."""
        self._stopping = self._told = False
        self._begun = True
        self._start()

    def tick(self, now_ns: int) -> None:
        """The drain's second: whether anything has changed. Reading is the thread's."""
        if not self._begun or self._running():
            return
        changed = journal.stamp(self._store.directory) != self._stamp
        changed |= self._violations.book.unmarked
        if not changed and (now_ns - self._looked_ns >= LOOK_NS or now_ns < self._looked_ns):
            self._looked_ns = now_ns
            follower = self._follower
            try:
                changed = follower is None or bool(follower.news(self._store.writer))
            except OSError:
                return  # it is gone; the store says so
        if changed:
            self._start()

    def newest(self) -> dict[tuple[str, str], int]:
        """When (rule, severity) was last found, by any process; Unix nanoseconds."""
        follower = self._follower
        return dict(follower.newest) if follower is not None else {}

    def stop(self) -> None:
        """The process ends, or the agent does: what is not read is not needed any more."""
        self._stopping = True
        self._begun = False

    def _running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _start(self) -> None:
        if self._running():
            return
        thread = threading.Thread(target=self._run, name="ws-audit-recall", daemon=True)
        try:
            thread.start()
        except RuntimeError as fault:  # no more threads: the next tick tries again
            self._failed("recall", fault)
        else:
            self._thread = thread

    def _run(self) -> None:
        begun = time.thread_time_ns()
        try:
            self._read()
        except Exception as fault:
            self._failed("recall", fault)
        self.cpu_ns += time.thread_time_ns() - begun

    def _read(self) -> None:
        if self._follower is None:
            with imports:
                from ws_audit.review.segments.follow import Follower
            self._follower = Follower(self._store.directory)
        directory, book = self._store.directory, self._violations.book
        # In this order: what was found after an acknowledgement is never read before it.
        news = self._follower.news(self._store.writer)
        stamp = journal.stamp(directory)
        said = journal.read(directory)
        if said.readable:
            self._marks = said.marks
        if self._parts is None:
            self._parts = book.parts(self._marks)
        if not self._gather(self._follower.read(news, self._parts)):
            return
        parts, self._parts = self._parts, None
        again = book.learn(parts, self._marks)
        self._stamp = stamp
        for problem in said.problems[:1]:
            self._say_once(f"{problem}; what it says of incidents may be missing here")
        self._keep_numbers(book.begun())
        for incident in again:
            self._violations.tell(incident)
        if not self._told:
            self._told = True
            self._first([it for it in book.all() if it.ack is None and not it.own])

    def _gather(self, reading: Iterator[None]) -> bool:
        """Read on, with pauses; False if there is no time left to."""
        begun = since = time.perf_counter_ns()
        slice_ns = SLICE_NS
        for _ in reading:
            now = time.perf_counter_ns()
            if now - since > slice_ns:
                if self._stopping:
                    return False
                time.sleep(PAUSE if now - begun < BRISK_NS else LONG_PAUSE)
                since = time.perf_counter_ns()
                # Where a pause lasts long (the machine is busy), so may the next slice.
                slice_ns = min(max(SLICE_NS, (since - now) // 5), LONG_SLICE_NS)
        return True

    def _keep_numbers(self, begun: list[Mark]) -> None:
        if begun:
            try:
                journal.append(self._store.directory, begun)
            except OSError as error:
                self._say_once(
                    f"{journal.FILE}: cannot be written: {error.strerror or error}; incidents may"
                    " get another number once the evidence of earlier ones is deleted"
                )

    def _say_once(self, text: str) -> None:
        if text != self._said:
            self._said = text
            self._say(text)
