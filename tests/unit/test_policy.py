# SPDX-License-Identifier: Apache-2.0
"""What each policy excuses and what not; that nothing is excused without a positive match."""

from __future__ import annotations

import calendar
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.test_judge import argument, connection, instance, payload, told
from ws_audit.configuration.policy_tables import PolicyTable
from ws_audit.model import (
    BROADCAST,
    CALL,
    CONFIRMED,
    CONTENT,
    EXCUSED,
    MEDIUM,
    NONE,
    SEND,
    STRONG,
    UNATTRIBUTED,
    VIOLATION,
    WEAK,
    Evidence,
    Inputs,
    Principal,
    Verdict,
)
from ws_audit.principals.identity import DIFFERENT, SAME, agree, principal
from ws_audit.verdict.excuses import Members
from ws_audit.verdict.judge import judge
from ws_audit.verdict.policy import EXCUSES, Policies, as_recorded, until_ns

A, B, C = "alice", "bob", "carol"
PRESENCE = PolicyTable(1, "broadcast", "x", events=("presence.*", "joined"))
ROOM = PolicyTable(2, "room", "x", events=("chat.*",), membership="app:members", where="room")
SHARE = PolicyTable(3, "share", "x", membership="app:readers", where="document_id")
SUPPORT = PolicyTable(4, "impersonation", "x", users=("support-1", "17"))
SYSTEM = PolicyTable(5, "system", "x", users=("system", "Bot@X.org"))
ALL = (PRESENCE, ROOM, SHARE, SUPPORT, SYSTEM)

Belongs = Callable[[str, str], bool]


def yes(membership: str, where: str) -> bool:
    return True


def no(membership: str, where: str) -> bool:
    return False


def never(membership: str, where: str) -> bool:
    raise AssertionError("nobody had to be asked")


def resource(user: object) -> Evidence:
    return payload(user)._replace(name="resource", at=CALL, strength=MEDIUM)


def context(user: object) -> Evidence:
    return payload(user)._replace(name="context", at=CALL, strength=WEAK)


def canary(user: object) -> Evidence:
    return payload(user)._replace(name="canary", at=CONTENT, strength=STRONG)


def excused(
    tables: tuple[PolicyTable, ...],
    evidence: tuple[Evidence, ...],
    event: str = "",
    belongs: Belongs = never,
    kind: str = SEND,
    time_ns: int = 1,
    verdict: Verdict | None = None,
) -> list[str]:
    """The kinds of the policies that excuse it."""
    verdict = verdict or judge(evidence, kind)
    rules = Policies(tables).excuse(verdict, evidence, event, time_ns, belongs)
    return [rule.kind for rule in rules]


# --- broadcast ------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", ["presence.online", "presence.", "joined"])
@pytest.mark.parametrize("kind", [BROADCAST, NONE, SEND])
def test_a_declared_event_may_be_about_somebody_else(event: str, kind: str) -> None:
    assert excused((PRESENCE,), (connection(A), payload(B)), event, kind=kind) == ["broadcast"]


@pytest.mark.parametrize("event", ["", "presence", "Presence.online", "joined.twice", "chat"])
def test_another_event_may_not(event: str) -> None:
    assert excused((PRESENCE,), (connection(A), payload(B)), event) == []


def test_a_broadcast_that_names_nobody_is_excused_if_declared() -> None:
    evidence = (connection(A),)
    assert judge(evidence, BROADCAST).reason == "undeclared_broadcast"
    assert excused((PRESENCE,), evidence, "joined", kind=BROADCAST) == ["broadcast"]
    assert excused((PRESENCE,), evidence, "left", kind=BROADCAST) == []
    assert excused((PRESENCE,), evidence, "joined", kind=NONE) == ["broadcast"]


def test_to_nobody_knows_whom_nothing_is_excused() -> None:
    assert excused(ALL, (payload(B),), "joined", yes, BROADCAST) == []
    assert excused(ALL, (), "joined", yes, BROADCAST) == []


@pytest.mark.parametrize("note", ["opaque_payload", "unreadable_payload", "limit"])
def test_what_could_not_be_read_is_not_excused(note: str) -> None:
    verdict = judge((connection(A),), SEND, note)
    assert excused(ALL, (connection(A),), "joined", yes, verdict=verdict) == []


# --- the caller's word, and canaries --------------------------------------------------------------


@pytest.mark.parametrize("tables", [(PRESENCE,), (ROOM,), (SHARE,), (PRESENCE, ROOM, SHARE)])
def test_a_message_for_somebody_else_stays_a_leak_whatever_it_is_about(
    tables: tuple[PolicyTable, ...],
) -> None:
    """`send_to_user("bob", ...)` that goes to alice: that the event is public says nothing."""
    event = "chat.x" if tables == (ROOM,) else "joined"
    evidence = (connection(A), argument(B), payload(B))
    assert judge(evidence, SEND).severity == CONFIRMED
    assert excused(tables, evidence, event, yes) == []
    assert excused(tables, (connection(A), argument(B)), event, yes) == []
    # ... nor does a broadcast's inner argument become harmless.
    inner = (connection(A), argument(B, attests=False))
    assert excused(tables, inner, event, yes, BROADCAST) == []


def test_a_canary_is_never_excused() -> None:
    assert not any("canary" in names for names in EXCUSES.values())
    held = connection("support-1")
    verdict = Verdict(VIOLATION, "", "canary", CONFIRMED, canary("system"))
    for evidence in ((held, canary("system")), (held, canary("system"), payload("system"))):
        assert excused(ALL, evidence, "joined", yes, verdict=verdict) == []


@pytest.mark.parametrize("rule", ["thread_as_user", "shared_state", "rebound_connection"])
def test_what_is_no_disagreement_with_a_connection_is_not_excused(rule: str) -> None:
    verdict = Verdict(VIOLATION, "", rule, "hygiene", payload("system"))
    evidence = (connection("support-1"), payload("system"))
    assert excused(ALL, evidence, "joined", yes, verdict=verdict) == []


def test_every_dissent_must_be_excused() -> None:
    evidence = (connection(A), payload("system"), instance(B))
    assert excused((SYSTEM,), evidence) == []
    assert excused((SYSTEM, PRESENCE), evidence, "joined") == ["system", "broadcast"]
    assert excused((SYSTEM, SHARE), evidence, "x", yes) == ["system", "share"]


@pytest.mark.parametrize("made", [payload, instance, resource, context])
def test_what_the_message_is_about_can_be_excused(made: Callable[[object], Evidence]) -> None:
    verdict = Verdict(VIOLATION, "", f"{made(B).name}_vs_connection", "probable", made(B))
    evidence = (connection(A), made(B))
    for table, event in ((PRESENCE, "joined"), (ROOM, "chat.x"), (SHARE, "")):
        (kind,) = excused((table,), evidence, event, yes, verdict=verdict)
        assert kind == table.kind


def test_for_whom_the_task_runs_had_no_say_where_others_had() -> None:
    evidence = (connection(A), payload("system"), context(B))
    verdict = Verdict(VIOLATION, "", "payload_vs_connection", "probable", payload("system"))
    assert excused((SYSTEM,), evidence, verdict=verdict) == ["system"]
    alone = Verdict(VIOLATION, "", "context_vs_connection", "suspected", context(B))
    assert excused((SYSTEM,), (connection(A), context(B)), verdict=alone) == []
    assert excused((PRESENCE,), (connection(A), context(B)), "joined", verdict=alone) == [
        "broadcast"
    ]


def test_a_thread_that_stands_for_a_user_is_nobody_to_excuse() -> None:
    thread = payload("t-1")._replace(name="thread_as_user")
    evidence = (connection(A), payload("system"), thread)
    verdict = Verdict(VIOLATION, "", "payload_vs_connection", "probable", payload("system"))
    assert excused((SYSTEM,), evidence, verdict=verdict) == ["system"]


# --- rooms and shares -----------------------------------------------------------------------------


@pytest.mark.parametrize(("table", "event"), [(ROOM, "chat.message"), (SHARE, "anything")])
def test_a_member_may_see_what_others_wrote_there(table: PolicyTable, event: str) -> None:
    asked: list[tuple[str, str]] = []

    def members(membership: str, where: str) -> bool:
        asked.append((membership, where))
        return True

    evidence = (connection(A), payload(B))
    assert excused((table,), evidence, event, members) == [table.kind]
    assert asked == [(table.membership, table.where)]
    assert excused((table,), evidence, event, no) == []
    assert excused((table,), (connection(A),), event, yes, BROADCAST) == [table.kind]
    assert excused((table,), (connection(A),), event, no, BROADCAST) == []


def test_nobody_is_asked_where_the_answer_would_change_nothing() -> None:
    evidence = (connection(A), payload(B))
    assert excused((ROOM,), evidence, "presence.x") == []  # another event
    assert excused((ROOM,), (connection(A), argument(B), payload(B)), "chat.x") == []
    assert excused((ROOM,), (connection(A), payload(B), argument(B)), "chat.x") == []
    assert excused((ROOM, PRESENCE._replace(events=("*",))), evidence, "chat.x") == ["broadcast"]


def test_members_are_people_not_texts() -> None:
    def who(user: object, tenant: str | None = None) -> Principal:
        found = principal(user, "id", tenant)
        assert found is not None
        return found

    members = Members([who(17), who("ALICE@x.org"), who("bob", "acme")])
    assert who("17") in members
    assert who("Alice@X.org") in members
    assert who(18) not in members
    assert who("alice") not in members
    assert who(17, "acme") in members  # nothing is said of 17's tenant
    assert who("bob") in members
    assert who("bob", "acme") in members
    assert who("bob", "evil") not in members


# --- impersonation and system -----------------------------------------------------------------


def test_a_support_console_sees_what_is_meant_for_the_customer() -> None:
    for actor in ("support-1", 17):
        evidence = (connection(actor), argument(B), payload(B), instance(B))
        assert excused((SUPPORT,), evidence) == ["impersonation"] * 3
    assert excused((SUPPORT,), (connection(A), argument("support-1"))) == []
    assert excused((SUPPORT,), (connection("support-2"), payload(B))) == []


def test_an_alias_of_the_actor_is_the_actor() -> None:
    alias = principal(17)
    assert alias is not None
    evidence = (connection("auth0|x", aliases=(alias,)), payload(18))
    assert excused((SUPPORT,), evidence) == ["impersonation"]


def test_who_only_says_that_he_is_support_is_not() -> None:
    assert excused((SUPPORT,), (connection("support-1", strength=WEAK), payload(B))) == []


def test_to_support_what_names_nobody_is_still_unknown() -> None:
    assert excused((SUPPORT,), (connection("support-1"),), kind=BROADCAST) == []


def test_what_belongs_to_the_system_belongs_to_nobody_else() -> None:
    for made in (payload, argument, instance):
        assert excused((SYSTEM,), (connection(A), made("system"))) == ["system"]
        assert excused((SYSTEM,), (connection(A), made("sys"))) == []
    assert excused((SYSTEM,), (connection(A), payload(B), argument("system"))) == []
    assert excused((SYSTEM,), (connection("system"), payload(B))) == []
    assert excused((SYSTEM,), (connection(A),), kind=BROADCAST) == []


def test_identifiers_are_compared_in_their_canonical_form() -> None:
    evidence = (connection(17), payload("bot@x.ORG"))
    assert judge(evidence, SEND).reason == "incomparable"
    assert excused((SYSTEM,), evidence) == ["system"]


# --- expiry ---------------------------------------------------------------------------------------


def test_a_policy_holds_to_the_end_of_its_last_day() -> None:
    table = PRESENCE._replace(expires="2027-06-30")
    end = calendar.timegm((2027, 7, 1, 0, 0, 0)) * 10**9
    assert until_ns(table) == end
    assert until_ns(PRESENCE) == 0
    evidence = (connection(A), payload(B))
    assert excused((table,), evidence, "joined", time_ns=end - 1) == ["broadcast"]
    assert excused((table,), evidence, "joined", time_ns=end) == []
    # One that has ended stands in no other's way.
    assert excused((table, PRESENCE), evidence, "joined", time_ns=end) == ["broadcast"]


# --- judging again --------------------------------------------------------------------------------


def test_a_record_is_judged_again_by_what_it_carries() -> None:
    evidence = (connection(A), payload(B))
    inputs = Inputs("chat.message", (("app:members", "room", True),))
    assert excused((ROOM,), evidence, inputs.event, as_recorded(inputs)) == ["room"]
    for answers in ((), (("app:members", "room", False),), (("app:other", "room", True),)):
        other = inputs._replace(answers=answers)
        assert excused((ROOM,), evidence, inputs.event, as_recorded(other)) == []


# --- properties -----------------------------------------------------------------------------------

people = st.sampled_from([A, B, C, "system", "support-1", 17, 18, "auth0|abc", "a@x.org"])
makers = st.sampled_from([argument, payload, instance, resource, context])
pieces = st.builds(lambda make, user: make(user), makers, people)
connections = st.builds(
    lambda user, strength: connection(user, strength=strength),
    people,
    st.sampled_from([STRONG, WEAK]),
)
kinds = st.sampled_from([SEND, BROADCAST, NONE])
events = st.sampled_from(["", "joined", "presence.x", "chat.x", "other"])
some = st.lists(st.sampled_from(ALL), unique=True).map(tuple)


def positive(table: PolicyTable, held: Evidence, item: Evidence | None, event: str) -> bool:
    """In other words than the policy's own: that this table says something of this item."""
    content = item is None or item.name in ("payload", "instance", "resource", "context")
    if table.kind == "broadcast":
        return content and (event == "joined" or event.startswith("presence."))
    if table.kind == "room":
        return content and event.startswith("chat.")
    if table.kind == "share":
        return content
    if item is None:
        return False
    if table.kind == "impersonation":
        return held.strength == STRONG and held.principal.user in ("support-1", "17")
    return item.principal.user == "system"


def judged(evidence: tuple[Evidence, ...], kind: str) -> Verdict:
    """A resource, for which there is no rule yet, stands for the payload; a context alone."""
    spoken = tuple(one for one in evidence if one.name != "context")
    known = tuple(one._replace(name="payload") if one.name == "resource" else one for one in spoken)
    verdict = judge(known, kind)
    alone = [one for one in evidence if one not in spoken]
    dissents = [one for one in alone if agree(evidence[0], one.principal) == DIFFERENT]
    if verdict.verdict == UNATTRIBUTED and dissents:
        return Verdict(VIOLATION, "", "context_vs_connection", "suspected", dissents[0])
    return verdict


@given(some, connections, st.lists(pieces, max_size=4), kinds, events, st.booleans())
def test_an_excuse_is_a_positive_match_of_everything_that_does_not_agree(
    tables: Any, held: Evidence, evidence: list[Evidence], kind: str, event: str, member: bool
) -> None:
    whole = (held, *evidence)
    verdict = judged(whole, kind)
    found = excused(tables, whole, event, yes if member else no, kind, verdict=verdict)
    usable = [table for table in tables if member or not table.membership]
    unsettled: list[Evidence | None] = [
        one
        for one in evidence
        if (
            agree(held, one.principal) == DIFFERENT
            and (one.name != "context" or verdict.rule == "context_vs_connection")
        )
        or (verdict.reason == "incomparable" and agree(held, one.principal) != SAME)
    ]
    if verdict.verdict == UNATTRIBUTED and verdict.reason in (
        "no_evidence",
        "undeclared_broadcast",
    ):
        unsettled = [None]
    expected = bool(unsettled) and all(
        any(positive(table, held, item, event) for table in usable) for item in unsettled
    )
    assert bool(found) == expected
    assert len(found) in (0, len(unsettled))


@given(some, connections, st.lists(pieces, max_size=4), kinds, events)
def test_a_match_needs_no_excuse_and_gets_none(
    tables: Any, held: Evidence, evidence: list[Evidence], kind: str, event: str
) -> None:
    whole = (held, *evidence)
    verdict = judged(whole, kind)
    if told(verdict) in ("match", "no_principal"):
        assert excused(tables, whole, event, never, kind, verdict=verdict) == []


@given(connections, st.lists(pieces, max_size=4), kinds, events)
def test_without_a_policy_nothing_is_excused(
    held: Evidence, evidence: list[Evidence], kind: str, event: str
) -> None:
    whole = (held, *evidence)
    assert excused((), whole, event, yes, kind, verdict=judged(whole, kind)) == []
    assert EXCUSED not in judged(whole, kind)
