# SPDX-License-Identifier: Apache-2.0
"""sse-starlette: the last place where a queued event is still the object it was.

Why it exists: a generator yields what it took from a queue, often a dict, and what leaves is
bytes. So the bytes made of an object that waits for delivery wait in its place.

It must never make anything of an event itself, only recognise it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ws_audit.hooks.calls import parameter
from ws_audit.principals.identity import peek

if TYPE_CHECKING:
    from types import FunctionType, ModuleType

    from ws_audit.messages.intents import Frame, Intents
    from ws_audit.runtime import Runtime


class _EnsureBytes:
    stage = "sink"

    def __init__(self, function: FunctionType, intents: Intents) -> None:
        self._data = parameter(function, "data")
        self._intents = intents

    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Frame | None:
        pending = self._intents.pending
        if not len(pending) or self._data is None:
            return None
        event = self._data(args, kwargs)
        return pending.find(event) or pending.find(peek(event, "data"))

    def after(self, frame: Frame, result: Any, error: BaseException | None) -> None:
        if error is None:
            self._intents.expect(frame, result)


def install(module: ModuleType, runtime: Runtime) -> None:
    """Hook the name `sse_starlette.sse` has for it."""
    hook = _EnsureBytes(module.ensure_bytes, runtime.intents)
    runtime.patch(module, "ensure_bytes", hook)
