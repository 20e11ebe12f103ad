# SPDX-License-Identifier: Apache-2.0
"""The servers' own functions: hooked where they are imported already, and put back exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.servers.stage import Stage

# Module -> what of it is hooked.
HOOKED = {
    "daphne.server": ["Server.run"],
    "granian.asgi": ["_callback_wrapper"],
    "granian.server.embed": ["_asgi_call_wrap"],
    "granian.server.mp": ["_asgi_call_wrap"],
    "granian.server.mt": ["_asgi_call_wrap"],
    "gunicorn.workers.gasgi": ["ASGIWorker.load_wsgi"],
    "hypercorn.asyncio": ["worker_serve"],
    "hypercorn.asyncio.run": ["worker_serve", "raise_shutdown"],
    "uvicorn.config": ["Config.load"],
    "uvicorn.server": ["Server.shutdown"],
}

SCRIPT = f"""
from functools import reduce
from importlib import import_module
from inspect import iscoroutinefunction, signature

import ws_audit
from telling import told

HOOKED = {HOOKED!r}

def found():
    return {{
        f"{{module}}:{{path}}": reduce(getattr, path.split("."), import_module(module))
        for module, paths in HOOKED.items()
        for path in paths
    }}

FIRST
before = found()
ws_audit.enable()
between = found()
ws_audit.disable()
after = found()
told(
    same_before=[name for name in before if between[name] is before[name]],
    changed=[
        name for name, one in between.items()
        if signature(one) != signature(before[name])
        or iscoroutinefunction(one) != iscoroutinefunction(before[name])
        or one.__qualname__ != before[name].__qualname__
    ],
    left=[name for name in before if after[name] is not before[name]],
)
"""


@pytest.mark.parametrize("when", ["imported before", "imported after"])
def test_every_hook_is_put_in_and_taken_out(stage: Stage, when: str) -> None:
    # Imported after the first enable(), the names that modules take from each other are ours.
    first = "" if when == "imported before" else "ws_audit.enable(); found(); ws_audit.disable()"
    told = stage.environment.run(SCRIPT.replace("FIRST", first)).told
    assert told == {"same_before": [], "changed": [], "left": []}
