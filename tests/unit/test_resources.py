# SPDX-License-Identifier: Apache-2.0
"""Who owns a run or conversation: how it is learned, when it says nothing, what a liar can do."""

from __future__ import annotations

from itertools import count

import pytest

from ws_audit.evidence.resources import CLAIMS, Resources, Said
from ws_audit.messages.payloads import named
from ws_audit.model import (
    ACCEPT,
    CALL,
    INBOUND,
    MEDIUM,
    STRONG,
    WEAK,
    Evidence,
    Resource,
)
from ws_audit.principals.identity import Cell, principal

ANN, BOB, EVE, DAN, FAY = "ann", "bob", "eve", "dan", "fay"
RUN = Resource(("run", "r-17"), "run_id", joint=False)
TALK = Resource(("conversation", "c-17"), "conversation_id", joint=True)
both = pytest.mark.parametrize("resource", [RUN, TALK], ids=["run", "conversation"])


_number = count(1)


def of(user: str) -> Evidence:
    who = principal(user)
    assert who is not None
    return Evidence("connection", who, ACCEPT, "x", STRONG)


def said(
    *,
    direct: bool = True,
    twice: bool = False,
    round: bool = False,  # noqa: A002
    personal: bool = False,
    asked: Resource | None = None,
    text: str = "",
) -> Said:
    keys = frozenset() if asked is None else frozenset([asked.key])
    return Said(direct, twice, round, personal, keys, (hash(text or next(_number)), 1))


class Table:
    """A table as the sink uses it: asked of each delivery, and taught by those that match."""

    def __init__(self, limit: int = 1_000) -> None:
        self.table = Resources(limit)
        self.cells: dict[str, Cell] = {}

    def cell(self, user: str) -> Cell:
        return self.cells.setdefault(user, Cell(len(self.cells) + 1, "asgi"))

    def claim(self, user: str, *resources: Resource) -> None:
        self.table.claim(self.cell(user), of(user), resources)

    def deliver(
        self, user: str, resource: Resource, how: Said | None = None, path: str = "/ws"
    ) -> str:
        """Deliver a message of the resource to a user; what was said of that, before it."""
        how = how or said()
        connection = of(user)
        done, one = self.table.quick((resource,), connection.principal, how.mark)
        evidence = [one] if one else []
        if not done:
            evidence = self.table.of((resource,), connection, how)
        dissents = [item for item in evidence if item.principal.user != user]
        if how.direct and not how.round and not dissents:
            scope = {"path": path, "query_string": b""}
            self.table.learn((resource,), connection, how, self.cell(user), scope)
        if not evidence:
            return ""
        (item,) = evidence
        assert (item.name, item.at, item.attests) in (
            ("resource", CALL, True),
            ("resource", INBOUND, False),
        )
        assert item.source == resource.path
        assert (item.at == INBOUND) <= (item.strength == WEAK)
        return f"{item.principal.user} {item.strength}"


# --- learned at a call --------------------------------------------------------------------------


@both
def test_the_first_user_it_was_sent_to_by_name_owns_it(resource: Resource) -> None:
    table = Table()
    assert table.deliver(ANN, resource) == ""  # never used against what it is learned from
    assert table.deliver(ANN, resource) == f"ann {MEDIUM}"
    assert table.deliver(BOB, resource, said(direct=False)) == f"ann {MEDIUM}"
    assert table.deliver(BOB, resource) == f"ann {MEDIUM}"
    assert table.deliver(ANN, resource) == f"ann {MEDIUM}"


def test_what_nobody_was_named_for_teaches_nothing() -> None:
    table = Table()
    table.deliver(ANN, RUN, said(direct=False))
    table.deliver(ANN, RUN, said(round=True))
    assert table.deliver(BOB, RUN, said(direct=False)) == ""
    assert len(table.table) == 0


def test_to_a_room_it_is_weak() -> None:
    table = Table()
    table.deliver(ANN, RUN)
    assert table.deliver(BOB, RUN, said(direct=False, round=True)) == f"ann {WEAK}"
    assert table.deliver(BOB, RUN, said(direct=False)) == f"ann {MEDIUM}"


# --- what several people have -------------------------------------------------------------------


def test_people_speak_to_each_other_in_a_conversation() -> None:
    table = Table()
    table.deliver(ANN, TALK)
    assert table.deliver(BOB, TALK, said(direct=False, personal=True)) == ""
    assert table.deliver(EVE, TALK, said(direct=False)) == ""  # it says nothing any more
    assert table.deliver(ANN, TALK) == ""


def test_but_not_in_a_run() -> None:
    table = Table()
    table.deliver(ANN, RUN)
    assert table.deliver(BOB, RUN, said(direct=False, personal=True)) == f"ann {MEDIUM}"


def test_the_same_text_to_several_by_name_is_theirs_together() -> None:
    table = Table()
    table.deliver(ANN, TALK, said(text="renamed"))
    assert table.deliver(BOB, TALK, said(text="renamed")) == ""
    assert table.deliver(EVE, TALK, said(direct=False)) == ""


def test_another_text_is_not() -> None:
    table = Table()
    table.deliver(ANN, TALK, said(text="one"))
    assert table.deliver(BOB, TALK, said(text="two")) == f"ann {MEDIUM}"


def test_a_run_is_one_persons_word_for_word() -> None:
    table = Table()
    table.deliver(ANN, RUN, said(text="same"))
    assert table.deliver(BOB, RUN, said(text="same")) == f"ann {MEDIUM}"


@both
def test_one_that_caller_and_content_give_to_somebody_else_is_shared(resource: Resource) -> None:
    table = Table()
    table.deliver(ANN, resource)
    assert table.deliver(BOB, resource, said(twice=True)) == ""
    assert table.deliver(EVE, resource, said(direct=False)) == ""


@both
def test_unless_a_client_has_asked_for_it(resource: Resource) -> None:
    table = Table()
    table.deliver(ANN, resource)
    assert table.deliver(BOB, resource, said(twice=True, asked=resource)) == f"ann {WEAK}"
    assert table.deliver(BOB, resource, said(asked=resource)) == f"ann {MEDIUM}"


@both
def test_one_that_goes_to_everybody_by_name_is_everybodys(resource: Resource) -> None:
    table = Table()
    table.deliver(ANN, resource)
    told = [table.deliver(user, resource) for user in (BOB, BOB, EVE, BOB, DAN, BOB, FAY)]
    assert told == [f"ann {MEDIUM}"] * 4 + [""] * 3


# --- learned from clients -----------------------------------------------------------------------


@both
def test_the_first_client_to_name_it_is_suspected_to_own_it(resource: Resource) -> None:
    table = Table()
    table.claim(ANN, resource)
    assert table.deliver(BOB, resource, said(direct=False)) == f"ann {WEAK}"


def test_what_the_server_only_repeats_is_not_learned_from_it() -> None:
    table = Table()
    table.claim(EVE, RUN)
    for _ in range(3):
        assert table.deliver(EVE, RUN) == f"eve {WEAK}"
    assert table.deliver(ANN, RUN, said(direct=False)) == f"eve {WEAK}"


@pytest.mark.parametrize("path", ["/ws/r-17", "/ws/eve/r-17/x"])
def test_nor_is_what_stands_in_the_address(path: str) -> None:
    table = Table()
    table.deliver(EVE, RUN, path=path)
    assert table.deliver(ANN, RUN, said(direct=False)) == ""
    table.deliver(DAN, RUN, path="/ws/r-170")
    assert table.deliver(ANN, RUN, said(direct=False)) == f"dan {MEDIUM}"


def test_the_server_knows_better_than_a_liar() -> None:
    table = Table()
    table.claim(EVE, RUN)
    assert table.deliver(ANN, RUN) == ""  # named by the server, claimed by a client
    assert table.deliver(ANN, RUN) == f"ann {MEDIUM}"
    assert table.deliver(EVE, RUN, said(direct=False)) == f"ann {MEDIUM}"


def test_a_claim_against_a_known_owner_is_nothing() -> None:
    table = Table()
    table.deliver(ANN, RUN)
    table.claim(EVE, RUN)
    assert table.deliver(ANN, RUN) == f"ann {MEDIUM}"
    assert table.deliver(EVE, RUN, said(direct=False)) == f"ann {MEDIUM}"


def test_what_two_clients_claim_is_nobodys() -> None:
    table = Table()
    table.claim(EVE, RUN)
    table.claim(ANN, RUN)
    for user in (ANN, EVE, BOB):
        assert table.deliver(user, RUN, said(direct=False)) == ""
    table.deliver(EVE, RUN)  # repeated to one of the two: as good as their own word
    assert table.deliver(ANN, RUN, said(direct=False)) == ""
    table.deliver(DAN, RUN)  # somebody who never claimed it: the server's own word
    assert table.deliver(ANN, RUN, said(direct=False)) == f"dan {MEDIUM}"


def test_a_second_claim_to_what_the_server_has_answered_changes_nothing() -> None:
    table = Table()
    table.claim(ANN, TALK)
    assert table.deliver(ANN, TALK, said(direct=False)) == f"ann {WEAK}"
    table.claim(EVE, TALK)  # asks for somebody else's
    assert table.deliver(EVE, TALK, said(direct=False, asked=TALK)) == f"ann {WEAK}"
    assert table.deliver(EVE, TALK, said(asked=TALK)) == f"ann {WEAK}"
    assert table.deliver(EVE, TALK, said(twice=True)) == ""


def test_what_a_crowd_claims_is_nobodys_for_good() -> None:
    table = Table()
    table.claim(ANN, RUN)
    table.deliver(ANN, RUN, said(direct=False))
    for number in range(20):
        table.claim(f"liar-{number}", RUN)
    assert table.deliver(BOB, RUN, said(direct=False)) == ""
    table.deliver("liar-3", RUN)
    assert table.deliver(BOB, RUN, said(direct=False)) == ""


def test_a_conversation_of_clients_is_shared_once_they_speak() -> None:
    table = Table()
    table.claim(ANN, TALK)
    assert table.deliver(BOB, TALK, said(direct=False, personal=True)) == ""
    assert table.deliver(BOB, TALK, said(direct=False)) == ""


# --- bounds -------------------------------------------------------------------------------------


def runs(number: int, first: int = 0) -> list[Resource]:
    return [Resource(("run", f"r-{n}"), "run_id", False) for n in range(first, first + number)]


def test_what_was_pushed_out_says_nothing_and_is_not_learned_anew() -> None:
    table = Table(limit=20)
    for one in runs(100):
        table.deliver(ANN, one)
    assert len(table.table) == 10
    old, new = runs(1)[0], runs(1, 99)[0]
    assert table.deliver(BOB, new, said(direct=False)) == f"ann {MEDIUM}"
    # The first ones fell out so long ago that even that is forgotten; these are remembered.
    late = runs(1, 85)[0]
    assert table.deliver(BOB, late) == ""
    assert table.deliver(ANN, late) == ""
    table.claim(BOB, late)
    assert table.deliver(ANN, late, said(direct=False)) == ""
    assert table.deliver(BOB, old, said(direct=False)) == ""


def test_what_is_in_use_stays() -> None:
    table = Table(limit=20)
    kept = runs(1)[0]
    table.deliver(ANN, kept)
    for one in runs(200, 1):
        table.deliver(ANN, one)
        assert table.deliver(BOB, kept, said(direct=False)) == f"ann {MEDIUM}"


def test_a_flood_of_claims_pushes_out_no_word_of_the_server() -> None:
    table = Table(limit=200)
    table.deliver(ANN, RUN)
    for number in range(50):
        table.claim(f"liar-{number}", *runs(100, number * 100))
    assert len(table.table) <= 101
    assert len(table.table._gone_claimed) <= 100
    assert table.deliver(BOB, RUN, said(direct=False)) == f"ann {MEDIUM}"


def test_one_connection_owns_so_many_and_no_more() -> None:
    table = Table(limit=1_000_000)
    flood = runs(CLAIMS + 50)
    table.claim(EVE, *flood)
    assert len(table.table) == CLAIMS
    assert table.deliver(ANN, flood[CLAIMS - 1], said(direct=False)) == f"eve {WEAK}"
    # What was named past that is nobody's, also if the server repeats it.
    last = flood[-1]
    table.deliver(EVE, last)
    assert table.deliver(ANN, last, said(direct=False)) == ""


def test_threads_the_server_spoke_of_are_known_as_long_as_they_are_kept() -> None:
    table = Table(limit=20)
    thread = Resource(("thread", "t-1"), "thread_id", True)
    table.claim(EVE, Resource(("thread", "ann"), "thread_id", True))
    assert table.table.threads == set()
    table.deliver(ANN, thread)
    table.deliver(ANN, TALK)
    assert table.table.threads == {"t-1"}
    for one in runs(50):
        table.deliver(ANN, one)
    assert "t-1" not in table.table.threads
    assert len(table.table.threads) <= 10


# --- ids ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "path", "expected"),
    [
        ("r-17", "data.run_id", (("run", "r-17"), False)),
        (17, "runId", (("run", "17"), False)),
        ("c1", "chat_id", (("chat", "c1"), True)),
        ("d1", "document_id", (("document_id", "d1"), False)),
        ("abcdefghijklmnopqrstuvwx", "thread_id", (("thread", "abcdefghijklmnopqrstuvwx"), True)),
        ("default", "thread_id", None),  # everybody's
        ("", "run_id", None),
        ("1" * 129, "run_id", None),
        (True, "run_id", None),
        (-1, "run_id", None),
        (1 << 64, "run_id", None),
        (1.5, "run_id", None),
        (["r-17"], "run_id", None),
        ({"id": "r-17"}, "run_id", None),
    ],
)
def test_what_is_an_id(value: object, path: str, expected: object) -> None:
    found = named(value, path)
    assert (found and (found.key, found.joint)) == expected
    assert found is None or found.path == path
