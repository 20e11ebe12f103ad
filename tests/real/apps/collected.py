# SPDX-License-Identifier: Apache-2.0
# The example is on the path of these processes, but of no type checker.
# mypy: disable-error-code="import-not-found,untyped-decorator"
"""The example with a page that runs the collector: a cancelled writer task is a cycle of the
application's own, and until it is collected its queue is truly alive."""

from __future__ import annotations

import gc

from agent_chat.app import app

__all__ = ["app"]


@app.get("/collect")
async def collect() -> int:
    return gc.collect()
