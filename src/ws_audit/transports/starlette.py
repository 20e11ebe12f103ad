# SPDX-License-Identifier: Apache-2.0
"""Starlette's WebSocket: the last place where a queued payload is still the object it was.

Why it exists: a writer task takes a dict from a queue and calls `send_json`; below that
there is only text. The dict's identity tells which intent the text belongs to.

It must never read the payload here (the sink does), only recognise it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ws_audit.hooks.calls import parameter
from ws_audit.messages.intents import Intents, carry, drop

if TYPE_CHECKING:
    from types import FunctionType, ModuleType

    from ws_audit.runtime import Runtime


class SendJson:
    """Around a method that makes text of an object it is given as `name`."""

    stage = "sink"

    def __init__(self, function: FunctionType, name: str, intents: Intents) -> None:
        self._data = parameter(function, name)
        self._pending = intents.pending

    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> object:
        if not len(self._pending) or self._data is None:
            return None
        frame = self._pending.find(self._data(args, kwargs))
        return None if frame is None else carry(frame)

    def after(self, state: object, result: Any, error: BaseException | None) -> None:
        drop()


def install(module: ModuleType, runtime: Runtime) -> None:
    """Hook `starlette.websockets`."""
    function = module.WebSocket.send_json
    runtime.patch(module, "WebSocket.send_json", SendJson(function, "data", runtime.intents))
