# SPDX-License-Identifier: Apache-2.0
"""uvicorn: the application is taken over when `Config.load` has loaded it.

Why it exists: the hook at the configuration is independent of `--ws` and of protocol class
names, which change between versions. It must never run in a supervisor: that one does not
load the application. At its end uvicorn raises the signal that stopped it once more, so
that no `atexit` runs: what is left is written when `Server.shutdown` is through.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .asgi import TakeOver

if TYPE_CHECKING:
    from types import ModuleType

    from ws_audit.runtime import Runtime


class _Shutdown:
    stage = "sink"

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self

    def after(self, state: Any, result: Any, error: BaseException | None) -> None:
        self._runtime.stopped_serving()


def install(module: ModuleType, runtime: Runtime) -> None:
    """Hook `uvicorn.config` and `uvicorn.server`."""
    if module.__name__ == "uvicorn.config":
        runtime.patch(module, "Config.load", TakeOver(runtime, "loaded_app"))
    else:
        runtime.patch(module, "Server.shutdown", _Shutdown(runtime))
