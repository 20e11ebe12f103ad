# SPDX-License-Identifier: Apache-2.0
# The example is on the path of these processes, but of no type checker.
# mypy: disable-error-code="import-not-found,untyped-decorator,no-any-unimported"
"""The example with a function that hands out managers, as many applications have one."""

from __future__ import annotations

from agent_chat.app import app, services
from agent_chat.connections import ConnectionManager  # noqa: TC002 - as teams import it

__all__ = ["app"]


def get_connection_manager() -> ConnectionManager:
    return services.manager


@app.get("/handed")
async def handed() -> str:
    return type(get_connection_manager()).__name__
