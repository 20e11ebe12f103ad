# SPDX-License-Identifier: Apache-2.0
"""The played application with hooks and a sink of its own, inside the agent.

Why it exists: what is counted, kept and recorded of the application must not know of it. So
sink, intents, canaries and counts are others, of the same classes.

It must never be given a table, ring or callable of the application's.
"""

from __future__ import annotations

from types import coroutine
from typing import TYPE_CHECKING, Any, Final, Protocol

from ws_audit.classes.classify import Target, classify
from ws_audit.evidence.bindings import Bindings
from ws_audit.evidence.canaries import Canaries
from ws_audit.evidence.witnesses import Witnesses
from ws_audit.hooks.calls import SendHook
from ws_audit.hooks.install import Installer
from ws_audit.hooks.meter import Meter
from ws_audit.hooks.terms import Switch
from ws_audit.labels import Events
from ws_audit.messages.intents import Intents
from ws_audit.messages.tables import Instance
from ws_audit.model import NONE, SEND, Delivery
from ws_audit.sink import Sink
from ws_audit.tally import Tally
from ws_audit.transports.asgi import wrap

from .application import SyntheticApplication, SyntheticManager
from .script import EVENT, OWNER, RECIPIENT, Broken, messages, tokens

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator, Sequence
    from types import FunctionType

    from ws_audit.classes.classify import Method
    from ws_audit.messages.payloads import Reader


class Ways(Protocol):
    """The ways out, as far as the self-test takes them; see outputs."""

    def record(self, delivery: Delivery) -> None: ...
    def outcome(self, delivery: Delivery) -> None: ...
    def stored(self, delivery: Delivery) -> str:
        """Empty if the store has both lines, or there is none; else what is wrong."""

    def counted(self) -> float | None:
        """What the synthetic counter shows; None if no metrics are kept."""

    def exported(self, delivery: Delivery) -> bool | None:
        """Whether the exporter has taken it, or there is none; None while it waits."""

    def passed(self, now_ns: int) -> None:
        """The self-test has succeeded."""


class Scene:
    """The played application with hooks and a sink of its own; what they record is kept here."""

    label: Final = f"{SyntheticManager.__module__}:{SyntheticManager.__qualname__}"

    def __init__(self, reader: Reader, owner_paths: Sequence[str], ways: Ways) -> None:
        self.records: list[Any] = []
        self.fault: tuple[str, BaseException] | None = None
        self.violation: Delivery | None = None
        self.unstored = ""
        self._ways = ways
        self._reader = reader
        self.tally = Tally()
        self._events = Events((EVENT,))
        self._intents = Intents(self.tally, self.records.append, lambda: None)
        self._receiver = Instance(self.label, None)
        known = tokens()
        self._messages = messages(known[OWNER], owner_paths)
        self._sink = Sink(
            reader,
            self._intents,
            self.tally,
            self._events,
            self.records.append,
            lambda: NONE,
            self._failed,
            Bindings(),
            _Unheard(),
            witnesses=Witnesses(canaries=Canaries(known, reader.limit)),
        )
        self._sink.violations = self
        self._switch = Switch(Meter())
        self._installer = Installer(self._hook, self._switch, self._failed)
        target = classify(SyntheticManager, True)
        if not isinstance(target, Target):
            raise Broken("hooks", "the manager class is not taken for one")
        sends = tuple(method for method in target.methods if method.kind == SEND)
        self._installer.take(SyntheticManager, target._replace(methods=sends))

    def play(self) -> Coroutine[Any, Any, None]:
        """One connection's life, which rests wherever its client would speak."""
        self.records.clear()
        self.fault = self.violation = None
        application = wrap(
            SyntheticApplication(self._messages), self._sink, self._switch, self._failed
        )
        scope = {"type": "websocket", "path": "/", "user": {"id": RECIPIENT}}
        return application(scope, _receive, _send)  # type: ignore[return-value]

    def close(self) -> None:
        """Take the hooks out."""
        self._installer.remove()

    def record(self, delivery: Delivery) -> None:
        """A violation was judged. No other delivery of this process has these ids."""
        self.violation = delivery._replace(delivery_id=0, connection_id=0)
        self._ways.record(self.violation)

    def outcome(self, delivery: Delivery) -> None:
        """And was sent, to nobody. Now its lines are the last of the store: they are looked for."""
        delivery = delivery._replace(delivery_id=0, connection_id=0)
        self._ways.outcome(delivery)
        self.unstored = self._ways.stored(delivery)

    def _hook(self, cls: type, function: FunctionType, method: Method, static: bool) -> SendHook:
        receiver = self._receiver
        return SendHook(
            function, method, lambda _: receiver, self._intents, self._reader, self._events
        )

    def _failed(self, stage: str, fault: BaseException) -> None:
        self.fault = self.fault or (stage, fault)


class _Unheard:
    """In the place of what doctor asks for."""

    def unjudged(self, *_: Any) -> str:
        return ""

    def offer(self, *_: Any) -> None:
        """Nothing."""


@coroutine
def _rest() -> Generator[None, None, None]:
    yield


async def _receive() -> dict[str, Any]:
    """The client speaks, as soon as whoever drives this goes on."""
    await _rest()
    return {"type": "websocket.receive", "text": "{}"}


async def _send(message: dict[str, Any]) -> None:
    """The end of the way: there is no client."""
