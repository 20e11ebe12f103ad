# SPDX-License-Identifier: Apache-2.0
"""python-socketio's emits: to one client, to a room, to everybody, from wherever they are called.

Why it exists: functions, class-based namespaces and a listener that hears other processes all
end in one emit; the outermost of these calls is the application's line. A room named after a
user is that user; an `sid` is the one connection it names; else more than one may be meant.

It must never take the framework's own detours for events of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ws_audit.hooks.calls import parameter
from ws_audit.model import NONE, SEND

from . import rooms

if TYPE_CHECKING:
    from types import FunctionType, ModuleType

    from ws_audit.messages.intents import Frame
    from ws_audit.runtime import Runtime

_METHODS: Final = ("emit", "send", "call")
_OURS: Final = ("socketio.", "engineio.")


class _Emit:
    stage = "hooks"

    def __init__(self, function: FunctionType, runtime: Runtime) -> None:
        self._name = f"{function.__module__}:{function.__qualname__}"
        self._to = [parameter(function, name) for name in ("to", "room", "sid")]
        self._event = parameter(function, "event") if function.__name__ != "send" else None
        self._source = f"{function.__name__}.room"
        self._runtime = runtime
        self._intents = runtime.intents
        self._handles = runtime.sink.handles

    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Frame | None:
        above = self._intents.current()
        if above is not None and above.intent.function.startswith(_OURS):
            return None
        named = [read(args, kwargs) for read in self._to if read is not None]
        room: Any = next((to for to in named if to is not None), None)
        if type(room) in (list, tuple) and len(room) == 1:
            room = room[0]
        manager = self._runtime.emitter(type(args[0]))
        if type(room) is str and room in self._handles:
            frame = self._intents.enter(SEND, manager, self._name, 3)
        else:
            frame = rooms.enter(self._intents, room, manager, self._name, self._source, 3)
        event = "message" if self._event is None else self._event(args, kwargs)
        if frame.intent.event == NONE and type(event) is str:
            frame.intent.event = self._runtime.events.label(event)
        return frame

    def after(self, frame: Frame, result: Any, error: BaseException | None) -> None:
        self._intents.leave(frame, error)


class Emits:
    """Hooks what emits."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def hook(self, module: ModuleType, name: str, methods: tuple[str, ...] = _METHODS) -> None:
        """Those of a class's methods that it defines itself."""
        for method in methods:
            function = vars(getattr(module, name)).get(method)
            if function is not None:
                hook = _Emit(function, self._runtime)
                self._runtime.patch(module, f"{name}.{method}", hook)


def install(module: ModuleType, runtime: Runtime) -> None:
    """Hook `socketio.async_namespace` and `socketio.async_manager`."""
    if module.__name__ == "socketio.async_manager":
        Emits(runtime).hook(module, "AsyncManager", ("emit",))
    else:
        Emits(runtime).hook(module, "AsyncNamespace")
