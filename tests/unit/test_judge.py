# SPDX-License-Identifier: Apache-2.0
"""The verdict table: every rule, severity and reason the judge can give, and why not another."""

from __future__ import annotations

from itertools import permutations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ws_audit.model import (
    ACCEPT,
    BROADCAST,
    CALL,
    CONFIRMED,
    CONSTRUCT,
    CONTENT,
    HYGIENE,
    INBOUND,
    MATCH,
    MEDIUM,
    NONE,
    PROBABLE,
    SEND,
    STRONG,
    SUSPECTED,
    UNATTRIBUTED,
    VIOLATION,
    WEAK,
    Evidence,
    Principal,
    Verdict,
)
from ws_audit.principals.identity import DIFFERENT, SAME, agree, principal
from ws_audit.schema import PERMITTED, REASONS
from ws_audit.verdict.judge import judge


def who(user: object, kind: str = "id", tenant: str | None = None) -> Principal:
    found = principal(user, kind, tenant)
    assert found is not None
    return found


def connection(
    user: object, *, strength: str = STRONG, kind: str = "id", aliases: tuple[Principal, ...] = ()
) -> Evidence:
    return Evidence("connection", who(user, kind), ACCEPT, "x", strength, True, aliases)


def argument(user: object, *, attests: bool = True, kind: str = "id") -> Evidence:
    return Evidence("argument", who(user, kind), CALL, "send.user_id", STRONG, attests)


def payload(user: object, kind: str = "id") -> Evidence:
    return Evidence("payload", who(user, kind), CONTENT, "user_id", STRONG)


def instance(user: object, kind: str = "id") -> Evidence:
    return Evidence("instance", who(user, kind), CONSTRUCT, "user_id", STRONG)


def resource(user: object, *, strength: str = MEDIUM) -> Evidence:
    at = CALL if strength == MEDIUM else INBOUND
    return Evidence("resource", who(user), at, "run_id", strength, strength == MEDIUM)


def context(user: object) -> Evidence:
    return Evidence("context", who(user), CALL, "task", WEAK, attests=False)


def canary(user: object) -> Evidence:
    return Evidence("canary", who(user), CONTENT, "token", STRONG, attests=False)


def thread(user: object) -> Evidence:
    return Evidence("thread_as_user", who(user), CALL, "argument:x", WEAK, attests=False)


def told(verdict: Verdict) -> str:
    return (
        f"{verdict.rule}:{verdict.severity}" if verdict.rule else verdict.reason or verdict.verdict
    )


A, B, C = "alice", "bob", "carol"

# What is known, the outermost kind, the verdict.
TABLE = [
    # agreement
    ("an argument that agrees", (connection(A), argument(A)), SEND, MATCH),
    ("a payload that agrees", (connection(A), payload(A)), SEND, MATCH),
    ("an instance that agrees", (connection(A), instance(A)), SEND, MATCH),
    ("an unjoined payload that agrees", (connection(A), payload(A)), NONE, MATCH),
    ("all agree", (connection(A), argument(A), payload(A), instance(A)), SEND, MATCH),
    ("a claim agrees", (connection(A, strength=WEAK), payload(A)), SEND, MATCH),
    # one dissent
    ("only the argument", (connection(A), argument(B)), SEND, "argument_vs_connection:probable"),
    ("only the payload", (connection(A), payload(B)), SEND, "payload_vs_connection:probable"),
    ("only the instance", (connection(A), instance(B)), SEND, "instance_vs_connection:probable"),
    ("an unjoined payload", (connection(A), payload(B)), NONE, "payload_vs_connection:probable"),
    (
        "the payload against an argument that agrees",
        (connection(A), argument(A), payload(B)),
        SEND,
        "payload_vs_connection:probable",
    ),
    (
        "the argument against a payload that agrees",
        (connection(A), argument(B), payload(A)),
        SEND,
        "argument_vs_connection:probable",
    ),
    # two dissents from different capture points that name the same other
    (
        "argument and payload",
        (connection(A), argument(B), payload(B)),
        SEND,
        "argument_vs_connection:confirmed",
    ),
    (
        "argument and instance",
        (connection(A), argument(B), instance(B)),
        SEND,
        "argument_vs_connection:confirmed",
    ),
    (
        "payload and instance",
        (connection(A), payload(B), instance(B)),
        SEND,
        "payload_vs_connection:confirmed",
    ),
    # ... or that do not
    (
        "two dissents that name two others",
        (connection(A), argument(B), payload(C)),
        SEND,
        "argument_vs_connection:probable",
    ),
    (
        "two of one capture point",
        (connection(A), argument(B), argument(B)),
        SEND,
        "argument_vs_connection:probable",
    ),
    (
        "payloads of hook and wire are one capture point",
        (connection(A), payload(B), payload(B)),
        SEND,
        "payload_vs_connection:probable",
    ),
    (
        "three, of which two name the same",
        (connection(A), argument(B), payload(C), instance(C)),
        SEND,
        "argument_vs_connection:confirmed",
    ),
    # caps
    (
        "a claimed connection",
        (connection(A, strength=WEAK), argument(B), payload(B)),
        SEND,
        "argument_vs_connection:suspected",
    ),
    (
        "a broadcast whose payload names somebody else",
        (connection(A), payload(B)),
        BROADCAST,
        "payload_vs_connection:suspected",
    ),
    (
        "a broadcast however many dissent",
        (connection(A), argument(B, attests=False), payload(B)),
        BROADCAST,
        "argument_vs_connection:suspected",
    ),
    # under a broadcast an inner argument dissents but never attests
    (
        "a broadcast's inner argument that agrees",
        (connection(A), argument(A, attests=False)),
        BROADCAST,
        "undeclared_broadcast",
    ),
    (
        "a broadcast's inner argument that dissents",
        (connection(A), argument(B, attests=False)),
        BROADCAST,
        "argument_vs_connection:suspected",
    ),
    ("a broadcast with an owner that agrees", (connection(A), payload(A)), BROADCAST, MATCH),
    ("a broadcast of which nothing is known", (connection(A),), BROADCAST, "undeclared_broadcast"),
    # whose run it is
    ("a run that is theirs", (connection(A), resource(A)), SEND, MATCH),
    (
        "a run of somebody else",
        (connection(A), resource(B)),
        SEND,
        "resource_vs_connection:probable",
    ),
    (
        "a run somebody else named first",
        (connection(A), resource(B, strength=WEAK)),
        SEND,
        "resource_vs_connection:suspected",
    ),
    (
        "that a client named it first proves nothing",
        (connection(A), resource(A, strength=WEAK)),
        SEND,
        "no_evidence",
    ),
    (
        "the run against an argument that agrees",
        (connection(A), argument(A), resource(B)),
        SEND,
        "resource_vs_connection:probable",
    ),
    (
        "a strong dissent and the run's",
        (connection(A), payload(B), resource(B)),
        SEND,
        "payload_vs_connection:confirmed",
    ),
    (
        "a strong dissent and the run's, from one capture point",
        (connection(A), argument(B), resource(B)),
        SEND,
        "argument_vs_connection:probable",
    ),
    (
        "a strong dissent and the run's, that name two others",
        (connection(A), payload(B), resource(C)),
        SEND,
        "payload_vs_connection:probable",
    ),
    (
        "a strong dissent and what a client said",
        (connection(A), payload(B), resource(B, strength=WEAK)),
        SEND,
        "payload_vs_connection:probable",
    ),
    (
        "of two runs the better known one counts",
        (connection(A), resource(C, strength=WEAK), resource(B)),
        SEND,
        "resource_vs_connection:probable",
    ),
    (
        "somebody else's run in a broadcast",
        (connection(A), resource(B)),
        BROADCAST,
        "resource_vs_connection:suspected",
    ),
    # for whom the task runs
    (
        "a task for somebody else",
        (connection(A), context(B)),
        SEND,
        "context_vs_connection:suspected",
    ),
    (
        "... that no call joined",
        (connection(A), context(B)),
        NONE,
        "context_vs_connection:suspected",
    ),
    ("a task for them proves nothing", (connection(A), context(A)), SEND, "no_evidence"),
    ("one speaks to another", (connection(A), argument(A), context(B)), SEND, MATCH),
    ("one speaks to all", (connection(A), context(B)), BROADCAST, "undeclared_broadcast"),
    (
        "a task raises nothing",
        (connection(A), payload(B), context(B)),
        SEND,
        "payload_vs_connection:probable",
    ),
    (
        "a task whose user cannot be compared",
        (connection("auth0|abc"), context(17)),
        SEND,
        "no_evidence",
    ),
    # canaries
    ("a token", (connection(A), canary(B)), SEND, "canary:confirmed"),
    ("a token in a broadcast", (connection(A), canary(B)), BROADCAST, "canary:confirmed"),
    (
        "a token for a claimed user",
        (connection(A, strength=WEAK), canary(B)),
        NONE,
        "canary:confirmed",
    ),
    (
        "a token in a message everything else says is theirs",
        (connection(A), argument(A), payload(A), instance(A), resource(A), canary(B)),
        SEND,
        "canary:confirmed",
    ),
    ("a token before all else", (connection(A), argument(C), canary(B)), SEND, "canary:confirmed"),
    ("a token of nobody comparable", (connection("auth0|abc"), canary(17)), SEND, "incomparable"),
    ("a token to nobody known", (canary(B),), SEND, "no_principal"),
    # a thread's id for a user
    (
        "a thread for a user",
        (connection(A), argument(A), thread(A)),
        SEND,
        "thread_as_user:hygiene",
    ),
    (
        "a thread for a user, and a leak",
        (connection(A), payload(B), thread(A)),
        SEND,
        "payload_vs_connection:probable",
    ),
    (
        "a thread for a user, in another's task",
        (connection(A), context(B), thread(A)),
        SEND,
        "context_vs_connection:suspected",
    ),
    # nothing to go by
    ("nobody knows whose connection", (argument(A), payload(A)), SEND, "no_principal"),
    ("nothing at all", (), SEND, "no_principal"),
    ("a dissent without a connection", (payload(B),), SEND, "no_principal"),
    ("no evidence", (connection(A),), SEND, "no_evidence"),
    ("no evidence, unjoined", (connection(A),), NONE, "no_evidence"),
    # what cannot be compared
    ("a subject and an id", (connection("auth0|abc"), payload(17)), SEND, "incomparable"),
    ("an email and an id", (connection("a@x.org"), payload(17)), SEND, "incomparable"),
    (
        "a name and an id",
        (connection(A, kind="name"), argument(B)),
        SEND,
        "incomparable",
    ),
    (
        "one incomparable, one that agrees",
        (connection(A), payload("auth0|abc"), argument(A)),
        SEND,
        MATCH,
    ),
    (
        "one incomparable, one that dissents",
        (connection(A), payload("auth0|abc"), argument(B)),
        SEND,
        "argument_vs_connection:probable",
    ),
    (
        "incomparable under a broadcast",
        (connection("auth0|abc"), payload(17)),
        BROADCAST,
        "incomparable",
    ),
    (
        "an alias answers",
        (connection("auth0|abc", aliases=(who(17),)), payload(17)),
        SEND,
        MATCH,
    ),
    (
        "an alias dissents",
        (connection("auth0|abc", aliases=(who(17),)), payload(18)),
        SEND,
        "payload_vs_connection:probable",
    ),
    (
        "two ids of one person: the second agrees",
        (connection("acme-17", aliases=(who(17),)), payload(17)),
        SEND,
        MATCH,
    ),
]


@pytest.mark.parametrize(
    ("evidence", "kind", "expected"),
    [row[1:] for row in TABLE],
    ids=[row[0] for row in TABLE],
)
def test_the_table(evidence: tuple[Evidence, ...], kind: str, expected: str) -> None:
    assert told(judge(evidence, kind)) == expected


@pytest.mark.parametrize("note", ["opaque_payload", "unreadable_payload", "limit"])
def test_why_the_content_said_nothing_is_the_reason(note: str) -> None:
    assert judge((connection(A),), SEND, note) == Verdict(UNATTRIBUTED, note)
    # ... unless something else is known, or nobody to compare it with.
    assert judge((connection(A), argument(A)), SEND, note) == Verdict(MATCH)
    assert judge((), SEND, note).reason == "no_principal"
    assert judge((connection(A),), BROADCAST, note).reason == "undeclared_broadcast"


def test_a_violation_names_what_decided_it() -> None:
    verdict = judge((connection(A), instance(C), payload(B), argument(B)), SEND)
    assert verdict.rule == "argument_vs_connection"
    assert verdict.dissent == argument(B)


def test_a_resource_alone_confirms_nothing_but_confirms_a_strong_dissent() -> None:
    medium = instance(B)._replace(strength=MEDIUM)
    assert judge((connection(A), payload(B), medium), SEND).severity == CONFIRMED
    weak = instance(B)._replace(strength=WEAK)
    assert judge((connection(A), payload(B), weak), SEND).severity == PROBABLE
    both = (connection(A), medium, argument(B)._replace(strength=MEDIUM))
    assert judge(both, SEND).severity == PROBABLE


def test_tenants_tell_people_with_one_id_apart() -> None:
    def in_tenant(tenant: str | None) -> Evidence:
        return payload(17)._replace(principal=who(17, tenant=tenant))

    held = connection(17)._replace(principal=who(17, tenant="acme"))
    assert judge((held, in_tenant("acme")), SEND).verdict == MATCH
    assert judge((held, in_tenant("evil")), SEND).verdict == VIOLATION
    assert judge((held, in_tenant(None)), SEND).verdict == MATCH  # it says nothing of tenants


# --- properties -------------------------------------------------------------------------------

people = st.sampled_from([A, B, C, 17, 18, "auth0|abc", "a@x.org"])
pieces = st.builds(
    lambda make, user: make(user),
    st.sampled_from([argument, payload, instance, resource, context, canary, thread]),
    people,
)
connections = st.builds(
    lambda user, strength: connection(user, strength=strength),
    people,
    st.sampled_from([STRONG, WEAK]),
)
kinds = st.sampled_from([SEND, BROADCAST, NONE])


@given(connections, st.lists(pieces, max_size=5), kinds)
def test_every_verdict_is_one_the_contract_knows(
    held: Evidence, evidence: list[Evidence], kind: str
) -> None:
    verdict = judge((held, *evidence), kind)
    if verdict.verdict == VIOLATION:
        assert verdict.severity in PERMITTED[verdict.rule]
        assert verdict.dissent in evidence
        if verdict.rule != "thread_as_user":
            assert agree(held, verdict.dissent.principal) == DIFFERENT
    elif verdict.verdict == UNATTRIBUTED:
        assert verdict.reason in REASONS
    else:
        assert verdict == Verdict(MATCH)


@given(connections, st.lists(pieces, max_size=4), kinds)
def test_the_order_in_which_evidence_was_met_decides_nothing(
    held: Evidence, evidence: list[Evidence], kind: str
) -> None:
    told_in_order = {
        (told(verdict), verdict.dissent.name if verdict.dissent else "")
        for order in permutations(evidence)
        for verdict in [judge((held, *order), kind)]
    }
    assert len(told_in_order) == 1


@given(connections, st.lists(pieces, min_size=1, max_size=5), kinds)
def test_a_dissent_is_never_outvoted(held: Evidence, evidence: list[Evidence], kind: str) -> None:
    """However much agrees: one piece that names somebody else is a violation.

    Save the weakest: for whom a task runs counts only where nothing says whose the message is.
    """
    others = [one for one in evidence if one.name not in ("context", "thread_as_user")]
    dissents = [one for one in others if agree(held, one.principal) == DIFFERENT]
    verdict = judge((held, *evidence), kind)
    if dissents:
        assert verdict.verdict == VIOLATION
        assert verdict.dissent in dissents
    elif len(others) == len(evidence):
        assert verdict.verdict != VIOLATION
    elif verdict.rule == "context_vs_connection":
        assert kind != BROADCAST
        assert not any(one.attests and agree(held, one.principal) == SAME for one in evidence)


@given(connections, st.lists(pieces, max_size=5), kinds)
def test_absent_evidence_is_never_agreement(
    held: Evidence, evidence: list[Evidence], kind: str
) -> None:
    if judge((held, *evidence), kind).verdict == MATCH:
        assert any(agree(held, one.principal) == SAME and one.attests for one in evidence)


@given(people, st.lists(pieces, max_size=5), kinds)
def test_what_a_client_claims_never_pages(
    user: object, evidence: list[Evidence], kind: str
) -> None:
    verdict = judge((connection(user, strength=WEAK), *evidence), kind)
    assert verdict.severity in ("", SUSPECTED, HYGIENE) or verdict.rule == "canary"


def test_the_same_record_is_judged_the_same_again() -> None:
    for (_, evidence, kind, _), _ in product(TABLE, range(2)):
        assert judge(evidence, kind) == judge(evidence, kind)
