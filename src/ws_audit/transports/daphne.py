# SPDX-License-Identifier: Apache-2.0
"""daphne, also as Channels' `runserver`: the application is taken over when a server runs.

Why it exists: `Server.run` is where serving begins, in the process that serves. After SIGTERM
or SIGINT it returns and the interpreter ends as any other, so `atexit` writes what is left. It
must never import twisted: that chooses a reactor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import ModuleType

    from ws_audit.runtime import Runtime


class _Run:
    stage = "sink"

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        server = args[0]
        server.application = self._runtime.take(server.application)

    def after(self, state: Any, result: Any, error: BaseException | None) -> None:
        """Nothing."""


def install(module: ModuleType, runtime: Runtime) -> None:
    """Hook `daphne.server`."""
    runtime.patch(module, "Server.run", _Run(runtime))
