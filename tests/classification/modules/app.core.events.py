"""Domain events inside the process; listeners are functions."""
from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Awaitable, Callable

Listener = Callable[[Any], Awaitable[None]]


@dataclass(frozen=True)
class OrderPlaced:  # other
    order_id: int
    user_id: int


class EventBus:  # other
    def __init__(self) -> None:
        self._listeners: dict[type, list[Listener]] = defaultdict(list)

    def subscribe(self, kind: type, listener: Listener) -> None:
        self._listeners[kind].append(listener)

    async def publish(self, event: Any) -> None:
        await asyncio.gather(*(listener(event) for listener in self._listeners[type(event)]))


class EventDispatcher:  # other
    def __init__(self) -> None:
        self.listeners: dict[str, list[Callable[..., None]]] = {}

    def register(self, name: str, listener: Callable[..., None]) -> None:
        self.listeners.setdefault(name, []).append(listener)

    def dispatch(self, name: str, **values: Any) -> None:
        for listener in self.listeners.get(name, ()):
            listener(**values)


class EventEmitter:  # other
    def __init__(self) -> None:
        self._handlers: dict[str, list[Callable[..., None]]] = {}

    def on(self, event: str, handler: Callable[..., None]) -> None:
        self._handlers.setdefault(event, []).append(handler)

    def emit(self, event: str, *args: Any) -> None:
        for handler in self._handlers.get(event, ()):
            handler(*args)


class AuditLogger:  # other
    def __init__(self) -> None:
        self.log = logging.getLogger("audit")

    def emit(self, record: dict[str, Any]) -> None:
        self.log.info("%s", record)
