# SPDX-License-Identifier: Apache-2.0
"""hypercorn: the application is taken over when a worker begins to serve it.

Why it exists: `ASGIWrapper` is also made by the supervisor of `--reload`, which only wants to
know what was imported; `worker_serve` runs where connections are. A supervisor ends the other
workers by SIGTERM as soon as one has stopped, and a worker has no handler for it. So what is
left is written when stopping begins, by `atexit` where a worker gets that far, and on SIGTERM.
It must never touch a WSGI application, take a signal for which somebody else has a handler, or
keep a worker from dying of it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from typing import TYPE_CHECKING, Any, Final

from ws_audit.hooks.calls import parameter

if TYPE_CHECKING:
    from types import FrameType, FunctionType, ModuleType

    from ws_audit.runtime import Runtime


class _Serve:
    stage = "sink"

    def __init__(self, function: FunctionType, runtime: Runtime) -> None:
        self._app = parameter(function, "app")
        self._runtime = runtime

    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        wrapper: Any = None if self._app is None else self._app(args, kwargs)
        if type(wrapper).__name__ == "ASGIWrapper":
            wrapper.app = self._runtime.take(wrapper.app)
            if multiprocessing.parent_process() is not None:
                _before_dying(self._runtime)

    def after(self, state: Any, result: Any, error: BaseException | None) -> None:
        """Nothing."""


class _Stopping:
    """Around the wait for the end of serving, which raises when it has come."""

    stage = "sink"

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self

    def after(self, state: Any, result: Any, error: BaseException | None) -> None:
        if isinstance(error, Exception):  # the other ways to stop are cancelled then
            self._runtime.stopping()


_LAST_SECONDS: Final = 1.0  # what the handler may hold up the process's end


def _before_dying(runtime: Runtime) -> None:
    """Write what is left when SIGTERM comes, then die of it as the process would have."""
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    ):
        return

    def write_and_die(number: int, _frame: FrameType | None) -> None:
        # On a thread of its own: the one that was interrupted may hold a lock of ours.
        writer = threading.Thread(target=runtime.stopping, name="ws-audit-end", daemon=True)
        try:
            writer.start()
            writer.join(_LAST_SECONDS)
        finally:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    signal.signal(signal.SIGTERM, write_and_die)


def install(module: ModuleType, runtime: Runtime) -> None:
    """Hook `hypercorn.asyncio.run`, and the name `hypercorn.asyncio` took from it."""
    runtime.patch(module, "worker_serve", _Serve(module.worker_serve, runtime))
    if hasattr(module, "raise_shutdown"):
        runtime.patch(module, "raise_shutdown", _Stopping(runtime))
