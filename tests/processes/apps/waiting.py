# SPDX-License-Identifier: Apache-2.0
# The floor is on the path of these processes, but of no type checker.
# mypy: disable-error-code="import-not-found"
"""Forks while a thread holds what a child could never open: briefly, for long, and of our own.

python waiting.py
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import floor

if TYPE_CHECKING:
    from collections.abc import Iterator

LATE = """
class LateConnectionManager:
    async def send_to_user(self, user_id, message): ...
"""


@contextlib.contextmanager
def held(locks: list[Any], seconds: float) -> Iterator[None]:
    """Another thread holds these for so long."""
    inside = threading.Event()

    def hold() -> None:
        with contextlib.ExitStack() as stack:
            for lock in locks:
                stack.enter_context(lock)
            inside.set()
            time.sleep(seconds)

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait()
    yield
    thread.join()


def main() -> None:
    from ws_audit.agent import agent
    from ws_audit.process import forks

    audited = floor.serve()
    floor.some(audited, 10, 1)
    runtime: Any = agent().runtime
    outputs = runtime.outputs
    briefly = [forks.imports, runtime._lock, outputs.metrics._lock]
    ours = [
        agent()._lock,
        runtime.drain._folding,
        runtime.drain._starting,
        runtime.intents._settling,
        outputs.violations._lock,
        outputs._store._lock,
        outputs._store._syncing,
    ]
    sys.path.insert(0, str(Path.cwd()))
    Path("late.py").write_text(LATE)
    for name, locks, seconds in (
        ("briefly", briefly, 0.4),
        ("long", [forks.imports], 4.0),
        ("ours", ours, 4.0),
    ):
        with held(locks, seconds):
            begun = time.monotonic()
            pid = os.fork()
            if not pid:
                import late

                assert hasattr(late.LateConnectionManager.send_to_user, "__wrapped__")
                with forks.imports:
                    floor.some(audited, 50, name)
                floor.frames_scraped()
                sys.exit(0)
            waited = time.monotonic() - begun
            assert floor.reap(pid) == 0
            floor.tell(name=name, waited=waited, child=time.monotonic() - begun - waited)
    with forks.imports:  # and the parent has let go of everything
        floor.some(audited, 10, 2)


if __name__ == "__main__":
    main()
