# SPDX-License-Identifier: Apache-2.0
"""What a declared membership says against somebody: in a running agent, over its own sockets."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.harness import Socket, agent, module_of
from ws_audit.configuration.policy_tables import PolicyTable

if TYPE_CHECKING:
    from ws_audit.model import Delivery

SHARE = PolicyTable(1, "share", "x", membership="declared:readers", where="data.doc")
LISTED = SHARE._replace(events=("doc.text",))
ROOM = PolicyTable(2, "room", "x", membership="declared:members", where="")
DISSENT = "resource_vs_connection"


class Hub:
    async def send_to_user(self, user_id: str, message: Any, over: Socket) -> None:
        await over.send_text(json.dumps(message))

    async def send_in_room(self, room: str, message: Any, over: Socket) -> None:
        await over.send_text(json.dumps(message))

    async def broadcast(self, room: str, message: Any, over: list[Socket]) -> None:
        for one in over:
            await one.send_text(json.dumps(message))


class World:
    """Documents with their readers; each message goes to one user's connection."""

    def __init__(self) -> None:
        self.readers: dict[str, Any] = {"d1": ["ann"], "d2": ["bob", "cat"]}
        self.asked: list[str] = []
        module_of("declared", readers=self._read, members=self._read)
        self.hub = Hub()
        self.verdicts: list[str] = []
        self.frames: list[Delivery] = []

    def _read(self, document: Any) -> Any:
        self.asked.append(document)
        return self.readers[document]

    def play(self, *acts: Any, tables: tuple[PolicyTable, ...] = (SHARE,), **settings: Any) -> Any:
        """Each act is (user, what is called with the hub and their socket); the last verdict."""
        with agent(policy=tables, **settings) as one:
            one.patch(Hub)
            for user, act in acts:
                socket = Socket({"id": user})

                async def handler(connected: Socket, act: Any = act) -> None:
                    await act(self.hub, connected)

                one.serve(handler, socket)
            self.verdicts = one.verdicts()
            self.frames = one.frames()
        return self.verdicts[-1]

    @property
    def owner(self) -> str:
        dissent = self.frames[-1].verdict.dissent
        assert dissent is not None
        return dissent.principal.user


@pytest.fixture
def world() -> World:
    return World()


def text(doc: str, kind: str = "doc.text", **more: Any) -> dict[str, Any]:
    return {"type": kind, "data": {"doc": doc}, **more}


def plain(message: dict[str, Any]) -> Any:
    return lambda _, socket: socket.send_text(json.dumps(message))


def direct(user: str, message: dict[str, Any]) -> Any:
    return lambda hub, socket: hub.send_to_user(user, message, socket)


OWN = ("ann", plain(text("d1")))


def test_a_message_about_what_others_read(world: World) -> None:
    assert world.play(OWN, ("ann", plain(text("d2")))) == f"{DISSENT}:probable"
    assert world.verdicts[0] == "excused:share"
    assert world.owner == "bob"  # the first of them
    dissent = world.frames[-1].verdict.dissent
    assert dissent is not None
    assert dissent[2:6] == ("call", "data.doc", "medium", False)
    assert world.asked == ["d1", "d2"]  # once of each


@pytest.mark.parametrize("order", [("bob", "cat", "dan"), ("dan", "cat", "bob"), ("cat",)])
def test_whose_it_is_of_several(world: World, order: tuple[str, ...]) -> None:
    world.readers["d2"] = set(order)  # in no order: the same one each time
    world.play(OWN, ("ann", plain(text("d2"))))
    assert world.owner == min(order)
    world.readers["d2"] = list(order)
    world.play(OWN, ("ann", plain(text("d2"))))
    assert world.owner == order[0]


def test_who_is_known_to_own_it_is_named(world: World) -> None:
    owner = ("cat", direct("cat", text("d2")))
    told = world.play(OWN, owner, ("ann", plain(text("d2"))), payload_resources=("data.doc",))
    assert told == f"{DISSENT}:probable"
    assert world.owner == "cat"


def test_with_what_the_message_says_it_is_certain(world: World) -> None:
    told = world.play(OWN, ("ann", plain(text("d2", user_id="cat"))))
    assert told == "payload_vs_connection:confirmed"
    assert world.owner == "cat"


def test_other_identifiers_are_not_held_against_anybody(world: World) -> None:
    """The readers are names, or numbers of accounts; the connections have other ids."""
    for d1, d2 in (
        (["Ann Smith"], ["Bob Miller"]),
        ([17], [18]),
        (["ann@x.org"], ["bob@x.org"]),
        ([{"id": 17, "email": "ann@x.org"}], [{"id": 18, "email": "bob@x.org"}]),
    ):
        world.readers.update(d1=d1, d2=d2)
        assert world.play(OWN, ("ann", plain(text("d2")))) == "unattributed:no_evidence"
    # Known by a second identifier: then the others differ from that.
    world.readers.update(d1=["ann"], d2=[18])
    assert world.play(OWN, ("ann", plain(text("d2")))) == f"{DISSENT}:probable"


def test_not_before_it_has_named_somebody_who_was_connected(world: World) -> None:
    assert world.play(("ann", plain(text("d2")))) == "unattributed:no_evidence"
    assert world.play(("ann", plain(text("d2"))), OWN, ("ann", plain(text("d2")))) == (
        f"{DISSENT}:probable"
    )


@pytest.mark.parametrize("answer", [[], None, "bob", KeyError, 3])
def test_nobody_and_nothing_say_nothing(world: World, answer: Any) -> None:
    world.readers["d2"] = answer
    if answer is KeyError:
        del world.readers["d2"]
    assert world.play(OWN, ("ann", plain(text("d2")))) == "unattributed:no_evidence"


@pytest.mark.parametrize(
    "kind", ["error", "doc.denied", "access_revoked", "left", "doc.closed", "invitation", "join"]
)
def test_a_refusal_or_farewell_goes_to_outsiders(world: World, kind: str) -> None:
    said = ("ann", plain(text("d2", kind)))
    assert world.play(OWN, said) == "unattributed:no_evidence"
    listed = SHARE._replace(events=("doc.text", kind))
    assert world.play(OWN, said, tables=(listed,)) == f"{DISSENT}:probable"


def test_what_has_no_name_is_only_suspected(world: World) -> None:
    message = {"data": {"doc": "d2"}}
    assert world.play(OWN, ("ann", plain(message))) == f"{DISSENT}:suspected"


def test_whom_the_application_addresses_is_asked_of_only_if_it_is_listed(world: World) -> None:
    named = ("ann", direct("ann", text("d2")))
    assert world.play(OWN, named) == "match"
    assert world.asked == ["d1"]
    assert world.play(OWN, named, tables=(LISTED,)) == f"{DISSENT}:probable"
    # One that the server has given to somebody before is theirs.
    world.readers["d1"] = ["ann"]
    world.asked.clear()
    own = ("ann", direct("ann", text("d1")))
    told = world.play(own, own, own, tables=(LISTED,), payload_resources=("data.doc",))
    assert (told, world.asked) == ("match", ["d1"])


def test_what_a_caller_means_for_somebody_else_needs_no_membership(world: World) -> None:
    assert world.play(OWN, ("ann", direct("bob", text("d2")))) == "argument_vs_connection:probable"
    assert world.asked == ["d1"]


def test_another_policy_that_takes_it_stands(world: World) -> None:
    leak = ("ann", plain(text("d2")))
    public = PolicyTable(3, "broadcast", "x", events=("doc.*",))
    assert world.play(OWN, leak, tables=(SHARE, public)) == "excused:broadcast"
    assert world.asked == []  # everybody may see it
    console = PolicyTable(3, "impersonation", "x", users=("ann",))
    assert world.play(OWN, leak, tables=(SHARE, console)) == "excused:impersonation"
    expired = SHARE._replace(expires="2020-01-01")
    assert world.play(OWN, leak, tables=(expired,)) == "unattributed:no_evidence"
    team = SHARE._replace(number=4, membership="declared:members", where="team")
    world.readers["t1"] = ["ann", "bob"]
    seen = ("ann", plain(text("d2", team="t1")))
    assert world.play(OWN, seen, tables=(SHARE, team)) == "excused:share"


def test_a_room_by_the_calls_own_argument(world: World) -> None:
    async def say(hub: Hub, socket: Socket) -> None:
        await hub.send_in_room("d1", {"type": "chat"}, socket)
        await hub.send_in_room("d2", {"type": "chat"}, socket)
        await hub.broadcast("d2", {"type": "chat"}, [socket])

    world.play(("ann", say), tables=(ROOM,))
    assert world.verdicts == ["excused:room", f"{DISSENT}:probable", f"{DISSENT}:suspected"]


def test_what_was_answered_a_moment_ago_is_held_against_nobody(world: World) -> None:
    """Ann joins while a broadcast is under way: it is asked again for her next message."""
    world.readers["d2"] = ["bob"]

    async def say(hub: Hub, socket: Socket) -> None:
        class Joins(Socket):
            async def send_text(self, content: str) -> None:
                world.readers["d2"] = ["bob", "ann"]

        await hub.broadcast("d2", {"type": "chat"}, [socket, Joins(), socket])

    room = ROOM._replace(membership="declared:readers")
    assert world.play(OWN, ("ann", say), tables=(room, SHARE)) == "excused:room"
    assert world.verdicts[1:] == [f"{DISSENT}:suspected", "excused:room"]
