# SPDX-License-Identifier: Apache-2.0
"""Who was served first: what is learned of it, what it is held against, when it is silent."""

from __future__ import annotations

from itertools import count
from time import time_ns
from typing import Any

import pytest

from ws_audit.configuration.policy_tables import PolicyTable
from ws_audit.evidence.resources import Resources, Said
from ws_audit.evidence.served import COMMON, REPORTS, observers
from ws_audit.messages import behalf
from ws_audit.messages.payloads import named
from ws_audit.model import (
    ACCEPT,
    BROADCAST,
    CONTENT,
    EXCUSED,
    NONE,
    STRONG,
    SUSPECTED,
    VIOLATION,
    WEAK,
    Evidence,
    Resource,
    Verdict,
)
from ws_audit.principals.identity import Cell, principal
from ws_audit.verdict.judge import judge

ANN, BOB, EVE, DAN = "ann", "bob", "eve", "dan"
ORDER = Resource(("order_id", "7"), "order_id", joint=False)
TALK = Resource(("conversation", "c-7"), "conversation_id", joint=True)
both = pytest.mark.parametrize("resource", [ORDER, TALK], ids=["order", "talk"])

_number = count(1)


def of(user: str, strength: str = STRONG) -> Evidence:
    who = principal(user)
    assert who is not None
    return Evidence("connection", who, ACCEPT, "x", strength)


def said(**more: Any) -> Said:
    """A message nobody was named for; `text` and `task` make it the same as another one."""
    mark = (hash(more.pop("text", next(_number))), more.pop("task", next(_number)))
    facts = {"direct": False, "twice": False, "round": False, "personal": False, "answer": False}
    return Said(**{**facts, "asked": frozenset(), "mark": mark, **more})


def answer(**more: Any) -> Said:
    return said(answer=True, **more)


class Table:
    """The table as the sink uses it: asked of each delivery, and told of its verdict."""

    def __init__(self, limit: int = 1_000, observers: frozenset[str] = frozenset()) -> None:
        self.table = Resources(limit, observers)
        self.cells: dict[str, Cell] = {}

    def cell(self, user: str) -> Cell:
        return self.cells.setdefault(user, Cell(len(self.cells) + 1, "asgi"))

    def deliver(
        self,
        user: str,
        resource: Resource = ORDER,
        how: Said | None = None,
        *,
        connection: Evidence | None = None,
        cell: Cell | None = None,
        excused: str = "",
    ) -> str:
        """Deliver a message of it; the owner it was held against, empty if it was not."""
        how = how or said()
        connection = connection or of(user)
        cell = cell or self.cell(user)
        cell.held = connection
        evidence = (connection, *self.table.of((resource,), connection, how))
        verdict = judge(evidence, BROADCAST if how.round else NONE)
        if excused:
            verdict = Verdict(EXCUSED, excused)
        self.table.deliver((resource,), connection, how, cell, verdict)
        if verdict.verdict != VIOLATION:
            return ""
        (found,) = evidence[1:]
        assert found[:1] + found[2:6] == ("resource", CONTENT, resource.path, WEAK, False)
        assert (verdict.rule, verdict.severity) == ("resource_vs_connection", SUSPECTED)
        return found.principal.user


@both
def test_what_was_answered_to_one_is_theirs(resource: Resource) -> None:
    table = Table()
    assert table.deliver(ANN, resource, answer()) == ""
    assert table.deliver(ANN, resource) == ""
    assert table.deliver(EVE, resource) == ANN


def test_that_it_agrees_makes_nothing_right() -> None:
    table = Table()
    table.deliver(ANN, how=answer())
    assert table.table.of((ORDER,), of(ANN), said()) == []


def test_of_what_comes_unasked_a_second_message_says_whose_it_is() -> None:
    table = Table()
    table.deliver(ANN)
    assert table.deliver(EVE) == ""  # one message proves nothing, and now it went to two
    assert table.deliver(ANN) == table.deliver(ANN) == table.deliver(EVE) == ""

    table = Table()
    table.deliver(ANN, how=said(text="same"))
    table.deliver(ANN, how=said(text="same"))
    assert table.deliver(EVE) == ""

    table = Table()
    table.deliver(ANN)
    table.deliver(ANN)
    assert table.deliver(EVE) == ANN


@both
@pytest.mark.parametrize("what", ["text", "task"])
def test_what_goes_round_word_for_word_or_from_one_task_is_everybodys(
    what: str, resource: Resource
) -> None:
    table = Table()
    table.deliver(ANN, resource, answer(**{what: 1}))
    for user in (BOB, EVE, BOB):
        assert table.deliver(user, resource, said(**{what: 1})) == ""
    assert table.deliver(BOB, resource) == ""


def test_the_same_text_again_is_no_excuse_where_it_was_ones_alone() -> None:
    table = Table()
    table.deliver(ANN, how=said(text="packed"))
    table.deliver(ANN, how=said(text="sent"))
    assert table.deliver(EVE, how=said(text="packed")) == ANN  # a replay to somebody else


def test_what_a_task_sends_on_somebody_elses_behalf_teaches_nothing() -> None:
    table = Table()
    table.deliver(BOB, how=said(answer=None))
    assert len(table.table) == 0


@pytest.mark.parametrize("user", ["guest-1", "support-1", "17"])
def test_guests_and_observers_own_nothing(user: str) -> None:
    tables = (
        PolicyTable(1, "impersonation", "x", users=("support-1",)),
        PolicyTable(2, "system", "x", users=("017",)),
        PolicyTable(3, "broadcast", "x", events=("x",)),
    )
    assert observers(tables) == {"support-1", "17"}
    table = Table(observers=observers(tables))
    table.deliver(user, how=answer())
    table.deliver(user, how=answer())
    assert table.deliver(EVE) == ""


def test_what_a_task_answers() -> None:
    cell, now = Cell(1, "asgi"), time_ns()
    cell.held = of(ANN)
    try:
        assert behalf.begin(cell, now).answers(of(ANN)) is True
        assert behalf.begin(cell, now).answers(of(BOB)) is None
        assert behalf.begin(cell).answers(of(ANN)) is False  # connected, and has asked nothing
        assert behalf.begin(cell, now - behalf.ANSWER_NS).answers(of(ANN)) is False
        writer = behalf.begin(cell)
        behalf.begin(cell, now)  # another task of the same connection
        assert writer.answers(of(ANN)) is True
    finally:
        behalf.nobody()


def test_what_may_name_somebody_else_teaches_nothing() -> None:
    table = Table()
    table.deliver(ANN, how=answer(unclear=True))
    assert len(table.table) == 0


def test_who_is_only_claimed_owns_nothing() -> None:
    table = Table()
    for _ in range(2):
        table.deliver(ANN, how=answer(), connection=of(ANN, WEAK))
    assert table.deliver(EVE) == ""


def test_somebody_who_logs_in_keeps_what_the_connection_was_told_of() -> None:
    table = Table()
    cell = table.cell("visitor")
    table.deliver("v-1", how=answer(), cell=cell)
    assert table.deliver(ANN, cell=cell) == ""
    assert table.deliver(ANN) == ""  # reconnected
    assert table.deliver(EVE) == ANN


@both
def test_the_first_of_them_is_told_and_then_it_is_nobodys(resource: Resource) -> None:
    table = Table()
    table.deliver(ANN, resource, answer())
    assert table.deliver(EVE, resource) == ANN
    assert table.deliver(BOB, resource) == ""  # the second beside its owner
    for user in (EVE, BOB, ANN, DAN):
        assert table.deliver(user, resource) == ""


def test_what_goes_on_with_another_was_handed_over() -> None:
    table = Table()
    table.deliver(ANN, how=answer())
    told = [table.deliver(EVE) for _ in range(REPORTS + 5)]
    assert told == [ANN] * REPORTS + [""] * 5


def test_a_room_or_a_broadcast() -> None:
    table = Table()
    table.deliver(ANN, TALK, answer())
    assert table.deliver(ANN, TALK, said(round=True)) == ""
    assert table.deliver(EVE, TALK) == ""  # it has a room
    other = TALK._replace(key=("conversation", "c-8"))
    table.deliver(ANN, other, answer())
    assert table.deliver(EVE, other, said(round=True)) == table.deliver(EVE, other) == ""
    # What only one may have is not everybody's because it was broadcast ...
    table.deliver(ANN, how=answer(task=1))
    assert table.deliver(ANN, how=said(round=True, text="done", task=1)) == ""
    assert table.deliver(EVE, how=said(round=True, text="done", task=1)) == ANN
    # ... unless that was how it began.
    other = ORDER._replace(key=("order_id", "8"))
    table.deliver(ANN, other, said(round=True))
    table.deliver(ANN, other, answer())
    assert table.deliver(EVE, other) == ""


@both
@pytest.mark.parametrize("how", ["personal", "twice", "direct", "unclear"])
def test_whoever_is_named_or_spoken_to_may_have_it(how: str, resource: Resource) -> None:
    table = Table()
    table.deliver(ANN, resource, answer())
    assert table.deliver(EVE, resource, said(**{how: True})) == ""
    assert table.deliver(EVE, resource) == ""


@pytest.mark.parametrize(
    ("policy", "still"),
    [("share", ""), ("room", ""), ("broadcast", ""), ("impersonation", ANN), ("system", ANN)],
)
def test_what_a_policy_shares_is_nobodys(policy: str, still: str) -> None:
    table = Table()
    table.deliver(ANN, how=answer())
    table.deliver(BOB, excused=policy)
    assert table.deliver(EVE) == still
    first = Table()
    first.deliver(BOB, excused="share")
    first.deliver(ANN, how=answer())
    assert first.deliver(EVE) == ""


def test_a_leak_for_other_reasons_shares_nothing() -> None:
    table = Table()
    table.deliver(ANN, how=answer())
    other = Evidence("payload", of(DAN).principal, CONTENT, "user_id", STRONG)
    verdict = judge((of(EVE), other), NONE)
    table.table.deliver((ORDER,), of(EVE), said(), table.cell(EVE), verdict)
    assert table.deliver(BOB) == ANN


def test_who_cannot_be_compared_may_be_the_same() -> None:
    table = Table()
    table.deliver(ANN, how=answer())
    assert table.deliver("ann@x.org") == ""
    assert table.deliver(EVE) == ""


def test_things_that_people_mostly_share_say_nothing() -> None:
    table = Table()
    told = []
    for number in range(COMMON + 5):
        ticket = Resource(("ticket", str(number)), "ticket", False)
        table.deliver(ANN, ticket, answer())
        told.append(table.deliver(BOB, ticket))
        table.deliver(EVE, ticket)
    assert told == [ANN] * COMMON + [""] * 5
    # Of another sort that says nothing.
    table.deliver(ANN, how=answer())
    assert table.deliver(BOB) == ANN


def test_a_few_leaks_among_many_do_not_make_them_common() -> None:
    table = Table()
    orders = [Resource(("order_id", str(number)), "order_id", False) for number in range(100)]
    for order in orders:
        table.deliver(ANN, order, answer())
    told = [(table.deliver(EVE, order), table.deliver(DAN, order)) for order in orders[:20]]
    assert told == [(ANN, "")] * 20


# --- beside what is known better ------------------------------------------------------------------


def test_what_a_call_says_takes_its_place() -> None:
    table = Table()
    table.deliver(ANN, how=answer())
    how = said(direct=True)
    scope = {"path": "/ws", "query_string": b""}
    table.table.learn((ORDER,), of(BOB), how, table.cell(BOB), scope)
    assert len(table.table.served) == 0
    (found,) = table.table.of((ORDER,), of(EVE), said())
    assert found.principal.user == BOB


def test_a_client_that_names_what_it_was_served_has_said_so_itself() -> None:
    table = Table()
    table.deliver(ANN, how=answer())
    table.table.claim(table.cell(ANN), of(ANN), (ORDER,))
    assert len(table.table.served) == 0
    table.table.claim(table.cell(EVE), of(EVE), (ORDER,))  # too late
    (found,) = table.table.of((ORDER,), of(EVE), said())
    assert (found.principal.user, found.at) == (ANN, "inbound")


@pytest.mark.parametrize("before", [[ANN], [ANN, ANN], [ANN, EVE]])
def test_a_client_that_names_what_others_were_served_has_no_say(before: list[str]) -> None:
    table = Table()
    for user in before:
        table.deliver(user)
    table.table.claim(table.cell(BOB), of(BOB), (ORDER,))
    assert table.table._claimed == {}
    assert table.deliver(ANN) == ""


def test_what_was_claimed_first_is_not_learned() -> None:
    table = Table()
    table.table.claim(table.cell(EVE), of(EVE), (ORDER,))
    table.table.deliver((ORDER,), of(ANN), answer(), table.cell(ANN), Verdict("unattributed"))
    assert len(table.table.served) == 0


def test_it_is_bounded_and_what_was_pushed_out_says_nothing() -> None:
    table = Table(limit=40)
    orders = [Resource(("order_id", str(number)), "order_id", False) for number in range(100)]
    for order in orders:
        table.deliver(ANN, order, answer())
    assert len(table.table) == 10
    assert table.deliver(EVE, orders[-1]) == ANN
    late = orders[85]
    assert table.deliver(BOB, late, answer()) == ""  # not learned anew
    assert table.deliver(ANN, late) == ""
    assert len(table.table.served._gone) <= 10


def test_it_keeps_no_connection_alive() -> None:
    table = Table()
    table.deliver(ANN, how=answer())
    table.cells.clear()
    assert table.deliver(EVE) == ANN


# --- ids ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "sort"),
    [
        ("order_id", "order_id"),
        ("data.order_id", "order_id"),
        ("data.ref", "ref"),
        ("ref", "ref"),
        ("id", "id"),
        ("order.id", "order.id"),
        ("data.order.id", "order.id"),
        ("ticket.number", "ticket.number"),
    ],
)
def test_a_number_is_one_as_text_and_of_its_own_sort(path: str, sort: str) -> None:
    for value in (7, "7"):
        found = named(value, path)
        assert found is not None
        assert found.key == (sort, "7")
