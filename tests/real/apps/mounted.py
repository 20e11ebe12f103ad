# SPDX-License-Identifier: Apache-2.0
# The example is on the path of these processes, but of no type checker.
# mypy: disable-error-code="import-not-found,untyped-decorator"
"""The example of a team that serves prometheus_client's default registry itself."""

from __future__ import annotations

from agent_chat.app import app
from prometheus_client import Counter, make_asgi_app

__all__ = ["app"]

Counter("team_pages", "A metric of the application's own.").inc()
app.mount("/metrics", make_asgi_app())
