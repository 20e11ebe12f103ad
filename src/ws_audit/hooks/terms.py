# SPDX-License-Identifier: Apache-2.0
"""What the guard and those who hook something agree on: hooks, connections and the switch.

Why it exists: transports and the installer name these without being guards themselves. It must
never hold anything that runs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from .meter import Meter

Failed = Callable[[str, BaseException], None]
Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_State = TypeVar("_State")


class Switch:
    """Whether the agent acts. Off makes every wrapper still held somewhere a plain call."""

    __slots__ = ("meter", "on")

    def __init__(self, meter: Meter) -> None:
        self.on = True
        self.meter = meter


class Hook(Protocol):
    """What surrounds one patched function.

    `before` sees the arguments and returns a state for `after`, or None for "nothing to do
    afterwards". `after` gets the result, or the exception the application raised.
    """

    stage: str

    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any: ...
    def after(self, state: Any, result: Any, error: BaseException | None) -> None: ...


class Resting(Hook, Protocol):
    """A hook that wants to know when the call comes to rest before it is over.

    A generator rests at each value it yields, a plain function by returning a coroutine.
    `pause` gets that value (None for a coroutine), `resume` is called before the
    application's code goes on.
    """

    def pause(self, state: Any, value: Any) -> None: ...
    def resume(self, state: Any) -> None: ...


class Traffic(Protocol[_State]):
    """What an ASGI connection's wrapper asks and tells; see transports.asgi.

    One that does not hear is never told of what comes in, and `receive` stays the server's.
    """

    hears: bool

    def outbound(self, message: Message) -> _State | None: ...
    def delivered(self, state: _State, error: BaseException | None) -> None: ...
    def inbound(self, message: Message) -> None: ...
    def closed(self) -> None: ...
