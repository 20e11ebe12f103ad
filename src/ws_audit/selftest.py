# SPDX-License-Identifier: Apache-2.0
"""The self-test: a leak that is nobody's walks the whole way, every so often.

Why it exists: a detector that has broken and one that finds nothing look the same. So a real
hook, sink, reader and judge are given a message that has gone wrong, and what they say of it
goes to the store, the metrics and the exporter, marked as synthetic; only if it is found there
has the self-test succeeded.

It must never touch what is said of the application: sink, connections, people, counts and
records are the self-test's own, and of the ways out those that wake somebody are left out. It
runs on the drain in short steps and waits for nobody.
"""

from __future__ import annotations

import secrets
from contextvars import Context
from time import monotonic, time_ns
from types import coroutine
from typing import TYPE_CHECKING, Any, Final, Protocol

from .classes.classify import Target, classify
from .evidence.bindings import Bindings
from .evidence.canaries import Canaries
from .evidence.witnesses import Witnesses
from .hooks.calls import SendHook
from .hooks.install import Installer
from .hooks.meter import Meter
from .hooks.terms import Switch
from .labels import Events
from .messages.intents import Intents
from .messages.tables import Instance
from .model import CONFIRMED, MATCH, NONE, SEND, VIOLATION, Call, Delivery
from .sink import Sink
from .synthetic import SyntheticApplication, SyntheticManager
from .tally import Tally
from .transports.asgi import wrap

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Sequence
    from types import FunctionType

    from .classes.classify import Method
    from .configuration.settings import Settings
    from .messages.payloads import Reader

RECIPIENT: Final = "ws-audit:synthetic:recipient"
OWNER: Final = "ws-audit:synthetic:owner"
EVENT: Final = "ws_audit_selftest"
_LABEL: Final = f"{SyntheticManager.__module__}:{SyntheticManager.__qualname__}"


class Broken(Exception):  # noqa: N818  (what the self-test has found, not an error of its own)
    """A stage that does not do its part; `what` was expected and what there was instead."""

    def __init__(self, stage: str, what: str) -> None:
        super().__init__(stage, what)
        self.stage = stage
        self.what = what


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


def tokens() -> dict[str, str]:
    """Canary tokens of the two users."""
    return {user: f"synthetic_{secrets.token_hex(12)}" for user in (RECIPIENT, OWNER)}


def messages(token: str, owner_paths: Sequence[str]) -> list[dict[str, Any]]:
    """A message of the recipient's, and one of the owner's with the owner's token."""
    found = []
    for user, text in ((RECIPIENT, "self-test"), (OWNER, token)):
        message: dict[str, Any] = {"event": EVENT, "text": text}
        for path in owner_paths or ("user_id",):
            _put(message, path, user)
        found.append(message)
    return found


def _put(message: dict[str, Any], path: str, user: str) -> None:
    """Write the user where the settings say that owners stand; of two paths in one place the first.

    `notes[].user_id` is a list of things that belong to people, `readers[]` one of people.
    """
    whole, listed, below = path.partition("[]")
    *above, last = whole.split(".")
    value: Any = user
    if listed:
        for step in reversed(below.split(".")[1:]):
            value = {step: value}
        value = [value]
    for step in above:
        message = message.setdefault(step, {})
        if type(message) is not dict:
            return
    message.setdefault(last, value)


def examine(records: Sequence[Any], label: str) -> None:
    """Whether of the two messages the right things were said; raises Broken, with the stage."""
    deliveries = [record for record in records if type(record) is Delivery]
    if len(deliveries) != 2:
        raise Broken("sink", f"saw {len(deliveries)} of 2 messages")
    for delivery, owner in zip(deliveries, (RECIPIENT, OWNER), strict=True):
        known = {item.name: item.principal.user for item in delivery.evidence}
        if delivery.manager != label or delivery.kind != SEND or known.get("argument") != RECIPIENT:
            raise Broken("hooks", "the call of a hooked method was not seen")
        if known.get("connection") != RECIPIENT:
            raise Broken("sink", "whose connection it was is not known")
        if known.get("payload") != owner:
            what = delivery.note or "no owner found in it"
            raise Broken("reader", f"a message could not be read: {what}")
    right, wrong = (delivery.verdict for delivery in deliveries)
    if right.verdict != MATCH:
        raise Broken(
            "judge", f"a message that was right is {right.rule or right.verdict}, not match"
        )
    if (wrong.verdict, wrong.rule, wrong.severity) != (VIOLATION, "canary", CONFIRMED):
        said = f"{wrong.rule} {wrong.severity}".strip() or wrong.verdict
        raise Broken("judge", f"a message that was wrong is {said}, not canary confirmed")
    if not any(type(record) is Call and record.deliveries for record in records):
        raise Broken("hooks", "the call of a hooked method was not settled")


class Scene:
    """The played application with hooks and a sink of its own; what they record is kept here."""

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
        self._receiver = Instance(_LABEL, None)
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


class SelfTest:
    """Plays the scene every so often, and looks what became of it."""

    WAIT: Final = 30.0  # how long counter and exporter may take; then it has failed

    def __init__(
        self,
        settings: Settings,
        reader: Reader,
        tally: Tally,
        say: Callable[[str], None],
        failed: Callable[[str, BaseException], None],
    ) -> None:
        self._interval = settings.selftest_interval_seconds
        self._reader = reader
        self._owner_paths = settings.payload_owner
        self._tally = tally
        self._say = say
        self._failed = failed
        self._told: set[str] = set()
        self._scene: Scene | None = None
        self._walk: Generator[bool, None, None] | None = None
        self._due = 0.0  # at once
        self._anew = False

    def step(self, ways: Ways) -> bool:
        """One step, if it is time; whether the next should follow at once."""
        if self._anew:
            self._anew = False
            scene, self._scene, self._walk, self._due = self._scene, None, None, 0.0
            if scene is not None:
                scene.close()
        if self._walk is None:
            now = monotonic()
            if not self._interval or now < self._due:
                return False
            self._due = now + self._interval
            self._walk = self._walked(ways)
        try:
            return next(self._walk)
        except StopIteration:
            ways.passed(time_ns())
        except Broken as broken:
            self._tell(broken)
        except Exception as fault:
            self._failed("selftest", fault)
        self._walk = None
        return False

    def _walked(self, ways: Ways) -> Generator[bool, None, None]:
        """The way, step by step; True where the next may follow at once."""
        if self._scene is None:  # as the start itself this takes a few milliseconds, once
            self._scene = Scene(self._reader, self._owner_paths, ways)
            yield True
        scene, before = self._scene, ways.counted()
        client, context = scene.play(), Context()
        try:
            while True:
                # In a context of its own: what is known of this task is known of the drain's.
                context.run(client.send, None)
                yield True
        except StopIteration:
            pass
        finally:
            client.close()
        self._count(scene)
        yield True
        if scene.fault is not None:
            stage, fault = scene.fault
            raise Broken(stage, f"{type(fault).__name__} inside the agent")
        examine(scene.records, _LABEL)
        delivery = scene.violation
        if delivery is None:
            raise Broken("violation", "it was not handed on")
        if scene.unstored:
            raise Broken("store", scene.unstored)
        yield from self._arrived(ways, delivery, before)

    def _arrived(
        self, ways: Ways, delivery: Delivery, before: float | None
    ) -> Generator[bool, None, None]:
        """Waits, without standing in anybody's way, for the counter and the exporter."""
        until = monotonic() + self.WAIT
        while True:
            counted, exported = before is None or ways.counted() != before, ways.exported(delivery)
            if counted and exported:
                return
            if exported is False:
                raise Broken("spans", "the collector does not take spans")
            if monotonic() >= until:
                late = "spans" if counted else "metrics"
                raise Broken(late, f"it was not there after {self.WAIT:g} s")
            yield False

    def _count(self, scene: Scene) -> None:
        """What the scene's sink has counted as a violation, is counted as a synthetic one."""
        for key, amount in scene.tally.total().items():
            if key[0] == "violation":
                self._tally.add(("synthetic", key[1], key[2]), amount)
        scene.tally.forget()

    def _tell(self, broken: Broken) -> None:
        self._tally.add(("error", "selftest"))
        if broken.stage not in self._told:
            self._told.add(broken.stage)
            self._say(
                f"self-test failed at {broken.stage}: {broken.what}. Until it passes, no alert"
                " does not mean that nothing is wrong; `ws-audit selftest` tries each way out"
            )

    def forget(self) -> None:
        """After a fork, or switched off: the next step begins anew. The drain may be in one."""
        self._anew = True
