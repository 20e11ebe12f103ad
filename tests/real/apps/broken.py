# SPDX-License-Identifier: Apache-2.0
# The example is on the path of these processes, but of no type checker.
# mypy: disable-error-code="import-not-found,untyped-decorator"
"""The example with an agent that fails at every call, and says what it failed on."""

from __future__ import annotations

from typing import Any

from agent_chat.app import app

from ws_audit.hooks.calls import SendHook
from ws_audit.sink import Sink

__all__ = ["app"]


def fail(self: object, *arguments: Any) -> Any:
    raise ValueError(f"cannot read {arguments!r}")


Sink.resolve = fail  # type: ignore[method-assign,assignment]
SendHook._fill = fail  # type: ignore[method-assign,assignment]
