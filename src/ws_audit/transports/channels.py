# SPDX-License-Identifier: Apache-2.0
"""Django Channels: consumers, whose scope is a copy that knows the user, and their groups.

Why it exists: the messages pass the ASGI sink as any others. But middleware leaves the user in
a copy of the scope, and what is sent to a group reaches each consumer as a copy of the message,
in another task. The in-memory layer's copies are recognised by identity; a layer that leads
through another process says nothing but that the message came to a group or channel.

It must never add anything to a message, and never make a lazy user look itself up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

from ws_audit.hooks.calls import parameter
from ws_audit.model import BROADCAST, SEND
from ws_audit.principals.identity import Cell, find_cell, peek

from . import rooms
from .starlette import SendJson

if TYPE_CHECKING:
    from types import FunctionType, ModuleType

    from ws_audit.messages.intents import Frame
    from ws_audit.runtime import Runtime

_CLIENT = ("websocket.", "http.")  # types of messages that come from the server


_consumers: WeakKeyDictionary[Cell, ref[Any]] = WeakKeyDictionary()


def inside(group: object, cell: Cell) -> bool:
    """Whether a connection's consumer is in a group of the in-memory layer now."""
    consumer = _consumers[cell]() if cell in _consumers else None
    groups = peek(peek(consumer, "channel_layer"), "groups")
    return peek(peek(groups, group), peek(consumer, "channel_name")) is not None  # type: ignore[arg-type]


class _Call:
    """Around a consumer's life: its scope is the one to look in."""

    stage = "sink"

    def __init__(self, function: FunctionType) -> None:
        self._scope = parameter(function, "scope")

    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        found = None if self._scope is None else find_cell(self._scope(args, kwargs))
        if found is not None:
            cell, scope = found
            cell.look_in(scope)
            _consumers[cell] = ref(args[0])

    def after(self, state: Any, result: Any, error: BaseException | None) -> None:
        """Nothing."""


class _Layer:
    """Around a method of the in-memory layer."""

    stage = "hooks"

    def __init__(self, function: FunctionType, name: str, runtime: Runtime) -> None:
        self._name = f"{function.__module__}:{function.__qualname__}"
        self._to = parameter(function, name)
        self._source = f"{function.__name__}.{name}"
        self._runtime = runtime
        self._intents = runtime.intents


class _GroupSend(_Layer):
    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Frame:
        group = None if self._to is None else self._to(args, kwargs)
        manager = self._runtime.emitter(type(args[0]))
        return rooms.enter(self._intents, group, manager, self._name, self._source, 3)

    def after(self, frame: Frame, result: Any, error: BaseException | None) -> None:
        self._intents.leave(frame, error)


class _Send(_Layer):
    """To one channel, mostly for a group: the copy that its consumer will get is the payload."""

    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        manager = self._runtime.emitter(type(args[0]))
        frame = self._intents.enter(SEND, manager, self._name, 3)
        return frame, args[0], None if self._to is None else self._to(args, kwargs)

    def after(self, state: Any, result: Any, error: BaseException | None) -> None:
        frame, layer, channel = state
        try:
            if error is None:
                entries = peek(peek(peek(layer, "channels"), channel), "_queue")
                if entries:
                    self._intents.expect(frame, entries[-1][1])  # type: ignore[index]
                    frame.intent.by_payload = True  # it waits, whatever else the call sends
        finally:
            self._intents.leave(frame, error)


class _Dispatch:
    """Around the handling of one message: for one of a layer, its sends belong to that event."""

    stage = "hooks"

    def __init__(self, function: FunctionType, runtime: Runtime) -> None:
        self._name = f"{function.__module__}:{function.__qualname__}"
        self._message = parameter(function, "message")
        self._runtime = runtime
        self._intents = runtime.intents

    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Frame | None:
        message = None if self._message is None else self._message(args, kwargs)
        known = self._intents.pending.find(message)
        if known is not None:
            return self._intents.again(known)
        kind = peek(message, "type")
        if type(kind) is not str or kind.startswith(_CLIENT):
            return None
        manager = self._runtime.emitter(type(args[0]))
        frame = self._intents.enter(BROADCAST, manager, self._name, 3)
        frame.room = True
        return frame

    def after(self, frame: Frame, result: Any, error: BaseException | None) -> None:
        if frame.above is None and not frame.intent.deliveries:
            frame.intent.settled = True  # not every message is meant for the client
        self._intents.leave(frame, error)


def install(module: ModuleType, runtime: Runtime) -> None:
    """Hook `channels.consumer`, `channels.layers` and `channels.generic.websocket`."""
    if module.__name__ == "channels.consumer":
        consumer, sync = module.AsyncConsumer, module.SyncConsumer
        runtime.patch(module, "AsyncConsumer.__call__", _Call(consumer.__call__))
        runtime.declarations.frameworks["channels"] = inside
        runtime.patch(module, "AsyncConsumer.dispatch", _Dispatch(consumer.dispatch, runtime))
        # What a thread runs stands behind a decorator.
        inner = vars(sync)["dispatch"].func
        runtime.patch(module, "SyncConsumer.dispatch.func", _Dispatch(inner, runtime))
    elif module.__name__ == "channels.layers":
        layer = module.InMemoryChannelLayer
        group_send = _GroupSend(layer.group_send, "group", runtime)
        runtime.patch(module, "InMemoryChannelLayer.group_send", group_send)
        runtime.patch(module, "InMemoryChannelLayer.send", _Send(layer.send, "channel", runtime))
    else:
        for name in ("AsyncJsonWebsocketConsumer", "JsonWebsocketConsumer"):
            function = vars(getattr(module, name))["send_json"]
            hook = SendJson(function, "content", runtime.intents)
            runtime.patch(module, f"{name}.send_json", hook)
