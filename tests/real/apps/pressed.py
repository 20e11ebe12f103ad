# SPDX-License-Identifier: Apache-2.0
# The example is on the path of these processes, but of no type checker.
# mypy: disable-error-code="import-not-found,untyped-decorator"
"""The example in a process whose drain cannot keep up: a tiny ring, and a worker that dawdles."""

from __future__ import annotations

import time

from agent_chat.app import app

from ws_audit.drain import Drain

__all__ = ["app"]

fold = Drain.fold


def dawdle(self: Drain, *, slices: bool = False) -> None:
    if slices:  # the worker's own; a scrape does not wait for it
        time.sleep(0.3)
    fold(self, slices=slices)


Drain.CAPACITY = 40  # type: ignore[misc]
Drain.fold = dawdle  # type: ignore[method-assign]
