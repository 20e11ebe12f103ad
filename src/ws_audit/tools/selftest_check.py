# SPDX-License-Identifier: Apache-2.0
"""What `ws-audit selftest` says of one stage. It must never hold anything that runs."""

from __future__ import annotations

from typing import Final, NamedTuple

OK: Final = "ok"
FAILED: Final = "failed"
NOT_CONFIGURED: Final = "not configured"
NOT_TRIED: Final = "not tried"  # because something before it failed


class Check(NamedTuple):
    """A stage, what became of it and why, and what to look at if it failed."""

    name: str
    state: str
    what: str
    advice: str = ""
