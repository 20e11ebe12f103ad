# SPDX-License-Identifier: Apache-2.0
"""The parts below the transports, each against the library whose words it reads."""

from __future__ import annotations

import asyncio
import gc
import json
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from channels.auth import UserLazyObject
from channels.consumer import AsyncConsumer, SyncConsumer
from channels.layers import InMemoryChannelLayer
from django.utils.functional import SimpleLazyObject
from hypothesis import given
from hypothesis import strategies as st
from socketio import packet

from tests.faults.harness import Agent, Socket, agent
from ws_audit.principals.addresses import user_of
from ws_audit.principals.identity import CELL_KEY, Cell, Handle, evidence_of
from ws_audit.transports import channels as channels_transport
from ws_audit.transports.socketio_clients import Client
from ws_audit.transports.socketio_packets import Packets

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT = 10_000


@pytest.fixture
def audited() -> Iterator[Agent]:
    with agent() as made:
        yield made


# --- rooms ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("room", "user"),
    [
        ("user:17", "17"),
        ("user_17", "17"),
        ("user-17", "17"),
        ("user.alice", "alice"),
        ("user:a@b.example", "a@b.example"),
        (
            "user_6F9619FF-8B86-D011-B42D-00CF4FC964FF",
            "6f9619ff-8b86-d011-b42d-00cf4fc964ff",
        ),
    ],
)
def test_a_room_of_one_users_own(room: str, user: str) -> None:
    found = user_of(room)
    assert found is not None
    assert found.user == user


TOPICS = ["users:17", "user_updates", "user:Online", "user_17_updates", "lobby", "room:17", "17"]
NO_ROOMS = [None, 18, ["user:1"], "", "user", "user:", "superuser:17"]


@pytest.mark.parametrize("room", [*TOPICS, *NO_ROOMS])
def test_a_room_that_is_a_topic(room: object) -> None:
    assert user_of(room) is None


# --- packets -------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=8) | st.binary(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)
KINDS = st.sampled_from([packet.EVENT, packet.ACK, packet.CONNECT, packet.DISCONNECT])


@given(
    st.lists(
        st.tuples(
            KINDS,
            st.text(max_size=9),
            st.lists(VALUES, max_size=3),
            st.sampled_from([None, "/", "/work", "/a/b-c"]),
            st.none() | st.integers(0, 999),
        ),
        max_size=6,
    )
)
def test_events_are_told_from_the_rest_as_the_library_packs_them(sent: list[Any]) -> None:
    packets = Packets(LIMIT)
    for kind, name, arguments, namespace, number in sent:
        speaks = kind in (packet.EVENT, packet.ACK)
        data: Any = [name, *arguments] if speaks else {"sid": "x"}
        made = packet.Packet(kind, data=data, namespace=namespace, id=number if speaks else None)
        encoded = made.encode()
        parts = encoded if isinstance(encoded, list) else [encoded]
        found = [packets.event(part) for part in parts]
        assert found[1:] == [None] * (len(parts) - 1)  # what is binary in it is a part
        if kind != packet.EVENT:
            assert found[0] is None
            continue
        event = found[0]
        assert event is not None
        assert (event.name, event.namespace) == (name, namespace or "/")
        assert event.size == len(parts[0].encode())
        first = next((one for one in arguments if isinstance(one, dict)), None)
        if first is None and arguments:
            first = arguments[0]
        if arguments and not isinstance(encoded, list):
            assert json.loads(event.content) == first


def test_events_packed_with_msgpack() -> None:
    packets = Packets(LIMIT)

    def packed(kind: int, *data: Any) -> bytes:
        # As the library's own packet does, which needs msgpack.
        return msgspec.msgpack.encode(packet.Packet(kind, [*data], "/work")._to_dict())

    event = packets.event(packed(packet.EVENT, "greet", 1, {"user_id": "a"}))
    assert event is not None
    assert (event.content, event.name, event.namespace) == ({"user_id": "a"}, "greet", "/work")
    assert packets.event(packed(packet.ACK, {"user_id": "a"})) is None


@pytest.mark.parametrize("data", [None, 7, "", "9", "2", "x", {"a": 1}, '5-["x"]', '5x-["x"]'])
def test_what_is_no_packet_is_none(data: object) -> None:
    assert Packets(LIMIT).event(data) is None


ODD = ['2["x",NaN]', "2[", '2["x"', "2[1,2]", '2["' + "x" * LIMIT + '"]']


@pytest.mark.parametrize("data", ODD, ids=range(len(ODD)))
def test_an_event_nobody_can_read_is_an_event(data: str) -> None:
    event = Packets(LIMIT).event(data)
    assert event is not None
    assert event.size == len(data)


def test_stray_bytes_are_a_message_nobody_can_read() -> None:
    event = Packets(LIMIT).event(b"\xff\x00")
    assert event is not None
    assert event.content == b"\xff\x00"


# --- lazy users --------------------------------------------------------------------------------


class User:
    def __init__(self, number: int) -> None:
        self.id = number


def test_a_lazy_user_is_read_once_it_is_there_and_never_looked_up() -> None:
    looked_up: list[int] = []

    def look_up() -> User:
        looked_up.append(1)
        return User(17)

    lazy = SimpleLazyObject(look_up)
    assert evidence_of(lazy, "scope.user") is None
    assert evidence_of(UserLazyObject(), "scope.user") is None
    assert looked_up == []
    assert lazy.id == 17
    for known in (lazy, UserLazyObject()):
        if known is not lazy:
            known._wrapped = User(17)
        found = evidence_of(known, "scope.user")
        assert found is not None
        assert found.principal.user == "17"
    assert looked_up == [1]


def test_an_anonymous_lazy_user_is_nobody(audited: Agent) -> None:
    class Anonymous:
        def __init__(self) -> None:
            self.is_authenticated = False
            self.id = 0

    user = UserLazyObject()
    user._wrapped = Anonymous()

    async def handler(one: Socket) -> None:
        await one.send_text('{"user_id": 1}')

    audited.serve(handler, Socket(user))
    assert audited.verdicts() == ["unattributed:no_principal"]


def test_what_a_router_read_from_the_path_is_a_claim(audited: Agent) -> None:
    async def handler(one: Socket) -> None:
        await one.send_text('{"user_id": 2}')

    audited.serve(handler, Socket(url_route={"args": (), "kwargs": {"user_id": "1"}}))
    assert audited.verdicts() == ["payload_vs_connection:suspected"]


# --- channels ------------------------------------------------------------------------------------


def hooked(audited: Agent) -> None:
    from channels import consumer, layers
    from django.conf import settings

    if not settings.configured:
        settings.configure()

    channels_transport.install(consumer, audited.runtime)
    channels_transport.install(layers, audited.runtime)


def test_every_patch_of_channels_is_taken_out_again(audited: Agent) -> None:
    def patched() -> list[Any]:
        return [
            vars(AsyncConsumer)["__call__"],
            vars(AsyncConsumer)["dispatch"],
            vars(SyncConsumer)["dispatch"].func,
            vars(InMemoryChannelLayer)["send"],
            vars(InMemoryChannelLayer)["group_send"],
        ]

    before = patched()
    hooked(audited)
    assert all(now is not was for now, was in zip(patched(), before, strict=True))
    audited.remove()
    assert all(now is was for now, was in zip(patched(), before, strict=True))


class Relay(AsyncConsumer):  # type: ignore[misc]
    """Passes on what a layer brings; `later` once more from a task of its own."""

    async def passed(self, event: Any) -> None:
        await self.send({"type": "websocket.send", "text": event["text"]})
        if "later" in event:
            self.task = asyncio.create_task(self.later(event))

    async def later(self, event: Any) -> None:
        for _ in range(2):
            await asyncio.sleep(0)
            await self.send({"type": "websocket.send", "text": event["text"]})


def relay(audited: Agent, *events: Any, group: str = "user_1") -> None:
    hooked(audited)
    layer = InMemoryChannelLayer()

    async def handler(one: Socket) -> None:
        consumer = Relay()
        consumer.base_send = one._send
        await layer.group_add(group, "here")
        for event in events:
            await layer.group_send(group, event)
            await consumer.dispatch(await layer.receive("here"))
            task = getattr(consumer, "task", None)
            if task is not None:
                await task
        # What comes through another process is no object anybody has seen.
        await consumer.dispatch({"type": "passed", "text": "{}"})

    audited.serve(handler, Socket(2))


def test_a_group_is_told_by_its_name_also_through_the_layer(audited: Agent) -> None:
    relay(audited, {"type": "passed", "text": "{}"})
    assert audited.verdicts() == [
        "argument_vs_connection:probable",
        "unattributed:undeclared_broadcast",
    ]
    frames = audited.frames()
    assert "handler:" in frames[0].site
    assert [call.outcome for call in audited.calls()] == ["ok", "ok"]


def test_a_task_started_in_a_handler_does_not_inherit_its_event_for_ever(audited: Agent) -> None:
    relay(audited, {"type": "passed", "text": "{}", "later": True})
    assert audited.verdicts() == [
        "argument_vs_connection:probable",
        "argument_vs_connection:probable",  # its first one is taken for that event's
        "unattributed:no_evidence",
        "unattributed:undeclared_broadcast",
    ]


def test_a_group_of_many_is_a_broadcast(audited: Agent) -> None:
    relay(audited, {"type": "passed", "text": '{"owner_id": 9}'}, group="lobby")
    assert audited.verdicts()[0] == "payload_vs_connection:suspected"


def test_a_call_that_sends_by_itself_as_well_is_still_waited_for(audited: Agent) -> None:
    hooked(audited)
    layer = InMemoryChannelLayer()

    class Both:
        async def send_to_user(self, user_id: str, message: str, one: Socket) -> None:
            await one.send_text(message)
            await layer.group_send("lobby", {"type": "passed", "text": message})

    audited.patch(Both)

    async def handler(one: Socket) -> None:
        consumer = Relay()
        consumer.base_send = one._send
        await layer.group_add("lobby", "here")
        await Both().send_to_user("1", "{}", one)
        await consumer.dispatch(await layer.receive("here"))

    audited.serve(handler, Socket(2))
    assert audited.verdicts() == ["argument_vs_connection:probable"] * 2


def test_an_event_gone_on_with_is_over_when_its_handling_is(audited: Agent) -> None:
    intents = audited.runtime.intents
    call = ("send", "manager", "function", 1)

    def scene() -> None:
        first = intents.enter(*call)
        intents.leave(first, None)
        again = intents.again(first)
        inner = intents.enter(*call)
        assert inner.intent is first.intent
        intents.leave(inner, None)
        task = copy_context()
        intents.leave(again, None)
        assert task.run(intents.enter, *call).intent is not first.intent
        assert intents.enter(*call).intent is not first.intent

    copy_context().run(scene)


# --- socketio ------------------------------------------------------------------------------------


def test_a_connection_is_bound_by_its_sid(audited: Agent) -> None:
    cell = Cell(1, "socketio")
    handle = audited.runtime.sink.handles["sid-of-alice"] = Handle(cell, {CELL_KEY: cell})
    audited.runtime.bind("sid-of-bob", 4, None)
    audited.runtime.bind("sid-of-alice", 5, None)
    assert cell.held is not None
    assert cell.held.principal.user == "5"
    del handle
    assert audited.runtime.sink.handles.find("sid-of-alice") is None


@pytest.mark.parametrize("seen", [True, False])
def test_a_client_ends_once_whether_or_not_anybody_saw_it_close(audited: Agent, seen: bool) -> None:
    class Gone:
        """A socket of the framework's."""

    socket, sink = Gone(), audited.runtime.sink
    client = Client(socket, sink.open("socketio"), {}, sink)
    sink.handles["abc"] = client
    if seen:
        client.ended()
    del socket, client
    gc.collect()
    assert audited.counted("closed") == {("socketio",): 1}
    assert sink.handles.find("abc") is None


def test_a_manager_that_names_the_sid_binds_it(audited: Agent) -> None:
    class Registry:
        async def connect(self, sid: str, user_id: str) -> None:
            """Remembers them."""

    audited.patch(Registry, connect="bind")
    cell = Cell(1, "socketio")
    handle = audited.runtime.sink.handles["abc"] = Handle(cell, {CELL_KEY: cell})
    asyncio.run(Registry().connect("abc", "alice"))
    assert cell.held is not None
    assert cell.held.principal.user == "alice"
    assert handle.cell is cell
