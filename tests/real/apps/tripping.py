# SPDX-License-Identifier: Apache-2.0
# The example is on the path of these processes, but of no type checker.
# mypy: disable-error-code="import-not-found,untyped-decorator"
"""The switchboard with an agent that is broken, or costs far too much, and an impatient breaker.

TRIPPING says how: "hooks" (a hook raises at every call), "output" (the drain uses 50 ms of CPU in
each second), "burst" (0.3 s, once), "" (nothing). The page /agent tells, from inside the process,
what has become of the patches; /repair ends the defect.
"""

from __future__ import annotations

import os
import time
from typing import Any

import switchboard
import uvicorn.config
from starlette.websockets import WebSocket
from switchboard import app

from ws_audit.agent import agent
from ws_audit.hooks.calls import SendHook
from ws_audit.outputs.metrics import Metrics
from ws_audit.process.breaker import Breaker

__all__ = ["app"]

TRIPPING = os.environ["TRIPPING"]
WAYS = (
    *((switchboard.ConnectionManager, name) for name in ("connect", "pick", "send_to_user")),
    (switchboard.Outbox, "enqueue"),
    (WebSocket, "send_json"),
    (uvicorn.config.Config, "load"),
)

Breaker.WINDOW = 0.9  # type: ignore[misc]
Breaker.WINDOWS = 3  # type: ignore[misc]
burns = {"output": [0.05] * 1000, "burst": [0.3]}.get(TRIPPING, [])
fails = [TRIPPING == "hooks"]
fill, tick = SendHook._fill, Metrics.tick


def failing(self: SendHook, *arguments: Any) -> None:
    if fails[0]:
        raise ValueError(f"cannot read {arguments!r}")
    fill(self, *arguments)


def slow(self: Metrics, now_ns: int) -> None:
    until = time.thread_time() + (burns.pop() if burns else 0)
    while time.thread_time() < until:
        pass
    tick(self, now_ns)


SendHook._fill = failing  # type: ignore[method-assign,assignment]
Metrics.tick = slow  # type: ignore[method-assign]


@app.get("/agent")
async def look() -> dict[str, Any]:
    runtime = agent().runtime
    return {
        "patched": [
            f"{owner.__qualname__}.{name}"
            for owner, name in WAYS
            if hasattr(owner.__dict__[name], "__wrapped__")
            or "ws_audit" in owner.__dict__[name].__code__.co_filename
        ],
        "tripped": runtime.breaker.tripped if runtime is not None else "no agent",
    }


@app.get("/repair")
async def repair() -> None:
    fails[0] = False
    burns.clear()


@app.get("/enable")
async def enable() -> None:
    import ws_audit

    ws_audit.enable()
