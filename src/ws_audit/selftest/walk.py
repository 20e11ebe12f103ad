# SPDX-License-Identifier: Apache-2.0
"""The self-test: a leak that is nobody's walks the whole way, every so often.

Why it exists: a detector that has broken and one that finds nothing look the same. So a real
hook, sink, reader and judge are given a message that has gone wrong, and what they say of it
goes to the store, the metrics and the exporter, marked as synthetic; only if it is found there
has the self-test succeeded.

It must never touch what is said of the application: sink, connections, people, counts and
records are the self-test's own, and of the ways out those that wake somebody are left out. It
runs on the drain in short steps and waits for nobody.
"""

from __future__ import annotations

from contextvars import Context
from time import monotonic, time_ns
from typing import TYPE_CHECKING, Final

from ws_audit.process.forks import imports

from .script import Broken, examine

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from ws_audit.configuration.settings import Settings
    from ws_audit.messages.payloads import Reader
    from ws_audit.model import Delivery
    from ws_audit.tally import Tally

    from .scene import Scene, Ways


class SelfTest:
    """Plays the scene every so often, and looks what became of it."""

    WAIT: Final = 30.0  # how long counter and exporter may take; then it has failed

    def __init__(
        self,
        settings: Settings,
        reader: Reader,
        tally: Tally,
        say: Callable[[str], None],
        failed: Callable[[str, BaseException], None],
    ) -> None:
        self._interval = settings.selftest_interval_seconds
        self._reader = reader
        self._owner_paths = settings.payload_owner
        self._tally = tally
        self._say = say
        self._failed = failed
        self.failing = ""  # the stage the last one has failed at; doctor tells
        self._told: set[str] = set()
        self._scene: Scene | None = None
        self._walk: Generator[bool, None, None] | None = None
        self._due = 0.0  # at once
        self._anew = False

    def step(self, ways: Ways) -> bool:
        """One step, if it is time; whether the next should follow at once."""
        if self._anew:
            self._anew = False
            scene, self._scene, self._walk, self._due = self._scene, None, None, 0.0
            if scene is not None:
                scene.close()
        if self._walk is None:
            now = monotonic()
            if not self._interval or now < self._due:
                return False
            self._due = now + self._interval
            self._walk = self._walked(ways)
        try:
            return next(self._walk)
        except StopIteration:
            self.failing = ""
            ways.passed(time_ns())
        except Broken as broken:
            self.failing = broken.stage
            self._tell(broken)
        except Exception as fault:
            self.failing = "agent"
            self._failed("selftest", fault)
        self._walk = None
        return False

    def _walked(self, ways: Ways) -> Generator[bool, None, None]:
        """The way, step by step; True where the next may follow at once."""
        if self._scene is None:  # as the start itself this takes a few milliseconds, once
            with imports:
                from .scene import Scene
            self._scene = Scene(self._reader, self._owner_paths, ways)
            yield True
        scene, before = self._scene, ways.counted()
        client, context = scene.play(), Context()
        try:
            while True:
                # In a context of its own: what is known of this task is known of the drain's.
                context.run(client.send, None)
                yield True
        except StopIteration:
            pass
        finally:
            client.close()
        self._count(scene)
        yield True
        if scene.fault is not None:
            stage, fault = scene.fault
            raise Broken(stage, f"{type(fault).__name__} inside the agent")
        examine(scene.records, scene.label)
        delivery = scene.violation
        if delivery is None:
            raise Broken("violation", "it was not handed on")
        if scene.unstored:
            raise Broken("store", scene.unstored)
        yield from self._arrived(ways, delivery, before)

    def _arrived(
        self, ways: Ways, delivery: Delivery, before: float | None
    ) -> Generator[bool, None, None]:
        """Waits, without standing in anybody's way, for the counter and the exporter."""
        until = monotonic() + self.WAIT
        while True:
            counted, exported = before is None or ways.counted() != before, ways.exported(delivery)
            if counted and exported:
                return
            if exported is False:
                raise Broken("spans", "the collector does not take spans")
            if monotonic() >= until:
                late = "spans" if counted else "metrics"
                raise Broken(late, f"it was not there after {self.WAIT:g} s")
            yield False

    def _count(self, scene: Scene) -> None:
        """What the scene's sink has counted as a violation, is counted as a synthetic one."""
        for key, amount in scene.tally.total().items():
            if key[0] == "violation":
                self._tally.add(("synthetic", key[1], key[2]), amount)
        scene.tally.forget()

    def _tell(self, broken: Broken) -> None:
        self._tally.add(("error", "selftest"))
        if broken.stage not in self._told:
            self._told.add(broken.stage)
            self._say(
                f"self-test failed at {broken.stage}: {broken.what}. Until it passes, no alert"
                " does not mean that nothing is wrong; `ws-audit selftest` tries each way out"
            )

    def forget(self) -> None:
        """After a fork, or switched off: the next step begins anew. The drain may be in one."""
        self._anew = True
