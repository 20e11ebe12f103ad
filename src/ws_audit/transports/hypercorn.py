# SPDX-License-Identifier: Apache-2.0
"""hypercorn: the application is taken over when a worker begins to serve it.

Why it exists: `ASGIWrapper` is also made by the supervisor of `--reload`, which only wants to
know what was imported; `worker_serve` runs where connections are. A supervisor ends the other
workers by SIGTERM as soon as one has stopped, so what is left is written when stopping begins,
and by `atexit` where a worker gets that far. It must never touch a WSGI application.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ws_audit.hooks.calls import parameter

if TYPE_CHECKING:
    from types import FunctionType, ModuleType

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


def install(module: ModuleType, runtime: Runtime) -> None:
    """Hook `hypercorn.asyncio.run`, and the name `hypercorn.asyncio` took from it."""
    runtime.patch(module, "worker_serve", _Serve(module.worker_serve, runtime))
    if hasattr(module, "raise_shutdown"):
        runtime.patch(module, "raise_shutdown", _Stopping(runtime))
