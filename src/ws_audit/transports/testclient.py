# SPDX-License-Identifier: Apache-2.0
"""Starlette's TestClient: a WebSocket session drives the application without a server.

Why it exists: suites that use it are the cheapest place to see a leak. It must never be
confused with a server that serves others: the same sink sees it, nothing more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .asgi import TakeOver

if TYPE_CHECKING:
    from types import ModuleType

    from ws_audit.runtime import Runtime


def install(module: ModuleType, runtime: Runtime) -> None:
    """Hook `starlette.testclient`."""
    runtime.patch(module, "WebSocketTestSession.__init__", TakeOver(runtime, "app"))
