# SPDX-License-Identifier: Apache-2.0
"""Identifiers that do not say what they are: what who is connected tells of them, and what not."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.harness import Agent, Socket, agent, module_of
from tests.unit.test_judge import argument, canary, instance, payload, resource, told, who
from ws_audit.model import ACCEPT, MATCH, SEND, STRONG, WEAK, Evidence, Principal
from ws_audit.principals.identity import SAME, Cell, agree, principal
from ws_audit.principals.people import LATELY_NS, People
from ws_audit.verdict.judge import MATCHED, judge

if TYPE_CHECKING:
    from collections.abc import Iterable

PROBABLE = "payload_vs_connection:probable"
NOW = 1_000_000_000_000_000_000
_numbers = iter(range(1, 1_000_000))


def names(text: str, tenant: str | None = None) -> list[Principal]:
    """Identifiers as "name:alice id:17 email:a@x.org", the best first."""
    found = []
    for word in text.split():
        kind, _, value = word.partition(":")
        found.append(who(value, kind, tenant))
    return found


def connected(text: str, *, source: str = "scope.user", tenant: str | None = None) -> Cell:
    """A connection of somebody who goes by these."""
    cell = Cell(next(_numbers), "asgi")
    first, *others = names(text, tenant)
    strength = (
        STRONG if source.partition(".")[0] in ("scope", "session", "manager:connect") else WEAK
    )
    found = Evidence("connection", first, ACCEPT, source, strength, True, tuple(others))
    if strength == STRONG:
        cell.held = found
    else:
        cell.claimed = found
    return cell


class World:
    """A table of people, and the verdicts on what one of them is sent."""

    def __init__(self, *others: str | Cell) -> None:
        self.people = People()
        self.now = NOW
        for one in others:
            self.met(connected(one) if isinstance(one, str) else one)

    def met(self, cell: Cell) -> Cell:
        self.people.met(cell, self.now)
        return cell

    def verdict(self, own: str | Cell, *evidence: Evidence) -> str:
        cell = self.met(connected(own) if isinstance(own, str) else own)
        assert cell.connection is not None
        known = self.people.resolved((cell.connection, *evidence), self.now)
        return told(judge(known, SEND))


# --- what can be said -----------------------------------------------------------------------------

TABLE = [
    # whose the connection is, who else was there, the owner, the verdict
    ("name:alice", "name:bob", "alice", "match"),
    ("name:alice", "name:bob", "bob", PROBABLE),
    ("name:alice", "", "bob", "incomparable"),
    ("name:alice", "name:bob", "order-7", "incomparable"),
    ("name:alice", "name:bob", "Bob", "incomparable"),
    ("name:bob", "name:Bob", "Bob", "incomparable"),
    # A person with several identifiers, wherever they are known from.
    ("name:alice id:17", "id:18 name:bob", "alice", "match"),
    ("name:alice", "id:u-7 name:alice", "u-7", "match"),
    ("name:alice", "id:u-7 name:bob", "u-7", "incomparable"),  # nobody knows Alice's id
    ("email:a@x.org", "email:a@x.org name:alice", "alice", "match"),
    ("email:a@x.org name:alice", "email:b@x.org name:bob", "bob", PROBABLE),
    ("email:a@x.org", "email:b@x.org name:bob", "bob", "incomparable"),
    ("subject:auth0|1 name:alice", "subject:auth0|2 name:bob", "bob", PROBABLE),
    ("subject:auth0|1", "subject:auth0|1 name:alice", "alice", "match"),
    ("subject:auth0|1 name:bobby", "subject:auth0|1 name:bob", "bob", "match"),
    # A number is no more than a number, whoever is called so.
    ("name:alice", "id:17 name:bob", "17", "incomparable"),
    ("name:alice", "name:17", "17", "incomparable"),
    ("name:alice", "id:17 name:alice", "17", "incomparable"),
    # Parts people play, words for many, and letters.
    ("name:alice", "name:admin", "admin", "incomparable"),
    ("name:alice", "name:Everyone", "Everyone", "incomparable"),
    ("name:alice", "name:guest-12", "guest-12", "incomparable"),
    ("name:alice", "name:x", "x", "incomparable"),
    # Somebody's name is another's id: it may be meant as either, so it is the connection's own
    # user's, or says nothing.
    ("name:alice", "id:alice", "alice", "match"),
    ("name:carol", "name:bob / id:bob", "bob", "incomparable"),
    ("id:c-9 name:carol", "id:b-1 name:bob / id:bob", "bob", PROBABLE),
    # Two people of one name: both are somebody else, unless one of them is the connection's.
    ("email:c@x.org name:carol", "email:a@x.org name:al / email:b@x.org name:al", "al", PROBABLE),
    ("subject:a|1", "subject:a|1 name:al / subject:a|2 name:al", "al", "match"),
    ("subject:a|1 name:al", "subject:a|2 name:al name:bob", "bob", "incomparable"),
]


@pytest.mark.parametrize(("own", "others", "owner", "expected"), TABLE)
def test_an_owner_that_does_not_say_what_it_is(
    own: str, others: str, owner: str, expected: str
) -> None:
    world = World(*filter(None, others.split(" / ")))
    assert world.verdict(own, payload(owner)) == expected


def test_the_order_in_which_people_come_makes_no_difference() -> None:
    for own, others, owner, expected in TABLE:
        there = filter(None, reversed(others.split(" / ")))
        world, cell = World(), connected(own)
        world.met(cell)
        for one in there:
            world.met(connected(one))
        assert world.verdict(cell, payload(owner)) == expected, (own, others, owner)


@pytest.mark.parametrize(
    ("evidence", "expected"),
    [
        ((argument("bob"),), "argument_vs_connection:probable"),
        ((instance("bob"),), "instance_vs_connection:probable"),
        ((argument("bob"), payload("bob")), "argument_vs_connection:confirmed"),
        ((argument("alice"), payload("bob")), PROBABLE),  # agreement elsewhere hides it not
        ((argument("bob"), payload("carol")), "argument_vs_connection:probable"),
        ((argument("alice"), payload("nobody-we-know")), "match"),
        ((resource("bob"),), "incomparable"),  # whose a run is was learned, not read
        ((canary("bob"),), "incomparable"),  # what a canary's owner is called, its file says
    ],
)
def test_which_evidence_is_told_of(evidence: tuple[Evidence, ...], expected: str) -> None:
    world = World("name:bob", "name:carol")
    assert world.verdict("name:alice", *evidence) == expected


def test_the_evidence_carries_what_was_found() -> None:
    """So the record can be judged again, without the table."""
    world = World("name:bob", "id:u-7 name:alice")
    held = world.met(connected("name:alice")).connection
    assert held is not None
    evidence = (held, payload("bob"), payload("u-7"), payload("nobody"))
    found = world.people.resolved(evidence, NOW)
    assert [one.principal for one in found] == [
        held.principal,
        principal("bob", "name"),
        held.principal,
        principal("nobody"),
    ]
    assert all(
        one._replace(principal=two.principal) == two
        for one, two in zip(evidence, found, strict=True)
    )
    assert told(judge(found, SEND)) == PROBABLE


def test_what_can_be_compared_is_left_alone() -> None:
    world = World("name:bob")
    held = world.met(connected("id:alice")).connection
    assert held is not None
    for one in (payload("alice"), payload("bob"), payload(17)):
        evidence = (held, one)
        assert world.people.resolved(evidence, NOW) is evidence


def test_a_match_in_part_is_a_match_and_told_apart() -> None:
    held = connected("name:alice").connection
    assert held is not None
    whole = judge((held, argument("alice")), SEND)
    part = judge((held, argument("alice"), payload("x-1")), SEND)
    assert whole == part == MATCHED
    assert whole is MATCHED
    assert part is not MATCHED


# --- who is known, and how long -------------------------------------------------------------------


def test_what_a_client_says_in_its_address_is_not_learned() -> None:
    for source in ("query.username", "path.username", "auth.username"):
        world = World(connected("name:bob", source=source))
        assert len(world.people) == 0
        assert world.verdict("name:alice", payload("bob")) == "incomparable"


def test_a_log_in_by_a_message_is_weak() -> None:
    world = World(connected("name:bob", source="login.username"))
    assert world.verdict("name:alice", payload("bob")) == "payload_vs_connection:suspected"
    # Two of them, where nobody knows more.
    mine = connected("name:carol", source="login.username")
    assert world.verdict(mine, payload("bob")) == "payload_vs_connection:suspected"
    assert world.verdict(mine, payload("carol")) == "match"


def test_a_claim_hides_nothing_of_what_is_known() -> None:
    """A client that logs in by somebody's name, as whatever, makes nobody's name ambiguous."""
    world = World("name:bob", connected("id:bob", source="login.user_id"))
    assert world.verdict("name:alice", payload("bob")) == PROBABLE
    assert world.verdict("name:bob", payload("bob")) == "match"


def test_a_connection_that_is_none_yet_is_not_learned() -> None:
    cell = connected("name:bob")
    cell.connection_id = 0  # an HTTP request
    assert World(cell).verdict("name:alice", payload("bob")) == "incomparable"


def test_who_was_here_is_known_for_a_while() -> None:
    world = World()
    bob, again = world.met(connected("name:bob")), connected("name:bob")
    world.now += 100 * LATELY_NS
    assert world.verdict("name:alice", payload("bob")) == PROBABLE  # still here
    world.met(again)
    world.people.left(bob, world.now)
    world.now += 2 * LATELY_NS
    assert world.verdict("name:alice", payload("bob")) == PROBABLE  # on the other device
    world.people.left(again, world.now)
    world.now += LATELY_NS
    assert world.verdict("name:alice", payload("bob")) == PROBABLE
    world.now += 1
    assert world.verdict("name:alice", payload("bob")) == "incomparable"


def test_a_connection_that_changed_hands_was_somebody_elses_lately() -> None:
    world = World()
    cell = world.met(connected("name:alice"))
    cell.held = connected("name:bob").held  # she logged out, he logged in
    assert world.verdict(cell, payload("alice")) == PROBABLE
    assert world.verdict(cell, payload("bob")) == "match"
    world.now += 2 * LATELY_NS
    assert world.verdict(cell, payload("alice")) == "incomparable"


def test_what_a_client_claimed_before_it_was_known_is_forgotten() -> None:
    world = World()
    cell = world.met(connected("name:bobby", source="login.name"))
    cell.held = connected("name:bob").held
    assert world.verdict(cell, payload("bobby")) == "incomparable"


def test_further_names_are_learned_when_they_are_told() -> None:
    world = World()
    cell = world.met(connected("name:alice"))
    cell.know((who("u-7"),))
    world.met(cell)
    assert len(world.people._known["alice"].people) == 1  # and not twice
    assert world.verdict("name:alice", payload("u-7")) == "match"


def test_it_is_bounded_and_the_oldest_goes_first() -> None:
    people = People(3)
    cells = [connected(f"name:somebody-{number}") for number in range(5)]
    for cell in (*cells[:3], connected("name:somebody-0"), *cells[3:]):
        people.met(cell, NOW)
    held = connected("name:alice").connection
    assert held is not None
    known = [
        number
        for number in range(5)
        if people.resolved((held, payload(f"somebody-{number}")), NOW)[1].principal.kind == "name"
    ]
    assert known == [0, 3, 4]
    assert len(people) == 3
    for cell in cells:
        people.left(cell, NOW)  # what was pushed out meanwhile does no harm


def test_claims_push_nobody_out_who_is_known() -> None:
    world = World("name:bob")
    world.people._most = 2
    for number in range(10):
        world.met(connected(f"name:flood-{number}", source="login.name"))
    assert len(world.people) == 3
    assert world.verdict("name:alice", payload("bob")) == PROBABLE


def test_a_name_many_people_bear_tells_of_nobody() -> None:
    world = World(*(f"email:{one}@x.org name:sam" for one in "abcd"))
    alice = "email:alice@x.org name:alice"
    assert world.verdict(alice, payload("sam")) == PROBABLE
    world.met(connected("email:e@x.org name:sam"))
    assert world.verdict(alice, payload("sam")) == "incomparable"
    assert world.verdict("email:a@x.org", payload("sam")) == "incomparable"


def test_the_table_stays_empty_where_it_would_tell_nothing() -> None:
    assert (
        len(World("id:17", "id:7f3c2b1a-0000-4000-8000-00000000000a", "email:a@x.org").people) == 0
    )


@pytest.mark.parametrize(
    ("own", "other", "expected"),
    [
        ("acme", "acme", PROBABLE),
        ("acme", "evil", "incomparable"),  # another tenant's bob says nothing of ours
        ("acme", None, PROBABLE),
        (None, "evil", PROBABLE),
    ],
)
def test_tenants_are_told_apart(own: str | None, other: str | None, expected: str) -> None:
    world = World(connected("name:bob", tenant=other))
    assert world.verdict(connected("name:alice", tenant=own), payload("bob")) == expected


def test_the_very_text_is_the_users_own_whatever_it_is_called() -> None:
    held = connected("name:alice").held
    assert held is not None
    for kind in ("id", "name", "subject"):
        assert agree(held, who("alice", kind)) == SAME


# --- in a running agent ---------------------------------------------------------------------------


class Hub:
    async def notify(self, to: Any, message: Any, over: Socket) -> None:
        await over.send_text(json.dumps(message))

    async def send_raw(self, message: Any, over: Socket) -> None:
        await over.send_text(json.dumps(message))


def play(one: Agent, act: Any, *users: Any) -> list[str]:
    """`act` with the sockets of users who are all connected; the verdicts."""

    async def main() -> None:
        there: list[Socket] = []
        all_there, done = asyncio.Event(), asyncio.Event()

        async def handler(socket: Socket) -> None:
            await socket.accept()
            there.append(socket)
            if len(there) == len(users):
                all_there.set()
            await all_there.wait()
            if socket is there[0]:
                try:
                    await act(*there)
                finally:
                    done.set()
            await done.wait()

        await asyncio.gather(*(one.run(handler, Socket(user)) for user in users))

    asyncio.run(main())
    return one.verdicts()


ALICE, BOB = {"username": "alice"}, {"username": "bob"}


def test_people_of_whom_only_the_name_is_known() -> None:
    async def act(alice: Socket, bob: Socket) -> None:
        hub = Hub()
        await hub.notify("alice", {"text": "x"}, alice)
        await hub.notify("bob", {"text": "x"}, alice)
        await alice.send_text('{"owner": "alice"}')
        await alice.send_text('{"owner": "bob"}')
        await alice.send_text('{"owner": "carol"}')  # nobody knows what that is
        await alice.send_text('{"owner": 17}')
        await alice.send_text('{"notes": [{"by": "alice"}, {"by": "bob"}]}')
        await alice.send_text('{"notes": [{"by": "alice"}]}')
        await bob.send_text('{"notes": [{"by": "alice"}, {"by": "bob"}]}')

    with agent(payload_owner=("owner", "notes[].by")) as one:
        one.patch(Hub)
        assert play(one, act, ALICE, BOB) == [
            *("match", "argument_vs_connection:probable"),
            *("match", PROBABLE, "unattributed:incomparable", "unattributed:incomparable"),
            *(PROBABLE, "match", PROBABLE),
        ]
        for record in one.frames():
            again = judge(record.evidence, record.kind, record.note)
            assert again == record.verdict


def test_a_dissent_beside_an_agreement_is_found() -> None:
    """What the caller says agrees; whose the content is could not be compared."""

    async def act(alice: Socket, bob: Socket) -> None:
        await Hub().notify("alice", {"owner": "bob"}, alice)
        await Hub().notify("alice", {"owner": "release-7"}, alice)

    with agent(payload_owner=("owner",)) as one:
        one.patch(Hub)
        assert play(one, act, ALICE, BOB) == [PROBABLE, "match"]


def test_whose_run_it_is_where_only_names_are_known() -> None:
    async def act(alice: Socket, bob: Socket) -> None:
        await Hub().notify("bob", {"run_id": "r-1"}, bob)
        await bob.send_text('{"run_id": "r-1"}')
        await alice.send_text('{"run_id": "r-1"}')

    with agent() as one:
        one.patch(Hub)
        assert play(one, act, ALICE, BOB) == ["match", "match", "resource_vs_connection:probable"]


def test_ones_own_words_may_name_somebody_else() -> None:
    async def act(alice: Socket, bob: Socket) -> None:
        await alice.send_text('{"owner": "bob", "sender": "alice"}')
        await alice.send_text('{"owner": "bob", "sender": "bob"}')

    with agent(payload_owner=("owner",)) as one:
        assert play(one, act, ALICE, BOB) == ["unattributed:no_evidence", PROBABLE]


def test_who_logs_in_by_a_message() -> None:
    async def act(alice: Socket, bob: Socket) -> None:
        for socket, name in ((alice, "alice"), (bob, "bob")):
            socket.incoming = [
                {
                    "type": "websocket.receive",
                    "text": json.dumps({"login": name, "token": "secret"}),
                }
            ]
            await socket._receive()
        await alice.send_text('{"owner": "alice"}')
        await alice.send_text('{"owner": "bob"}')

    with agent(payload_owner=("owner",)) as one:
        assert play(one, act, None, None) == ["match", "payload_vs_connection:suspected"]


def test_aliases_have_the_last_word() -> None:
    """A name that seems another's is one's own after all, as a declared function knows."""
    module_of("named", aliases=lambda person: ["bob"] if person == "alice" else [])

    async def act(alice: Socket, bob: Socket) -> None:
        await alice.send_text('{"owner": "bob"}')

    with agent(payload_owner=("owner",), identity_aliases="named:aliases") as one:
        assert play(one, act, ALICE, BOB) == ["match"]


def test_what_compares_today_asks_no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolved(*_: object) -> Any:
        raise AssertionError("nobody had to be asked")

    monkeypatch.setattr(People, "resolved", resolved)

    async def act(alice: Socket, bob: Socket) -> None:
        hub = Hub()
        for _ in range(3):
            await hub.notify("alice", {"user_id": "alice"}, alice)
            await alice.send_text('{"user_id": "alice"}')

    with agent() as one:
        one.patch(Hub)
        assert play(one, act, {"id": "alice"}, {"id": "bob"}) == ["match"] * 6


def test_whom_the_application_binds_is_known() -> None:
    async def act(alice: Socket, bob: Socket) -> None:
        one.runtime.bind(bob, {"username": "bob"}, None)
        await alice.send_text('{"owner": "bob"}')

    with agent(payload_owner=("owner",)) as one:
        assert play(one, act, ALICE, None) == [PROBABLE]


def test_who_streams_is_known_once_it_is_a_stream() -> None:
    with agent() as one:
        sink = one.runtime.sink
        cell, found = Cell(0, "sse"), connected("name:bob").held
        assert found is not None
        sink.bind(cell, {}, found)
        assert len(sink.people) == 0
        sink.opened(cell)
        assert len(sink.people) == 1


def test_the_end_of_a_connection_and_what_aliases_tell_reach_the_table() -> None:
    module_of("named", aliases=lambda person: [f"u-{person}"])

    async def act(alice: Socket, bob: Socket) -> None:
        await alice.send_text('{"user_id": "order-7"}')
        assert people._known["bob"].open == people._known["u-alice"].open == 1

    with agent(identity_aliases="named:aliases") as one:
        people = one.runtime.sink.people
        play(one, act, ALICE, BOB)
        assert {name: known.open for name, known in people._known.items()} == {
            "alice": 0,
            "bob": 0,
            "u-alice": 0,
        }


def test_a_forked_child_knows_nobody_its_parent_met() -> None:
    with agent() as one:
        people = one.runtime.sink.people
        play(one, lambda *_: asyncio.sleep(0), ALICE, BOB)
        assert len(people) == 2
        one.runtime.sink.forget()
        assert len(people) == 0


def test_two_connections_of_an_application_that_calls_people_by_two_kinds() -> None:
    """As a chat by name beside a feed by id: what each says of the other's people."""

    async def act(chat: Socket, feed: Socket, other: Socket) -> None:
        await chat.send_text('{"owner": "u-1"}')  # alice's id, known from her feed
        await chat.send_text('{"owner": "u-2"}')  # bob's id: nobody told alice's here
        await feed.send_text('{"owner": "bob"}')
        await feed.send_text('{"owner": "alice"}')
        await other.send_text('{"owner": "alice"}')

    users: Iterable[Any] = (
        ALICE,
        {"id": "u-1", "username": "alice"},
        {"id": "u-2", "username": "bob"},
    )
    with agent(payload_owner=("owner",)) as one:
        verdicts = play(one, act, *users)
    assert verdicts[0] == MATCH
    assert verdicts[1] == "unattributed:incomparable"
    assert verdicts[2:] == [PROBABLE, MATCH, PROBABLE]
