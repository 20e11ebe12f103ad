# SPDX-License-Identifier: Apache-2.0
"""A policy proposed and tried: what is offered, what is refused, what is missing said."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.recorder import SECOND, START
from tests.unit.test_judge import argument, connection, instance, payload
from tests.unit.test_replay import HASHER, written
from ws_audit.configuration.policy_tables import PolicyTable
from ws_audit.configuration.settings import load
from ws_audit.model import (
    CONTENT,
    HYGIENE,
    NONE,
    OK,
    OTHER,
    SEND,
    STRONG,
    UNATTRIBUTED,
    VIOLATION,
    Delivery,
    Evidence,
    Inputs,
    Span,
    Verdict,
)
from ws_audit.outputs.spans import SpanMaker
from ws_audit.outputs.store import Store
from ws_audit.principals.identity import Hasher
from ws_audit.review.rejudging import excuse, rejudge
from ws_audit.review.rejudging.replay import CHANGES, STAYS, VANISHES, Replayer
from ws_audit.review.segments.rows import CoverageRow, Rows
from ws_audit.schema import (
    COVERAGE_SPAN,
    EVENT_RULES,
    FINAL,
    FRAMES,
    JUDGED,
    KEY_ID,
    POLICY_TABLES,
    PROCESS_SPAN,
)
from ws_audit.tools import cli
from ws_audit.verdict import stored
from ws_audit.verdict.judge import judge

if TYPE_CHECKING:
    from pathlib import Path

BOTS = PolicyTable(2, "system", "bots", users=("bob",))
PUBLIC = PolicyTable(1, "broadcast", "public", events=("joined",))
KEY = "k" * 32
DAY = 24 * 3600 * SECOND


def sent(
    to: Any,
    *evidence: Evidence,
    event: str = "joined",
    site: str = "app:f:1",
    at: int = 0,
    number: int = 1,
    rule: str = "",
    inputs: Inputs | None = None,
    intent: int = 0,
) -> Delivery:
    """The record of one delivery, judged; `rule`: of a verdict that is not the judge's."""
    whole = (connection(to) if not isinstance(to, Evidence) else to, *evidence)
    verdict = judge(whole, SEND)
    if rule:
        verdict = Verdict(VIOLATION, "", rule, HYGIENE, whole[-1])
    assert verdict.verdict == VIOLATION
    return Delivery(
        *(1, number, START + at, "asgi", 1, intent, SEND, "app:Hub", "", event, site, whole),
        *("", 10, verdict, OK, number, number, 0, inputs),
    )


def proposed(*deliveries: Delivery) -> excuse.Answer:
    """What is proposed for the incident of the first."""
    replayer = written(list(deliveries), ())
    first = replayer.homes[0]
    (incident,) = [it for it in replayer.review.incidents if it.id == first]
    return excuse.propose(replayer, incident)


# -- what is proposed ------------------------------------------------------------------------------


def test_an_event_that_goes_round_is_declared_by_its_name_and_by_nothing_wider() -> None:
    found = proposed(
        sent("ann", payload("bob")),
        sent("bob", payload("ann")),
        sent("cat", payload("bob")),
        sent("dan", payload("eve"), event="other.event", site="app:g:1"),
    )
    best = found.proposals[0]
    assert (best.table.kind, best.table.events) == ("broadcast", ("joined",))
    assert (best.whole, best.excused, best.total, best.others) == (True, 3, 3, [])
    assert found.shown["event"] == ["joined"]


def test_what_else_would_be_excused_is_told_and_the_narrowest_comes_first() -> None:
    found = proposed(
        *(sent(to, payload("bot")) for to in ("ann", "bob")),
        *(sent(to, payload("eve"), site="app:g:1") for to in ("ann", "bob", "cat")),
    )
    assert [one.table.kind for one in found.proposals] == ["system", "impersonation", "broadcast"]
    assert [one.beside for one in found.proposals] == [0, 2, 3]
    (other,) = found.proposals[2].others
    assert other.what == VANISHES
    assert other.before is not None
    assert other.before.attempted == 3


def test_whoever_sees_everybodys_is_named_by_a_hash_until_somebody_fills_it_in(
    tmp_path: Path,
) -> None:
    found = proposed(*(sent("support-1", argument(user), payload(user)) for user in ("ann", "bob")))
    (best,) = found.proposals[:1]
    assert (best.table.kind, best.whole) == ("impersonation", True)
    text = excuse.toml(best.table, "abc")
    assert HASHER(connection("support-1").principal) in text

    file = tmp_path / "ws-audit.toml"
    file.write_text(text)
    _, problems = load({"WS_AUDIT_CONFIG": str(file)}, str(tmp_path))
    assert any("actors = ['']" in problem for problem in problems)
    file.write_text(text.replace('""', '"support-1"'))
    settings, problems = load({"WS_AUDIT_CONFIG": str(file)}, str(tmp_path))
    assert problems == []
    assert stored.hashed(settings.policy, HASHER)[0].users == best.table.users


def test_an_events_name_is_no_pattern(tmp_path: Path) -> None:
    name = 'odd*[1]"?'
    found = proposed(
        sent("ann", payload("bob"), event=name),
        sent("ann", payload("eve"), event='oddX1"Y', site="app:g:2"),
    )
    best = found.proposals[0]
    assert best.table.kind == "broadcast"
    assert (best.whole, best.beside) == (True, 0)
    file = tmp_path / "ws-audit.toml"
    file.write_text(excuse.toml(best.table, "abc"))
    settings, problems = load({"WS_AUDIT_CONFIG": str(file)}, str(tmp_path))
    assert problems == []
    assert settings.policy[0].events == best.table.events


def test_of_a_claimed_connection_nobody_is_an_actor() -> None:
    claimed = connection("support-1")._replace(strength="weak")
    found = proposed(sent(claimed, payload("ann"), payload("bob")))
    assert "impersonation" not in [one.table.kind for one in found.proposals]


# -- what is refused -------------------------------------------------------------------------------

CANARY = payload("bob")._replace(name="canary", at=CONTENT, strength=STRONG)
REFUSED = {
    "canary": (sent("ann", CANARY), "no policy excuses a canary"),
    "thread": (
        sent("ann", payload("t")._replace(name="thread_as_user"), rule="thread_as_user"),
        "an identifier that is no user's",
    ),
    **{
        rule: (sent("ann", payload("bob"), rule=rule), f"no policy excuses {rule}")
        for rule in EVENT_RULES
    },
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_no_policy_excuses_is_refused_with_the_reason(what: str) -> None:
    delivery, why = REFUSED[what]
    found = proposed(delivery)
    assert found.proposals == []
    assert why in found.refusal


def test_the_callers_word_is_no_broadcasts_to_excuse() -> None:
    people = ("ann", "bob", "cat", "dan", "eve")
    found = proposed(*(sent(to, argument(people[n - 1])) for n, to in enumerate(people)))
    assert found.proposals == []
    assert "the caller named somebody else" in found.refusal
    assert "5 recipients and 5 owners" in found.refusal


@pytest.mark.parametrize(("event", "why"), [(OTHER, "payload.events"), (NONE, "no event's name")])
def test_an_event_without_a_name_cannot_be_listed(event: str, why: str) -> None:
    people = ("ann", "bob", "cat", "dan", "eve")
    found = proposed(
        *(sent(to, payload(people[n - 1]), event=event) for n, to in enumerate(people))
    )
    assert found.proposals == []
    assert why in found.refusal


# -- what cannot be told ---------------------------------------------------------------------------


def test_a_record_of_an_earlier_version_stands_as_it_was() -> None:
    replayer = written([sent("ann", payload("bob"))], ())
    replayer.rows = [row._replace(judged="") for row in replayer.rows]
    replay = replayer.under((PUBLIC,))
    (change,) = replay.changes
    assert (change.what, dict(change.untold)) == (STAYS, {rejudge.OLD: 1})
    assert replay.after.problems == [
        "1 of 1 stored violations cannot be judged again and stand as they were: " + rejudge.OLD
    ]


@pytest.mark.parametrize(
    ("record", "why"),
    [
        ("{", rejudge.GARBLED),
        ('{"evidence":[{"kind":"instance","silent":true}]}', rejudge.GARBLED),
        ('{"evidence":[{"kind":"payload","silent":true}]}', ""),
        (
            '{"evidence":[{"kind":"connection","hash":"","at":"","source":"","strength":""}]}',
            rejudge.GARBLED,
        ),
        ("[]", rejudge.GARBLED),
        (
            '{"evidence":[{"kind":"connection","aliases":[{"hash":"BOB","namespace":"id:opaque"}]}]}',
            rejudge.OTHERWISE,
        ),
    ],
)
def test_a_record_that_does_not_give_its_verdict_is_not_believed(record: str, why: str) -> None:
    replayer = written([sent("ann", payload("bob"))], ())
    record = record.replace("BOB", HASHER(payload("bob").principal))
    replayer.rows = [row._replace(judged=record) for row in replayer.rows]
    (change,) = replayer.under((PUBLIC,)).changes
    assert change.untold == ({why: 1} if why else {})
    assert change.what == (STAYS if why else VANISHES)


def test_what_is_stored_beside_the_evidence_is_read_back_and_needs_no_escape() -> None:
    odd = """it's "so" \\ 'ä'"""
    answers = ((odd, "room", False), ("app:x", odd, True))
    delivery = sent(
        connection("ann", aliases=(payload(17).principal,)),
        payload("bob")._replace(source=odd),
        payload("eve"),
        inputs=Inputs("joined", answers, "chat.x"),
    )
    text = stored.write(delivery, HASHER)
    assert '"' not in text
    found = stored.read(text, [], "joined")
    assert found.inputs == Inputs("joined", answers, "chat.x")
    assert found.names == ("joined", "chat.x")
    assert [(one.name, one.source) for one in found.evidence] == [
        ("connection", "x"),
        ("payload", odd),
        ("payload", "user_id"),
    ]
    assert judge(found.evidence, SEND)._replace(dissent=None) == judge(
        delivery.evidence, SEND
    )._replace(dissent=None)
    tables = (PUBLIC, PolicyTable(2, "room", "y", "2027-01-01", (odd,), "app:x", odd))
    assert stored.read_tables(stored.write_tables(tables, HASHER)) == tuple(
        table._replace(reason="") for table in tables
    )


def test_with_another_key_nobody_is_known_by_name() -> None:
    table = PolicyTable(1, "system", "x", users=("bob",))
    deliveries = [sent("ann", payload("bob")), sent("ann", instance("eve"), site="app:g:1")]
    right = written(deliveries, ()).under((table,))
    assert {it.what for it in right.changes} == {VANISHES, STAYS}
    for hasher in (None, Hasher("another")):
        replayer = written(deliveries, (), hasher)
        changes = replayer.under((table,)).changes
        assert [it.what for it in changes] == [STAYS, STAYS]
        assert [dict(it.untold) for it in changes] == [{rejudge.USERS: 1}] * 2
        # What names nobody needs no key.
        assert replayer.under((PUBLIC,)).after.incidents == []


def test_how_it_was_addressed_is_not_known_where_its_room_had_settled_that() -> None:
    share = PolicyTable(1, "share", "x", membership="app:readers", where="doc")
    inputs = Inputs("secret", (("app:readers", "doc", False),))
    delivery = sent("ann", payload("bob"), event="secret", inputs=inputs)
    replayer = written([delivery], (share,))
    # Where the room settles it again, it is as it was; else it might be a suspicion only.
    assert [it.untold for it in replayer.under((share, PUBLIC)).changes] == [{}]
    assert [it.untold for it in replayer.under((PUBLIC,)).changes] == [{rejudge.ADDRESS: 1}]


def test_a_silent_agreement_is_none_when_it_is_judged_again() -> None:
    for_others = payload("bob")._replace(name="context", at="call", strength="weak", attests=False)
    delivery = sent("ann", argument("ann", attests=False), for_others)
    assert delivery.inputs is None
    assert [it.what for it in written([delivery], ()).under((PUBLIC,)).changes] == [VANISHES]


def test_a_policy_that_ends_between_two_excuses_the_first() -> None:
    replayer = written([sent("ann", payload("bob"), at=day * DAY) for day in (0, 1)], ())
    replay = replayer.under((PUBLIC._replace(expires="2026-11-23"),))
    assert sorted(len(it.excused) for it in replay.changes if it.before) == [0, 1]
    assert [it.first_ns for it in replay.after.incidents] == [START + DAY]


def test_what_was_excused_and_left_no_record_is_counted() -> None:
    replayer = written([sent("ann", payload("bob"), event="secret")], (PUBLIC,))
    counts = {"frames": 42, "judged": 42, "unattributed": 0, "excused": 41, "dropped": 0}
    origin = replayer.rows[0].origin
    replayer._coverage = [CoverageRow(origin, START, START, **counts, final=True, reasons=())]
    assert replayer.under((PUBLIC,)).notes == []
    (note,) = replayer.under(()).notes
    assert note.startswith("41 deliveries were excused by the policies then in force")


def test_of_what_was_not_read_one_by_one_nothing_is_said_but_how_much_it_is() -> None:
    whole = written([sent("ann", payload("bob")), sent("cat", payload("bob"))], ())
    some = written([sent("ann", payload("bob"))], ())
    rows = Rows(some.rows, [], [], [], [], [])
    replay = Replayer(whole.review, rows, HASHER).under(())
    assert [(it.what, it.before and it.before.attempted) for it in replay.changes] == [(STAYS, 1)]
    assert replay.notes == [
        "2 violations are stored and 1 were read one by one: before and after are of those"
    ]


def test_a_severity_that_hangs_on_a_message_that_is_excused_is_not_told() -> None:
    """A call by name to two people: one dissent beside a right one is how a group chat looks."""
    deliveries = [
        sent("ann", argument("ann"), payload("bot"), intent=7),
        sent("ann", argument("ann"), payload("eve"), intent=7, number=2),
        sent("ann", argument("ann"), payload("eve"), intent=8, number=3),
    ]
    table = PolicyTable(1, "system", "x", users=("bot",))
    (change,) = written(deliveries, ()).under((table,)).changes
    assert change.what == CHANGES
    assert change.excused == {(1,): 1}
    assert change.untold == {rejudge.TOGETHER: 1}


def test_an_incident_keeps_its_number_when_an_earlier_one_would_not_have_been() -> None:
    replayer = written(
        [sent("ann", payload("bob")), sent("ann", payload("bob"), event="secret", at=3 * DAY)], ()
    )
    names = [it.id for it in sorted(replayer.review.incidents, key=lambda it: it.first_ns)]
    assert names[1] == f"{names[0]}-2"
    replay = replayer.under((PUBLIC,))
    assert {it.before.id: it.what for it in replay.changes if it.before} == {
        names[0]: VANISHES,
        names[1]: STAYS,
    }
    assert [it.id for it in replay.after.incidents] == [names[1]]


def test_a_membership_that_is_not_declared_leaves_nobody_out() -> None:
    """What only `app:readers` has said against somebody is nothing without it."""
    share = PolicyTable(1, "share", "x", membership="app:readers", where="doc")
    said = Evidence("resource", payload("bob").principal, "call", "doc", "medium", False)
    answers = (("app:readers", "doc", False),)
    delivery = sent("ann", said, inputs=Inputs("joined", answers))
    replayer = written([delivery], (share,))
    replay = replayer.under(())
    assert [(it.what, it.cleared) for it in replay.changes] == [(VANISHES, 1)]
    coverage = replayer.review.stored.coverage
    assert replay.after.stored.coverage["unattributed"] == coverage["unattributed"] + 1
    assert replay.after.stored.coverage["judged"] == coverage["judged"] - 1
    assert judge((delivery.evidence[0],), SEND).verdict == UNATTRIBUTED
    # Of another function's answer nothing is known.
    other = share._replace(membership="app:others")
    assert [dict(it.untold) for it in replayer.under((other,)).changes] == [{rejudge.ANSWER: 1}]


# -- the command -----------------------------------------------------------------------------------


def recorded(folder: Path) -> None:
    """A store with two incidents: bob's presence, and his message at ann's."""
    store = Store(folder, resource={"service.name": "chat"})
    maker = SpanMaker(HASHER, "chat", "")
    told: dict[str, Any] = {POLICY_TABLES: stored.write_tables((), HASHER), KEY_ID: HASHER.id}
    store.write_coverage(Span(PROCESS_SPAN, 9, 9, 0, START, START, told))
    for delivery in (
        sent("ann", payload("bob")),
        sent("cat", payload("bob"), number=2),
        sent("ann", argument("bob"), event="secret", site="app:g:1", number=3),
    ):
        span = maker.violation(delivery, maker.finding(delivery), outcome=True)
        store.write_violation(span._replace(span_id=delivery.delivery_id))
    counts: dict[str, Any] = {FRAMES: 9, JUDGED: 9, FINAL: True}
    store.write_coverage(Span(COVERAGE_SPAN, 8, 8, 0, START, START + SECOND, counts))
    store.close()


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    folder = tmp_path / "trace"
    recorded(folder)
    (folder / "hash.key").write_text(KEY)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_command_changes_nothing_and_its_exit_code_is_of_the_review_it_shows(
    traces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(traces)
    config = tmp_path / "pyproject.toml"
    config.write_text(
        '[[tool.ws-audit.policy]]\nkind = "broadcast"\nevents = ["joined"]\nreason = "public"\n'
    )
    words = ["review", str(traces), "--policy", str(config)]
    assert cli.main(words) == 1
    shown = capsys.readouterr()
    assert "2 excused by [[policy]] 1 (broadcast: public)" in shown.out
    assert shown.err == ""
    assert cli.main([*words, "--format", "json"]) == 1
    assert [it["attempted"] for it in json.loads(capsys.readouterr().out)["incidents"]] == [1]
    config.write_text(config.read_text().replace('"joined"', '"*"'))
    system = '[[tool.ws-audit.policy]]\nkind = "system"\nprincipals = ["bob"]\nreason = "x"\n'
    config.write_text(config.read_text() + system)
    assert cli.main(words) == 0
    assert "LEAK" not in capsys.readouterr().out
    assert files(traces) == before


BAD = {
    "unknown kind": ('[[policy]]\nkind = "brodcast"\n', "expected one of broadcast, room"),
    "no reason": ('[[policy]]\nkind = "broadcast"\nevents = ["x"]\n', "no reason in [[policy]] 1"),
    "unknown key": ("polisy = 1\n", "unknown key polisy"),
    "no TOML": ("[[policy", "not valid TOML"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_mistake_in_the_file_is_said_in_the_agents_words(
    what: str, traces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, said = BAD[what]
    config = tmp_path / "tried.toml"
    config.write_text(text)
    assert cli.main(["review", str(traces), "--policy", str(config)]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert said in shown.err
    _, problems = load({"WS_AUDIT_CONFIG": str(config)}, str(tmp_path))
    assert all(problem in shown.err for problem in problems)


def test_what_is_not_a_policy_in_the_file_is_named(
    traces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "tried.toml"
    config.write_text('mode = "block"\n[payload]\nowner = ["user_id"]\n')
    assert cli.main(["review", str(traces), "--policy", str(config)]) == 1
    assert "what mode, payload.owner would change cannot be told" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--policy", "nowhere.toml"), "nowhere.toml: no such file"),
        (("--not-a-leak", "abc"), "has no incident 'abc'"),
        (("--not-a-leak", "abc", "--policy", "x"), "expected one of"),
        (("--not-a-leak", "abc", "--format", "json"), "a proposal is no review"),
        (("--not-a-leak", "abc", "--html", "x"), "expected neither --html"),
        (("--not-a-leak", "abc", "--follow"), "nor --follow"),
        (("--not-a-leak", "abc", "--rule", "canary"), "expected no filter"),
    ],
)
def test_what_cannot_be_had_is_exit_code_2(
    words: tuple[str, ...], said: str, traces: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["review", str(traces), *words]) == 2
    shown = capsys.readouterr()
    assert (shown.out, said in shown.err) == ("", True), shown.err


def test_the_action_needs_to_know_what(traces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["review", "replay", str(traces)]) == 2
    assert "--policy FILE" in capsys.readouterr().err


def test_a_proposal_that_does_not_surely_excuse_all_is_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(tmp_path, resource={"service.name": "chat"})
    maker = SpanMaker(HASHER, "chat", "")
    for number in (1, 2):
        delivery = sent("ann", payload("bob"), number=number)
        span = maker.violation(delivery, maker.finding(delivery), outcome=True)
        if number == 2:  # an earlier version's
            del span.attributes["ws_audit.record"]
        store.write_violation(span)
    store.close()
    cli.main(["review", str(tmp_path), "--format", "json"])
    (incident,) = json.loads(capsys.readouterr().out)["incidents"]
    assert cli.main(["review", str(tmp_path), "--not-a-leak", incident["id"]]) == 1
    shown = capsys.readouterr().out
    assert "# Judged again with it: 1 of the 2 deliveries would be excused." in shown
    assert "# 1 of them cannot be told." in shown


def test_a_proposal_for_machines(traces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["review", str(traces), "--format", "json"])
    incidents = json.loads(capsys.readouterr().out)["incidents"]
    ids = {it["attempted"]: it["id"] for it in incidents}
    words = ["review", "replay", str(traces), "--format", "json", "--not-a-leak"]
    assert cli.main([*words, ids[2]]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [it["kind"] for it in found["proposals"]] == ["broadcast", "system", "impersonation"]
    assert [it["beside"] for it in found["proposals"]] == [0, 1, 1]
    assert found["proposals"][0]["excused"] == found["proposals"][0]["total"] == 2
