# SPDX-License-Identifier: Apache-2.0
"""Deliveries that have only their words in common with the call they come from.

Hubs here never pass an object on: they wrap, number and make text in a dispatcher of their own,
and a writer for each connection sends it.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import json
import random
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.harness import Agent, Socket, agent, told
from ws_audit.configuration.policy_tables import PolicyTable
from ws_audit.messages.intents import Frame, Intent
from ws_audit.messages.sites import caller
from ws_audit.messages.tables import PendingPayloads
from ws_audit.model import CALL, OK, SEND, STRONG, UNDELIVERED, Evidence, Principal
from ws_audit.principals.addresses import addressee

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator


@dataclass
class Envelope:
    user: str
    event: str
    body: Any


@dataclass
class Slotted:
    __slots__ = ("text", "title")
    title: str
    text: str


class Hub:
    """One inbox, one dispatcher, a queue and a writer for each connection; `astray` misleads."""

    def __init__(self) -> None:
        self.sockets: dict[str, Any] = {}
        self.inbox: asyncio.Queue[Any] = asyncio.Queue()
        self.queues: dict[str, asyncio.Queue[str]] = {}
        self.tasks: list[asyncio.Task[None]] = []
        self.astray: dict[str, list[str]] = {}
        self.number = 0
        self.rename = ""

    def start(self) -> None:
        self.tasks.append(asyncio.create_task(self._route()))

    async def connect(self, websocket: Any, user_id: str) -> None:
        self.sockets[user_id] = websocket
        self.queues[user_id] = asyncio.Queue()
        self.tasks.append(asyncio.create_task(self._write(user_id)))

    async def _route(self) -> None:
        while True:
            users, event, body = await self.inbox.get()
            self.number += 1
            for user in users:
                frame = json.dumps({"type": event, "seq": self.number, "data": body}, default=vars)
                for name in self.astray.get(user, [user]):
                    self.queues[name].put_nowait(frame)
            self.inbox.task_done()

    async def _write(self, user_id: str) -> None:
        while True:
            frame = await self.queues[user_id].get()
            await self.sockets[user_id].send_text(frame)
            self.queues[user_id].task_done()

    async def send_to_user(self, user_id: str, message: dict[str, Any]) -> None:
        self.inbox.put_nowait(([user_id], "told", {"id": self.number, **message}))

    async def emit(self, user_id: str, event: str, body: dict[str, Any]) -> None:
        self.inbox.put_nowait(([user_id], event, dict(body)))

    async def push(self, user_id: str, envelope: Envelope) -> None:
        self.inbox.put_nowait(([user_id], envelope.event, envelope.body))

    async def notify(self, user_id: str, event: str, **fields: Any) -> None:
        self.inbox.put_nowait(([user_id], event, {**fields, "at": 7.5}))

    async def deliver(self, user_id: str, message: Any) -> None:
        body = {name: getattr(message, name) for name in message.__slots__}
        self.inbox.put_nowait(([user_id], "slots", body))

    async def push_into(self, room: str, message: dict[str, Any]) -> None:
        self.inbox.put_nowait((list(self.sockets), "room", dict(message)))

    async def publish_to(self, channel: str, message: dict[str, Any]) -> None:
        user = channel.partition(":")[2]
        users = [user] if user in self.sockets else list(self.sockets)
        self.inbox.put_nowait((users, "channel", dict(message)))

    async def broadcast(self, event: str, message: dict[str, Any]) -> None:
        self.inbox.put_nowait((list(self.sockets), self.rename or event, dict(message)))

    async def publish(self, message: dict[str, Any]) -> None:
        self.inbox.put_nowait((list(self.sockets), "all", dict(message)))

    async def settle(self) -> None:
        await asyncio.sleep(0)
        await self.inbox.join()
        for queue in self.queues.values():
            await queue.join()

    def stop(self) -> None:
        for task in self.tasks:
            task.cancel()


class Notifier:
    """Per user; what it says goes through the hub's `publish`."""

    def __init__(self, hub: Hub, user_id: str) -> None:
        self.hub = hub
        self.user_id = user_id

    async def send(self, event: str, **fields: Any) -> None:
        await self.hub.push(self.user_id, Envelope(self.user_id, event, {"v": 1, **fields}))

    async def push(self, message: dict[str, Any]) -> None:
        mail = f"user:{self.user_id}@example.org"
        await self.hub.publish_to(mail, {"v": 1, **message})

    async def tell(self, user_id: str, message: dict[str, Any]) -> None:
        await self.hub.emit(user_id, "told", {**message, "v": 2})


@pytest.fixture
def audited() -> Iterator[Agent]:
    with agent() as made:
        made.patch(Hub, Notifier)
        yield made


def serve(
    hub: Hub, audited: Agent, script: Callable[[], Awaitable[None]], users: Iterable[str] = "ab"
) -> dict[str, Socket]:
    """Connect each user, each in a task of its own, and run the script in another."""
    sockets = {user: Socket() for user in users}

    async def main() -> None:
        hub.start()
        over = asyncio.Event()

        async def handler(user: str, socket: Socket) -> None:
            await hub.connect(socket, user)
            await over.wait()

        tasks = [
            asyncio.create_task(audited.run(lambda one, u=user: handler(u, one), socket))  # type: ignore[misc]
            for user, socket in sockets.items()
        ]
        while len(hub.sockets) < len(sockets):  # noqa: ASYNC110
            await asyncio.sleep(0)
        try:
            await script()
            await hub.settle()
        finally:
            over.set()
            await asyncio.gather(*tasks)
            hub.stop()

    asyncio.run(main())
    return sockets


def joined(audited: Agent) -> list[str]:
    return [one.manager.rpartition(":")[2] for one in audited.frames()]


INVOICE = {"title": "Invoice 2024-117 is due", "lines": [{"text": "Two chairs, oak", "price": 310}]}

WAYS: dict[str, Callable[[Hub, str], Awaitable[None]]] = {
    "spread": lambda hub, user: hub.send_to_user(user, dict(INVOICE)),
    "pair": lambda hub, user: hub.emit(user, "invoice", dict(INVOICE)),
    "envelope": lambda hub, user: hub.push(user, Envelope(user, "invoice", dict(INVOICE))),
    "keywords": lambda hub, user: hub.notify(user, "invoice", **INVOICE),
    "slots": lambda hub, user: hub.deliver(user, Slotted("Reminder", "Invoice 2024-117 is due")),
    "nested": lambda hub, user: Notifier(hub, user).send("invoice", **INVOICE),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_becomes_new_text_joins_its_call(audited: Agent, way: str) -> None:
    hub = Hub()
    serve(hub, audited, lambda: WAYS[way](hub, "a"))
    assert audited.verdicts() == ["match"]
    assert joined(audited) == ["Notifier" if way == "nested" else "Hub"]
    assert {key[-1]: n for key, n in audited.counted("sent").items()} == {OK: 1}


@pytest.mark.parametrize("way", WAYS)
def test_what_becomes_new_text_and_goes_astray_is_found(audited: Agent, way: str) -> None:
    hub = Hub()
    hub.astray["a"] = ["b"]
    serve(hub, audited, lambda: WAYS[way](hub, "a"))
    # A per-user object said it as well, when it was made: two witnesses.
    severity = "confirmed" if way == "nested" else "probable"
    assert audited.verdicts() == [f"argument_vs_connection:{severity}"]


# --- several tabs, many people -----------------------------------------------------------------


def test_each_tab_joins(audited: Agent) -> None:
    hub = Hub()
    hub.astray["a"] = ["a", "a", "b"]
    serve(hub, audited, lambda: WAYS["pair"](hub, "a"))
    assert sorted(audited.verdicts()) == ["argument_vs_connection:probable", "match", "match"]
    (call,) = audited.calls()
    assert call.outcome == OK


def test_two_people_are_told_the_same_and_neither_is_a_leak(audited: Agent) -> None:
    hub = Hub()

    async def script() -> None:
        for user in "abba":
            await hub.send_to_user(user, {"text": "the meeting is at 10:30 tomorrow"})

    serve(hub, audited, script)
    assert audited.verdicts() == ["match"] * 4


def test_what_several_were_told_joins_nothing_where_somebody_else_gets_it(audited: Agent) -> None:
    hub = Hub()
    hub.astray["a"] = ["a", "c"]

    async def script() -> None:
        for user in "ab":
            await hub.send_to_user(user, {"text": "the meeting is at 10:30 tomorrow"})

    serve(hub, audited, script, "abc")
    assert sorted(audited.verdicts()) == ["match", "match", "unattributed:no_evidence"]


def test_what_several_were_told_joins_nothing_where_nobody_knows_who_gets_it(
    audited: Agent,
) -> None:
    hub, stranger = Hub(), Socket()
    text = f"the meeting {uuid.uuid4()} is over"

    async def listens(socket: Socket) -> None:
        await socket.send_text(frame_of(text=text))

    async def script() -> None:
        for user in "ab":
            await hub.send_to_user(user, {"text": text})
        await hub.settle()
        await asyncio.create_task(audited.run(listens, stranger))

    serve(hub, audited, script)
    assert joined(audited) == ["Hub", "Hub", "none"]


def test_a_text_that_others_were_told_lately_proves_nothing(audited: Agent) -> None:
    hub = Hub()
    hub.astray["a"] = ["b"]
    text = f"the meeting {uuid.uuid4()} is over"

    async def script() -> None:
        await hub.send_to_user("c", {"text": text, "n": 1})
        await hub.send_to_user("a", {"text": text, "n": 2})

    serve(hub, audited, script, "abc")
    assert sorted(audited.verdicts()) == ["match", "unattributed:no_evidence"]


@pytest.mark.parametrize(("field", "manager"), [({"pin": 1234}, "none"), ({"pin": None}, "Hub")])
def test_all_that_was_said_must_be_there(
    audited: Agent, field: dict[str, Any], manager: str
) -> None:
    hub = Hub()
    text = f"the meeting {uuid.uuid4()} is over"

    async def script() -> None:
        sent = hub.inbox
        hub.inbox = asyncio.Queue()
        await hub.emit("a", "told", {"text": text, **field})
        hub.inbox = sent
        hub.inbox.put_nowait((["a"], "told", {"text": text}))

    serve(hub, audited, script)
    assert joined(audited) == [manager]


def test_the_fuller_message_is_the_better_fit(audited: Agent) -> None:
    hub = Hub()
    hub.astray["a"] = ["b"]
    track = str(uuid.uuid4())

    async def script() -> None:
        await hub.send_to_user("b", {"text": "your order 2024-88 has left"})
        await hub.send_to_user("a", {"text": "your order 2024-88 has left", "track": track})

    serve(hub, audited, script)
    assert sorted(audited.verdicts()) == ["argument_vs_connection:probable", "match"]


CONSTANTS: list[dict[str, Any]] = [
    {"type": "ping"},
    {"type": "agent_started"},
    {"type": "state", "status": "processing", "n": 3},
    {"user_id": str(uuid.UUID(int=7)), "ok": True},
]


@pytest.mark.parametrize("message", CONSTANTS)
def test_what_distinguishes_nothing_joins_nothing(audited: Agent, message: dict[str, Any]) -> None:
    hub = Hub()
    hub.astray["a"] = ["a", "b"]
    serve(hub, audited, lambda: hub.emit("a", "state", message))
    assert joined(audited) == ["none", "none"]


# --- what is no leak -----------------------------------------------------------------------------


def frame_of(**fields: Any) -> str:
    return json.dumps({"type": "told", "seq": 99, "data": fields})


def test_a_text_that_stands_in_the_callers_code_is_nobodys_own(audited: Agent) -> None:
    hub = Hub()

    async def script() -> None:
        await hub.send_to_user("a", {"text": "Processing your request, step 1"})
        await hub.settle()
        text = frame_of(text="Processing your request, step 1")
        await asyncio.create_task(hub.sockets["b"].send_text(text))

    serve(hub, audited, script)
    assert audited.verdicts() == ["match", "unattributed:no_evidence"]


def test_what_somebody_said_may_be_shown_to_who_comes_later(audited: Agent) -> None:
    hub, late, text = Hub(), Socket("b"), f"room {uuid.uuid4()} is booked"

    async def history(socket: Socket) -> None:
        await socket.send_text(frame_of(text=text))

    async def script() -> None:
        await hub.send_to_user("a", {"text": text})
        await hub.settle()
        await asyncio.create_task(audited.run(history, late))

    serve(hub, audited, script, "a")
    assert audited.verdicts() == ["match", "unattributed:no_evidence"]


def test_who_answers_in_the_callers_own_task_is_no_leak(audited: Agent) -> None:
    hub, text = Hub(), f"see {uuid.uuid4()}"

    async def script() -> None:
        await hub.send_to_user("a", {"text": text})
        await hub.sockets["b"].send_text(frame_of(text=text))  # "sent", to who asked for it

    serve(hub, audited, script)
    assert sorted(audited.verdicts()) == ["match", "unattributed:no_evidence"]


def test_what_one_wrote_comes_back_to_them(audited: Agent) -> None:
    hub, text = Hub(), f"see {uuid.uuid4()}"
    writer, echo = Socket("b"), Socket("b")
    ready = asyncio.Event()

    async def writes(socket: Socket) -> None:
        await socket.accept()
        await ready.wait()
        await hub.send_to_user("a", {"text": text})

    async def listens(socket: Socket) -> None:
        ready.set()
        await asyncio.sleep(0.05)
        await socket.send_text(frame_of(text=text))

    async def script() -> None:
        await asyncio.gather(audited.run(listens, echo), audited.run(writes, writer))

    serve(hub, audited, script, "a")
    assert sorted(audited.verdicts()) == ["match", "unattributed:no_evidence"]


def test_an_old_message_joins_nothing(audited: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    hub, text = Hub(), f"see {uuid.uuid4()}"
    monkeypatch.setattr(PendingPayloads, "SECONDS", 0.05)

    async def script() -> None:
        await hub.send_to_user("a", {"text": text})
        await hub.settle()
        await asyncio.sleep(0.1)
        await asyncio.create_task(hub.sockets["b"].send_text(frame_of(text=text)))

    serve(hub, audited, script)
    assert audited.verdicts() == ["match", "unattributed:no_evidence"]


def test_a_room_and_a_broadcast_stay_what_they_are(audited: Agent) -> None:
    hub = Hub()

    async def script() -> None:
        await hub.push_into("lobby", {"text": "somebody has drawn card 17"})
        await hub.publish({"text": "the game 2024-3 is over", "user_id": "a"})

    serve(hub, audited, script)
    told_by_kind = sorted((one.kind, told(one)) for one in audited.frames())
    # The broadcast's subject is on b's connection: suspected, as without a queue.
    assert told_by_kind == [
        ("broadcast", "match"),
        ("broadcast", "payload_vs_connection:suspected"),
        ("send", "unattributed:no_evidence"),
        ("send", "unattributed:no_evidence"),
    ]


# --- many at once -----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_fifty_people_at_once_and_no_false_violation(audited: Agent, seed: int) -> None:
    chance = random.Random(seed)
    users = [f"user-{number}" for number in range(50)]
    hub = Hub()
    sent = wrong = 0

    async def one(user: str) -> None:
        nonlocal sent, wrong
        for _ in range(20):
            await asyncio.sleep(chance.random() / 200)
            text = chance.choice(("how are you today, friend?", f"invoice {uuid.uuid4()}"))
            astray = chance.random() < 0.05 and "invoice" in text
            message = {"title": "a word with you", "text": text}
            if astray:
                other = chance.choice([each for each in users if each != user])
                # As a dispatcher that looks up the wrong connection.
                hub.inbox.put_nowait(([other], "told", dict(message)))
                before = hub.inbox
                hub.inbox = asyncio.Queue()
                await hub.send_to_user(user, message)
                hub.inbox = before
                wrong += 1
            else:
                way = chance.choice((hub.send_to_user, Notifier(hub, user).tell))
                await way(user, message)
            sent += 1

    async def script() -> None:
        await asyncio.gather(*(asyncio.create_task(one(user)) for user in users))

    serve(hub, audited, script, users)
    verdicts = audited.verdicts()
    assert len(verdicts) == sent
    assert sum("vs_connection" in verdict for verdict in verdicts) == wrong > 0
    assert verdicts.count("match") == sent - wrong


# --- cost and bounds ---------------------------------------------------------------------------


def expecting(audited: Agent, number: int) -> None:
    intents = audited.runtime.intents
    who = Principal(None, "somebody", "id", "opaque")
    for index in range(number):
        frame = Frame(Intent(SEND, "m", "f", caller(1)), None)
        frame.evidence.append(Evidence("argument", who, CALL, "send.user_id", STRONG))
        intents.expect(frame, {"text": f"what {index} was told", "n": index})


def cost(audited: Agent, frames: list[str]) -> float:
    """Seconds for each frame that joins nothing, the best of several rounds."""
    alike = audited.runtime.intents.alike
    best = 1.0
    for _ in range(5):
        begun = time.thread_time()  # other processes are none of ours
        for frame in frames:
            assert alike(frame, None, 0, None) is None
        best = min(best, (time.thread_time() - begun) / len(frames))
    return best


def test_an_unjoined_frame_costs_the_same_however_much_is_pending(audited: Agent) -> None:
    frames = [frame_of(text=f"nobody said {number}", n=number) for number in range(500)]
    expecting(audited, 10)
    few = cost(audited, frames)
    expecting(audited, 10_000)
    many = cost(audited, frames)
    assert many < 10 * few, (few, many)


def test_the_index_is_bounded_and_empties_itself(audited: Agent) -> None:
    intents = audited.runtime.intents
    expecting(audited, 12_000)
    for _ in range(60):
        intents.alike(frame_of(text="nobody said that"), None, 0, None)
    assert len(intents._contents) <= 10_000
    intents.expire(time.time_ns() + 11 * 1_000_000_000)
    assert len(intents._contents) == 0
    assert not intents._contents._index
    assert len(intents.pending) == 0


def test_payloads_of_any_sort_run_no_code_and_do_no_harm(audited: Agent) -> None:
    class Loud:
        def __init__(self) -> None:
            self.text = "a text that is long enough 17"

        def __getattr__(self, name: str) -> Any:
            raise AssertionError(name)

        def __eq__(self, other: object) -> bool:
            raise AssertionError

        def __hash__(self) -> int:
            raise AssertionError

    class Sly(dict[str, Any]):
        def items(self) -> Any:
            raise AssertionError

        def get(self, *args: Any) -> Any:
            raise AssertionError

    circle: dict[str, Any] = {"text": "a text that is long enough 17"}
    circle["data"] = circle
    deep: Any = {"text": "a text that is long enough 17"}
    for _ in range(600):
        deep = {"data": deep, "list": [deep]}
    hub = Hub()
    texts = [frame_of(text="a text that is long enough 17"), json.dumps(["x", {"text": "t" * 9}])]

    class Silent(Hub):
        async def send_to_user(self, user_id: str, message: Any) -> None:
            """Delivered never."""

    audited.patch(Silent)

    sly = Sly(text="a text that is long enough 17")
    odds: tuple[Any, ...] = (Loud(), sly, circle, deep, {1: 2}, [], ())

    async def script() -> None:
        silent = Silent()
        for odd in odds:
            await silent.send_to_user("a", odd)
        for text in (*texts, "{", "[]", '{"data": {"data": {"data": NaN}}}', '"x"'):
            await asyncio.create_task(hub.sockets["b"].send_text(text))

    serve(hub, audited, script)
    assert len(audited.frames()) == 6
    assert audited.counted("error") == {}
    gc.collect()


def test_what_never_arrives_is_undelivered_once(audited: Agent) -> None:
    hub = Hub()
    hub.astray["a"] = []
    serve(hub, audited, lambda: hub.notify("a", "invoice", **INVOICE))
    audited.runtime.intents.expire(time.time_ns() + 11 * 1_000_000_000)
    assert {key[-1]: n for key, n in audited.counted("sent").items()} == {UNDELIVERED: 1}


# --- channels of one person's own -----------------------------------------------------------

ADA = "ada@example.org"
UUID = "6f9619ff-8b86-d011-b42d-00cf4fc964ff"


@pytest.mark.parametrize(
    ("channel", "parameter", "who"),
    [
        (f"user:{ADA}", "channel", ADA),
        (f"inbox/{ADA}", "topic", ADA),
        (f"notifications.{ADA}", "channel", ADA),
        (f"user:{UUID.upper()}", "room", UUID),
        (f"users/{UUID}/inbox", "topic", UUID),
        ("user:known", "channel", "known"),
        ("private-known", "channel", "known"),
        ("account_known", "group", "known"),
        ("known", "to", "known"),
        ("known", "inbox", "known"),
    ],
)
def test_a_persons_own_channel(channel: str, parameter: str, who: str) -> None:
    found = addressee(channel, parameter, lambda text: text == "known")
    assert found is not None
    assert found.user == who


@pytest.mark.parametrize(
    "channel",
    [
        *("user:17", "17", "inbox:17", "user:stranger", "users/stranger", "known", "user:"),
        *(f"room:{ADA}", f"lobby/{UUID}", f"account:{UUID}", f"private:{UUID}", UUID, ADA),
        *("room:known", "known:user", "user:known:followers", "superuser:known", "", "user"),
    ],
)
def test_a_channel_that_may_be_a_topic(channel: str) -> None:
    assert addressee(channel, "channel", lambda text: text == "known") is None


@pytest.mark.parametrize("channel", ["user:17", "17", "inbox/017"])
def test_a_number_may_count_anything(channel: str) -> None:
    assert addressee(channel, "to", lambda text: True) is None


@pytest.mark.parametrize("channel", [None, 17, ["user:a"], {"user": "a"}, b"user:a"])
def test_a_channel_that_is_no_text(channel: object) -> None:
    assert addressee(channel, "to", lambda text: True) is None


def test_a_known_persons_channel_names_the_recipient(audited: Agent) -> None:
    hub = Hub()
    hub.astray["ada"] = ["ada", "bob"]
    text = {"text": f"your code is {uuid.uuid4()}"}
    serve(hub, audited, lambda: hub.publish_to("user:ada", text), ["ada", "bob"])
    assert sorted(audited.verdicts()) == ["argument_vs_connection:probable", "match"]
    assert {one.kind for one in audited.frames()} == {"send"}
    assert {one.evidence[1].source for one in audited.frames()} == {"publish_to.channel"}


def test_one_person_under_two_names_is_one(audited: Agent) -> None:
    """The notifier is made for an id, and the channel is called after an address."""
    hub = Hub()
    ada, bob = "ada@example.org", "bob@example.org"
    hub.astray[ada] = [ada, bob]
    text = {"text": f"your code is {uuid.uuid4()}"}
    serve(hub, audited, lambda: Notifier(hub, "ada").push(text), [ada, bob])
    assert sorted(audited.verdicts()) == ["argument_vs_connection:probable", "match"]


def test_a_strangers_channel_is_a_topic(audited: Agent) -> None:
    hub = Hub()
    text = {"text": f"your code is {uuid.uuid4()}"}
    serve(hub, audited, lambda: hub.publish_to("user:carol", text), ["ada", "bob"])
    assert audited.verdicts() == ["unattributed:undeclared_broadcast"] * 2


# --- declared broadcasts ------------------------------------------------------------------------

SCORES = PolicyTable(1, "broadcast", "scores are public", events=("scores", "told"))


@pytest.mark.parametrize("way", ["publish", "push_into", "publish_to", "nobody"])
def test_a_declared_broadcast_is_excused_however_it_was_sent(way: str) -> None:
    hub = Hub()
    message = {"text": f"the game {uuid.uuid4()} is over", "user_id": "ada"}
    ways: dict[str, Callable[[], Awaitable[None]]] = {
        "publish": lambda: hub.publish(message),
        "push_into": lambda: hub.push_into("lobby", message),
        "publish_to": lambda: hub.publish_to("scores", message),
        "nobody": lambda: hub.inbox.put((["ada", "bob"], "scores", message)),
    }
    with agent(policy=(SCORES._replace(events=("all", "room", "channel", "scores")),)) as made:
        made.patch(Hub)
        serve(hub, made, ways[way], ["ada", "bob"])
        # In a room a plain user_id names who acts: it is no evidence of whose it is.
        own = "excused:broadcast" if way in ("push_into", "publish_to") else "match"
        assert sorted(made.verdicts()) == ["excused:broadcast", own]


def test_a_policy_names_an_event_as_its_caller_does_or_as_the_message_does() -> None:
    for name in ("game.over", "scores"):
        with agent(policy=(SCORES._replace(events=(name,)),)) as made:
            made.patch(Hub)
            hub = Hub()
            hub.rename = "scores"
            message = {"text": f"the game {uuid.uuid4()} is over", "user_id": "ada"}
            serve(hub, made, functools.partial(hub.broadcast, "game.over", message), "b")
            assert made.verdicts() == ["excused:broadcast"]
            assert made.frames()[0].manager.endswith("Hub")
            # The record can be judged again.
            inputs = made.frames()[0].inputs
            assert inputs is not None
            assert inputs.event == name


def test_a_violation_keeps_both_names_of_its_event_if_a_developer_wrote_them() -> None:
    for renamed, label in (("scores", "scores"), ("of a client", "other"), ("game.over", "")):
        with agent(payload_events=("game.over", "scores")) as made:
            made.patch(Hub)
            hub = Hub()
            hub.rename = renamed
            message = {"text": f"the game {uuid.uuid4()} is over", "user_id": "ada"}
            serve(hub, made, functools.partial(hub.broadcast, "game.over", message), "b")
            assert made.verdicts() == ["payload_vs_connection:suspected"]
            (frame,) = made.frames()
            assert frame.event == "game.over"
            assert (frame.inputs.named if frame.inputs else "") == label


def test_a_broadcast_policy_excuses_no_argument() -> None:
    with agent(policy=(SCORES,)) as made:
        made.patch(Hub)
        hub = Hub()
        hub.astray["a"] = ["b"]
        text = {"text": f"your code is {uuid.uuid4()}"}
        serve(hub, made, lambda: hub.emit("a", "told", text))
        assert made.verdicts() == ["argument_vs_connection:probable"]


# --- chains of calls -----------------------------------------------------------------------------


class ChainHub(Hub):
    """Its dispatcher gives each frame to a connection's own sender, which is hooked as well."""

    async def connect(self, websocket: Any, user_id: str) -> None:
        await super().connect(websocket, user_id)
        self.clients = getattr(self, "clients", {})
        self.clients[user_id] = ClientSender(self.queues[user_id])

    async def _route(self) -> None:
        while True:
            users, event, body = await self.inbox.get()
            frame = json.dumps({"type": event, "seq": 1, "data": body})
            for user in users:
                for name in self.astray.get(user, [user]):
                    await self.clients[name].send(frame)
            self.inbox.task_done()


class ClientSender:
    def __init__(self, queue: asyncio.Queue[str]) -> None:
        self.queue = queue

    async def send(self, frame: str) -> None:
        self.queue.put_nowait(frame)


@pytest.mark.parametrize("astray", [False, True])
def test_the_first_call_of_a_chain_says_for_whom(audited: Agent, astray: bool) -> None:
    audited.patch(ChainHub)
    audited.patch(ClientSender, send="send")
    hub = ChainHub()
    if astray:
        hub.astray["a"] = ["b"]
    text = f"your code is {uuid.uuid4()}"
    serve(hub, audited, lambda: hub.emit("a", "told", {"text": text}))
    assert audited.verdicts() == ["argument_vs_connection:probable" if astray else "match"]
    assert joined(audited) == ["ChainHub"]


def test_the_same_words_made_into_a_message_that_names_somebody_are_another_message(
    audited: Agent,
) -> None:
    """A call that is under way, and the same text past every manager with its owner in it."""
    hub = Hub()
    text = f"your code is {uuid.uuid4()}"

    async def script() -> None:
        held, hub.inbox = hub.inbox, asyncio.Queue()
        await hub.emit("a", "told", {"text": text})
        waiting, hub.inbox = hub.inbox, held
        direct = hub.sockets["b"].send_text(json.dumps({"text": text, "user_id": "a"}))
        await asyncio.create_task(direct)
        hub.inbox.put_nowait(waiting.get_nowait())

    serve(hub, audited, script)
    assert audited.verdicts() == ["payload_vs_connection:probable", "match"]
    assert joined(audited) == ["none", "Hub"]
