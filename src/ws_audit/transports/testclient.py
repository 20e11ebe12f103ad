# SPDX-License-Identifier: Apache-2.0
"""Starlette's TestClient: a WebSocket session drives the application without a server.

Why it exists: suites that use it are the cheapest place to see a leak. It must never be
confused with a server that serves others: the same sink sees it, nothing more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import ModuleType

    from ws_audit.runtime import Runtime


class _Session:
    stage = "sink"

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return args[0]

    def after(self, session: Any, result: Any, error: BaseException | None) -> None:
        if error is None:
            session.app = self._runtime.take(session.app)


def install(module: ModuleType, runtime: Runtime) -> None:
    """Hook `starlette.testclient`."""
    runtime.patch(module, "WebSocketTestSession.__init__", _Session(runtime))
