# SPDX-License-Identifier: Apache-2.0
"""What names somebody else and is no leak: from the application's own calls to the severity.

Each innocent message stands beside the leak it looks like: that one must go on paging.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.harness import Agent, Socket, agent
from ws_audit.messages import behalf
from ws_audit.model import CONTENT, STRONG, Evidence, Principal
from ws_audit.principals.identity import CELL_KEY
from ws_audit.verdict.addressing import Addressing, Beside

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

Message = dict[str, Any]


class User:
    def __init__(self, id: str, **fields: Any) -> None:  # noqa: A002
        self.id = id
        vars(self).update(fields)


class PostOffice:
    """One manager: to a person, to the crew of a ship, to a deck, to all."""

    def __init__(self) -> None:
        self.sockets: dict[str, list[Any]] = {}
        self.crews: dict[str, list[str]] = {}

    async def send_to_user(self, user_id: str, message: Message) -> None:
        for one in self.sockets[user_id]:
            await one.send_json(message)

    async def send_to_crew(self, thread_id: str, message: Message) -> None:
        for user in self.crews[thread_id]:
            await self.send_to_user(user, message)

    async def send_to_crew_and_others(self, message: Message, *users: str) -> None:
        for user in users:
            await self.send_to_user(user, message)

    async def send_in_room(self, room: str, message: Message) -> None:
        for user in self.crews[room]:
            for one in self.sockets[user]:
                await one.send_json(message)

    async def send_to_whom_it_may_concern(self, user_id: str, message: Message) -> None:
        for sockets in self.sockets.values():
            for one in sockets:
                await one.send_json(message)


class Messenger:
    """One user's; it may write to others."""

    def __init__(self, user_id: str, office: PostOffice) -> None:
        self.user_id = user_id
        self.office = office

    async def emit(self, message: Message, addressee: str = "") -> None:
        await self.office.send_to_user(self.current(addressee), message)

    def current(self, addressee: str) -> str:
        return addressee or self.user_id

    async def emit_in_room(self, message: Message, where: str) -> None:
        await self.office.send_in_room(where, message)

    async def emit_over(self, message: Message, over: Any) -> None:
        await over.send_json(message)


class Port:
    """Ann, Bob and Eve, connected; Ann's handler plays."""

    def __init__(self, audited: Agent) -> None:
        self.audited = audited
        self.office = PostOffice()
        self.received: list[Any] = []

    def play(
        self, act: Callable[[dict[str, Any]], Awaitable[None]], *said: Message, twice: str = ""
    ) -> list[tuple[str, str]]:
        """The verdicts, with whose connection each was."""
        before = len(self.audited.frames())
        self.office.sockets.clear()
        names = ["ann", "bob", "eve", *([twice] if twice else [])]
        people = [Socket(User(name)) for name in names]
        people[0].incoming = [
            {"type": "websocket.receive", "text": json.dumps(one)} for one in said
        ]

        async def main() -> None:
            done, ready, opened = asyncio.Event(), asyncio.Event(), []

            async def handler(one: Socket) -> None:
                name = names[people.index(one)]
                over = one.starlette()
                self.office.sockets.setdefault(name, []).append(over)
                opened.append(one)
                if len(opened) == len(people):
                    ready.set()
                if one is not people[0]:
                    await done.wait()
                    return
                await ready.wait()
                for _ in said:
                    await one.receive()
                await act({name: held[0] for name, held in self.office.sockets.items()})
                done.set()

            await asyncio.gather(*(self.audited.run(handler, one) for one in people))

        asyncio.run(main())
        found = []
        frames = self.audited.frames()[before:]
        for verdict, frame in zip(self.audited.verdicts()[before:], frames, strict=True):
            found.append((frame.evidence[0].principal.user, verdict))
        return found


def port_of(**settings: Any) -> Iterator[Port]:
    with agent(**settings) as audited:
        audited.framework()
        audited.patch(PostOffice, Messenger, emit_in_room="send", emit_over="send")
        yield Port(audited)


@pytest.fixture
def port() -> Iterator[Port]:
    yield from port_of()


@pytest.fixture
def reviewed() -> Iterator[Port]:
    """The same, and its people have said which field names the owner."""
    yield from port_of(payload_owner=("user_id", "data.user_id"))


MATCH = "match"
PAYLOAD, INSTANCE = "payload_vs_connection", "instance_vs_connection"


# --- one call, several people ---------------------------------------------------------------------


def test_a_crew_s_message_names_who_began_it(port: Port) -> None:
    """Whoever comes first: that others are meant stands in the call."""

    async def act(_: Any) -> None:
        port.office.crews["c-1"] = ["bob", "ann", "eve"]
        await port.office.send_to_crew("c-1", {"type": "sail", "user_id": "ann"})

    suspected = f"{PAYLOAD}:suspected"
    assert port.play(act) == [("bob", suspected), ("ann", MATCH), ("eve", suspected)]


def test_each_of_several_is_the_one_the_inner_call_names(port: Port) -> None:
    """One object for three: which call under way it is delivered in tells for whom."""

    async def act(_: Any) -> None:
        port.office.crews["c-1"] = ["ann", "bob", "eve"]
        await port.office.send_to_crew("c-1", {"type": "sail"})

    assert port.play(act) == [("ann", MATCH), ("bob", MATCH), ("eve", MATCH)]
    sources = {
        tuple((one.principal.user, one.source) for one in frame.evidence if one.name == "argument")
        for frame in port.audited.frames()
    }
    assert sources == {((name, "send_to_user.user_id"),) for name in ("ann", "bob", "eve")}


def test_after_its_owner_others_get_it_by_name(port: Port) -> None:
    async def act(_: Any) -> None:
        await port.office.send_to_crew_and_others({"user_id": "ann"}, "ann", "bob")
        await port.office.send_to_crew_and_others({"user_id": "ann"}, "bob", "eve")

    assert port.play(act) == [
        ("ann", MATCH),
        ("bob", f"{PAYLOAD}:suspected"),
        ("bob", f"{PAYLOAD}:probable"),  # nothing yet says that others are meant, too
        ("eve", f"{PAYLOAD}:suspected"),
    ]


def test_both_devices_of_the_wrong_one_are_not_several_people(port: Port) -> None:
    async def act(_: Any) -> None:
        await port.office.send_to_user("bob", {"user_id": "ann"})

    assert port.play(act, twice="bob") == [("bob", f"{PAYLOAD}:probable")] * 2


def test_a_message_for_one_that_goes_to_every_socket_is_no_crew_s(port: Port) -> None:
    async def act(_: Any) -> None:
        await port.office.send_to_whom_it_may_concern("ann", {"user_id": "ann"})

    assert port.play(act) == [
        ("ann", MATCH),
        ("bob", "argument_vs_connection:confirmed"),
        ("eve", "argument_vs_connection:confirmed"),
    ]


def test_what_its_caller_meant_for_another_is_explained_by_nothing(port: Port) -> None:
    async def act(_: Any) -> None:
        await port.office.send_to_whom_it_may_concern("ann", {"user_id": "ann", "room": "galley"})

    confirmed = "argument_vs_connection:confirmed"
    assert port.play(act) == [("ann", MATCH), ("bob", confirmed), ("eve", confirmed)]


# --- whose object sends ---------------------------------------------------------------------------


def test_one_s_messenger_writes_to_another_by_name(port: Port) -> None:
    async def act(_: Any) -> None:
        await Messenger("ann", port.office).emit({"type": "letter"}, addressee="bob")

    assert port.play(act) == [("bob", f"{INSTANCE}:suspected")]


def test_one_s_messenger_speaks_in_a_room(port: Port) -> None:
    async def act(_: Any) -> None:
        port.office.crews["deck"] = ["bob", "ann"]
        await Messenger("ann", port.office).emit_in_room({"type": "song"}, "deck")

    assert port.play(act) == [("bob", f"{INSTANCE}:suspected"), ("ann", MATCH)]


def test_one_s_messenger_at_another_s_socket_pages(port: Port) -> None:
    async def act(sockets: Any) -> None:
        await Messenger("ann", port.office).emit_over({"type": "diary"}, sockets["bob"])
        await Messenger("ann", port.office).emit_over({"user_id": "ann"}, sockets["bob"])

    assert port.play(act) == [("bob", f"{INSTANCE}:probable"), ("bob", f"{PAYLOAD}:confirmed")]


def test_the_wrong_messenger_for_another_s_letter_pages(port: Port) -> None:
    async def act(_: Any) -> None:
        await Messenger("bob", port.office).emit({"user_id": "ann", "type": "diary"})

    assert port.play(act) == [("bob", f"{PAYLOAD}:probable")]


# --- whom the client itself has named -------------------------------------------------------------


@pytest.mark.parametrize("settings", ["port", "reviewed"])
def test_an_answer_that_repeats_whom_its_client_named(
    settings: str, request: pytest.FixtureRequest
) -> None:
    here: Port = request.getfixturevalue(settings)

    async def act(_: Any) -> None:
        await here.office.send_to_user("ann", {"type": "followed", "user_id": "bob"})
        await here.office.send_to_user("ann", {"type": "secret", "user_id": "eve"})

    said = {"type": "follow", "user_id": "bob"}
    assert here.play(act, said) == [
        ("ann", f"{PAYLOAD}:suspected"),
        ("ann", f"{PAYLOAD}:probable"),
    ]
    # Only the message that is being answered: what was named before it is over.
    assert here.play(act, said, {"type": "hello"}) == [("ann", f"{PAYLOAD}:probable")] * 2


def test_what_a_client_named_says_nothing_of_other_people_s_messages(port: Port) -> None:
    """Ann names Eve, and Bob gets what is Eve's."""

    async def act(_: Any) -> None:
        await port.office.send_to_user("bob", {"type": "secret", "user_id": "eve"})

    assert port.play(act, {"type": "follow", "user_id": "eve"}) == [("bob", f"{PAYLOAD}:probable")]


def test_what_others_send_to_who_named_them_is_no_answer(port: Port) -> None:
    """It is Bob's task that sends to Ann, not the one that serves her."""

    async def act(sockets: Any) -> None:
        behalf.begin(sockets["bob"].scope[CELL_KEY])
        await port.office.send_to_user("ann", {"type": "secret", "user_id": "bob"})

    assert port.play(act, {"type": "follow", "user_id": "bob"}) == [("ann", f"{PAYLOAD}:probable")]


# --- what stands beside the owner -----------------------------------------------------------------

BESIDE: dict[str, tuple[Message, str]] = {
    "nothing": ({"user_id": "eve"}, "probable"),
    "a room": ({"user_id": "eve", "room": "galley"}, "suspected"),
    "a channel, by number": ({"user_id": "eve", "channelId": 12}, "suspected"),
    "a document's owner": ({"owner_id": "eve", "doc": "chart", "lines": []}, "suspected"),
    "all of it in data": ({"data": {"userId": "eve", "boardId": "b-7"}}, "suspected"),
    "a room around data": ({"room": "galley", "data": {"user_id": "eve"}}, "suspected"),
    "somebody's own room": ({"user_id": "eve", "room": "user:eve"}, "probable"),
    "a private channel": ({"user_id": "eve", "channel": "private-eve"}, "probable"),
    "how it is sent": ({"user_id": "eve", "channel": "email"}, "probable"),
    "a text": ({"user_id": "eve", "document": "Dear Eve,\nyour debts are"}, "probable"),
    "no room": ({"user_id": "eve", "room": None, "board": ""}, "probable"),
    "who did it": ({"user_id": "eve", "removed_by": "carl"}, "suspected"),
    "who is to do it": ({"owner_id": "eve", "assigneeId": "carl"}, "suspected"),
    "a user object": ({"user_id": "eve", "reviewer": {"id": "carl"}}, "suspected"),
    "the same person": ({"user_id": "eve", "created_by": "eve"}, "probable"),
    "nobody": ({"user_id": "eve", "created_by": None, "assignee_id": ""}, "probable"),
    "a recipient, in a room": ({"recipient_id": "eve", "room": "galley"}, "probable"),
    "a recipient, invited": ({"toUserId": "eve", "invited_by": "carl"}, "probable"),
}


@pytest.mark.parametrize("what", BESIDE)
def test_what_a_message_names_beside_its_owner(port: Port, what: str) -> None:
    message, severity = BESIDE[what]

    async def act(sockets: Any) -> None:
        await port.office.send_to_user("bob", message)
        await sockets["bob"].send_json(dict(message))  # past every manager

    assert port.play(act) == [("bob", f"{PAYLOAD}:{severity}")] * 2


def test_a_declared_owner_is_the_owner_whatever_stands_beside_it(reviewed: Port) -> None:
    async def act(_: Any) -> None:
        await reviewed.office.send_to_user("bob", {"user_id": "eve", "board": "b-7"})
        reviewed.office.crews["c-1"] = ["bob", "eve"]
        await reviewed.office.send_to_crew("c-1", {"type": "sail", "user_id": "eve"})

    probable = f"{PAYLOAD}:probable"
    assert reviewed.play(act) == [("bob", probable), ("bob", probable), ("eve", MATCH)]


@pytest.mark.parametrize("text", ['{"user_id": "eve", "room": "a"', "\x00", '{"user_id": NaN}'])
def test_what_cannot_be_read_explains_nothing(port: Port, text: str) -> None:
    eve = Evidence("payload", Principal(None, "eve", "id", "opaque"), CONTENT, "user_id", STRONG)
    assert not Beside(1_000).explains(eve, text)
    assert not Beside(10).explains(eve, '{"user_id": "eve", "room": "galley"}')  # too long
    assert Beside(1_000).explains(eve, b'{"user_id": "eve", "room": "galley"}')
    assert Beside(1_000).explains(eve, {"user_id": "eve", "room": "galley"})
    assert Beside(1_000).explains(eve, User("eve", removed_by="carl"))
    assert not Beside(1_000).explains(eve, User("eve", removed_by="eve"))
    assert not Beside(1_000).explains(eve, {7: "galley", ("room",): "galley"})


# --- what is left of them -------------------------------------------------------------------------


def test_a_weak_dissent_hides_no_stronger_one(port: Port) -> None:
    """The board explains the owner field; that the run is another's, nothing does."""

    async def act(sockets: Any) -> None:
        await port.office.send_to_user("eve", {"run_id": "r-1"})
        await sockets["bob"].send_json({"user_id": "eve", "board": "b-7", "run_id": "r-1"})

    assert port.play(act) == [("eve", MATCH), ("bob", "resource_vs_connection:probable")]


def test_none_of_it_is_asked_for_a_match(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(Addressing, "weighed", lambda *known: asked.append(known))

    async def act(_: Any) -> None:
        await port.office.send_to_user("bob", {"user_id": "bob", "room": "galley"})
        await port.office.send_to_user("bob", {"type": "hello"})

    assert port.play(act) == [("bob", MATCH), ("bob", MATCH)]
    assert asked == []
