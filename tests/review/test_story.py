# SPDX-License-Identifier: Apache-2.0
"""What is told beside the JSON: lives of processes, blind intervals, lanes, proofs, deploys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.review import scene
from tests.review.conftest import NOW, told
from tests.review.scene import MINUTE, SECOND, START, person
from ws_audit.review.segments import keep, read, rows
from ws_audit.review.telling.lanes import LANES, LINKS, SHORTEST_NS, STEPS, lanes
from ws_audit.review.telling.lives import blind, lives, silences, steps
from ws_audit.review.telling.proofs import PAIRS, SENDS

if TYPE_CHECKING:
    from pathlib import Path

    from ws_audit.review.telling.story import IncidentTold, Story

ORIGIN = rows.Origin("chat", "1", "web", 7, 0)


def process(at: float, origin: rows.Origin = ORIGIN) -> rows.ProcessRow:
    return rows.ProcessRow(origin, START + int(at * SECOND), "0.1.0", "observe", "3.11", "1.45", 6)


def cover(
    first: float,
    last: float,
    *,
    final: bool = False,
    origin: rows.Origin = ORIGIN,
    frames: int = 10,
) -> rows.CoverageRow:
    begin, end = START + int(first * SECOND), START + int(last * SECOND)
    return rows.CoverageRow(origin, begin, end, frames, frames, 0, 0, 0, final, ())


def violation(at: float, owner: str, recipient: str, **other: Any) -> rows.ViolationRow:
    attributes = {
        "security_rule.name": "payload_vs_connection",
        "ws_audit.severity": "confirmed",
        "user.hash": recipient,
        "ws_audit.owner.hash": owner,
        "ws_audit.outcome": "ok",
        **{name.replace("__", "."): value for name, value in other.items()},
    }
    ns = START + int(at * SECOND)
    return rows.violation(ORIGIN, attributes, ("t", f"{ns:x}", ""), ns, ns + SECOND)


def everything(
    coverage: list[rows.CoverageRow],
    processes: list[rows.ProcessRow],
    violations: list[rows.ViolationRow] | None = None,
) -> rows.Rows:
    return rows.Rows(violations or [], coverage, processes, [], [], [])


def seconds(ns: int) -> float:
    return (ns - START) / SECOND if ns else 0


# --- lives and blind intervals ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("coverage", "expected"),
    [
        ([cover(0, 60), cover(60, 90, final=True)], []),
        ([cover(0, 60), cover(180, 240), cover(240, 250, final=True)], [(60, 180)]),
        ([cover(60, 120), cover(120, 130, final=True)], [(0, 60)]),  # its first is missing
        ([cover(0, 60), cover(60, 120)], [(120, 0)]),  # killed
        ([], [(0, 0)]),
        ([cover(60, 90, final=True), cover(0, 60)], []),  # in whatever order
        ([cover(0, 60), cover(60.9, 90, final=True)], []),
    ],
)
def test_a_minute_without_a_record_is_a_blind_one(
    coverage: list[rows.CoverageRow], expected: list[tuple[float, float]]
) -> None:
    (life,) = lives(everything(coverage, [process(0)]))
    found = [(seconds(it.first_ns), seconds(it.last_ns)) for it in blind(life, NOW)]
    assert found == expected
    assert life.ended is (bool(coverage) and not (expected and expected[-1][1] == 0))


def test_a_record_that_is_not_due_yet_is_told_apart_from_one_that_never_came() -> None:
    (life,) = lives(everything([cover(0, 60)], [process(0)]))
    (early,), (late,) = (blind(life, START + it * SECOND) for it in (100, 200))
    assert early.why == "the next record is not due yet"
    assert "killed" in late.why


def test_what_a_self_test_played_is_no_sign_of_life() -> None:
    played = violation(3000, person("a"), person("b"), ws_audit__synthetic=True)
    (life,) = lives(everything([cover(0, 60, final=True)], [process(0)], [played]))
    assert seconds(life.last_ns) == 60
    assert life.violations == ()


def test_a_pid_that_comes_back_is_another_process() -> None:
    turns = [cover(0, 60, final=True), cover(500, 560, final=True)]
    found = lives(everything(turns, [process(0), process(500)]))
    assert [(seconds(it.first_ns), it.ended, blind(it, NOW)) for it in found] == [
        (0, True, []),
        (500, True, []),
    ]
    assert [(it[0], seconds(it[1]), seconds(it[2])) for it in silences(found)] == [
        ("chat", 60, 500)
    ]


def test_segments_tell_two_processes_of_one_pid_apart() -> None:
    other = ORIGIN._replace(began=2)
    found = lives(
        everything(
            [cover(0, 60, origin=ORIGIN._replace(began=1)), cover(0, 60, origin=other, final=True)],
            [process(0, ORIGIN._replace(began=1)), process(0, other)],
        )
    )
    assert sorted(it.ended for it in found) == [False, True]


def test_nobody_is_silent_while_somebody_else_writes() -> None:
    other = ORIGIN._replace(pid=8)
    found = lives(
        everything(
            [cover(0, 60), cover(30, 200, origin=other), cover(300, 310)],
            [process(0), process(30, other), process(300)],
        )
    )
    assert [(seconds(a), seconds(b)) for _, a, b in silences(found)] == [(200, 300)]


@pytest.mark.parametrize(("minutes", "width"), [(10, 60), (59, 60), (61, 300), (3000, 3600)])
def test_steps_are_few_and_their_sums_exact(minutes: int, width: int) -> None:
    coverage = [cover(it * 60, it * 60 + 60, frames=it) for it in range(minutes)]
    found, in_steps = steps(coverage)
    assert found == width
    assert len(in_steps) <= 61
    assert sum(it.frames for it in in_steps) == sum(range(minutes))
    assert all(it.first_ns % (width * SECOND) == 0 for it in in_steps)


# --- the picture ------------------------------------------------------------------------------


def test_every_message_among_those_with_a_lane_is_in_the_picture() -> None:
    people = [person(str(number)) for number in range(LANES + 8)]
    found = lanes(
        [
            violation(it, people[it % len(people)], people[(it * 7 + 1) % len(people)])
            for it in range(400)
        ],
        [],
        [],
    )
    assert found is not None
    assert len(found.lanes) == LANES
    assert found.people == LANES + 8
    assert found.attempted == 400
    assert 0 < found.shown < 400
    assert sum(it.attempted for it in found.given) == found.shown
    assert sum(it.attempted for it in found.got) == found.shown
    assert max(len(found.given), len(found.got)) <= STEPS * LANES


def test_few_crossings_are_lines_and_many_a_band() -> None:
    people = [person(str(number)) for number in range(6)]
    many = [violation(0, people[0], it) for it in people[1:]]
    few = [violation(50, people[0], it) for it in people[1 : LINKS + 1]]
    found = lanes([*many, *few, violation(100, people[1], people[0])], [], [])
    assert found is not None
    assert [(it.step, it.high - it.low) for it in found.bands] == [(0, 5)]
    assert [it.step for it in found.links] == [STEPS // 2] * LINKS + [STEPS - 1]


def test_the_strip_below_tells_what_was_judged_and_who_was_blind() -> None:
    records = [cover(0, 240), cover(475, 480, final=True)]
    (life,) = lives(everything(records, [process(0)]))
    a, b = person("a"), person("b")
    found = lanes([violation(0, a, b), violation(480, a, b)], records, blind(life, NOW))
    assert found is not None
    half = STEPS // 2
    assert [it.covered for it in found.seen] == [True] * half + [False] * (half - 1) + [True]
    assert [bool(it.blind) for it in found.seen] == [False] * half + [True] * half
    assert sum(it.frames for it in found.seen) == pytest.approx(20)


def test_one_moment_is_shown_with_what_was_judged_around_it() -> None:
    records = [cover(0, 300, final=True)]
    (life,) = lives(everything(records, [process(0)]))
    moment = violation(200, person("a"), person("b"))
    found = lanes([moment], records, blind(life, NOW))
    assert found is not None
    assert found.shown == 1
    assert found.last_ns - found.first_ns == SHORTEST_NS
    assert found.first_ns < moment.first_ns < found.last_ns
    assert all(it.covered and not it.blind for it in found.seen)
    assert sum(it.frames for it in found.seen) == pytest.approx(10 * 10 / 300, rel=0.05)


# --- proofs -----------------------------------------------------------------------------------


def incident(story: Story, severity: str) -> IncidentTold:
    (found,) = (it for it in story.incidents if it.json["severity"] == severity)
    return found


def test_of_each_pair_the_first_the_worst_and_the_last(tmp_path: Path) -> None:
    writer = scene.Process(tmp_path)
    for at, kinds in enumerate([("payload",), ("payload",), ("payload", "argument"), ("payload",)]):
        writer.leak(at, person("a"), person("b"), kinds=kinds)
    (only,) = told(tmp_path).incidents
    (pair,) = only.proofs
    assert pair.of == 4
    assert [(seconds(it.violation.first_ns), it.why) for it in pair.proofs] == [
        (0, ("first",)),
        (2, ("worst",)),
        (3, ("last",)),
    ]
    assert [it.independent for it in pair.proofs] == [1, 2, 1]
    assert pair.proofs[1].agreeing == ("payload", "argument")


def test_what_agrees_is_counted_by_where_it_was_captured(tmp_path: Path) -> None:
    writer = scene.Process(tmp_path)
    # `resource` is captured at the call, as the argument is; the instance names the recipient.
    writer.leak(
        0,
        person("a"),
        person("b"),
        kinds=("payload", "argument", "resource", "instance"),
        ws_audit__evidence__instance__hash=person("b"),
    )
    (proof,) = told(tmp_path).incidents[0].proofs[0].proofs
    assert proof.agreeing == ("payload", "argument", "resource")
    assert proof.independent == 2
    assert {it.evidence.kind: it.names for it in proof.statements} == {
        "connection": "recipient",
        "payload": "owner",
        "argument": "owner",
        "resource": "owner",
        "instance": "recipient",
    }


def test_the_sends_before_a_violation_are_those_of_its_process(night: Story) -> None:
    proofs = [it for pair in incident(night, "confirmed").proofs for it in pair.proofs]
    assert any(len(it.before) == SENDS for it in proofs)
    for proof in proofs:
        times = [it.first_ns for it in proof.before]
        assert times == sorted(times)
        assert all(it <= proof.violation.first_ns for it in times)
        assert {it.origin for it in proof.before} <= {proof.violation.origin}


def test_evidence_has_its_bounds(tmp_path: Path) -> None:
    scene.crowd(tmp_path, pairs=100, violations=400)
    (only,) = told(tmp_path).incidents
    assert len(only.proofs) == PAIRS
    assert only.records == 400
    assert sum(len(it.proofs) for it in only.proofs) <= 3 * PAIRS


# --- the whole --------------------------------------------------------------------------------


def test_what_was_attempted_and_what_is_uncertain_is_told_by_pair(night: Story) -> None:
    by_severity = {it.severity: it for it in night.pairs}
    assert (by_severity["suspected"].events, by_severity["suspected"].uncertain) == (1, 1)
    assert by_severity["probable"].uncertain == 0
    (vain,) = (it for it in night.pairs if not it.events)
    assert (vain.attempted, vain.severity) == (1, "confirmed")
    storm = max(night.pairs, key=lambda it: it.events)
    assert storm.attempted == storm.events + 1
    for told_ in night.incidents:
        assert sum(it.attempted for it in told_.pairs) == told_.json["attempted"]


def test_a_deploy_that_was_judged_and_did_not_leak_is_told(night: Story) -> None:
    old, new = incident(night, "confirmed").releases
    assert (old.version, old.processes, old.attempted) == ("1.2.2", 1, 0)
    assert old.judged == 10 * 1197
    assert (new.version, new.processes) == ("1.2.3", 3)
    assert new.attempted == night.json["incidents"][0]["attempted"]
    places = incident(night, "confirmed").places
    assert [(it.life.origin.host, it.life.origin.pid) for it in places] == [
        ("web-1", 100),
        ("web-2", 100),
    ]
    assert sum(it.attempted for it in places) == new.attempted
    assert all(it.life.start and it.life.start.python == "3.11.7" for it in places)


def test_blind_intervals_of_the_night(night: Story) -> None:
    found = [
        (it.life.origin.host, it.life.origin.pid, seconds(it.first_ns), seconds(it.last_ns))
        for it in night.blind
    ]
    assert found == [
        ("web-1", 100, 605 + 240, 605 + 360),
        ("web-2", 101, 607 + 360, 0),
        ("web-1", 100, 605 + 720, 0),
    ]
    meanwhile = incident(night, "confirmed").meanwhile
    assert [it.life.origin.pid for it in meanwhile.blind] == [100, 101]
    assert 0 < meanwhile.judged < meanwhile.frames < night.json["coverage"]["frames"]


def test_an_incident_that_came_back_has_its_own_violations(tmp_path: Path) -> None:
    writer = scene.Process(tmp_path)
    day = 25 * 3600
    for at in (0, 5, day, day + 5, day + 9):
        writer.leak(at, person("a"), person("b"))
    story = told(tmp_path)
    assert sorted(it.records for it in story.incidents) == [2, 3]
    assert {it.json["id"].partition("-")[2]: it.records for it in story.incidents} == {
        "": 2,
        "2": 3,
    }
    (pair,) = story.pairs
    assert (pair.events, sorted(pair.incidents)) == (5, [1, 2])


def test_synthetic_violations_are_nobodys(tmp_path: Path) -> None:
    writer = scene.Process(tmp_path)
    writer.leak(0, person("a"), person("b"))
    writer.leak(1, person("a"), person("b"), ws_audit__synthetic=True)
    story = told(tmp_path)
    assert story.incidents[0].records == 1
    assert story.pairs[0].attempted == 1


# --- keeping rows -----------------------------------------------------------------------------


def test_who_keeps_rows_changes_nothing_of_the_review(tmp_path: Path) -> None:
    scene.night(tmp_path)
    # Lines the review counts and the keeper has no row for, and lines nobody can read.
    writer = scene.Process(tmp_path, pid=55)
    writer.write("coverage", writer.span("ws_audit.process", 0, 0, {"ws_audit.targets": "many"}))
    path = next(tmp_path.glob("violations-*.jsonl"))
    with path.open("ab") as file:
        file.write(b'{"resourceSpans": 7}\n{"torn')
    keeper = keep.Keeper()
    assert read.review(tmp_path, NOW, None, keeper) == read.review(tmp_path, NOW)
    kept = keeper.all()
    findings = read.read(tmp_path).findings
    assert sorted(it.finding for it in kept.violations) == sorted(findings)
    assert sum(it.size for it in kept.files) == sum(it.stat().st_size for it in tmp_path.iterdir())


def test_lines_that_a_self_test_played_are_not_kept(tmp_path: Path) -> None:
    writer = scene.Process(tmp_path)
    writer.leak(1, person("a"), person("b"), ws_audit__synthetic=True)
    played = writer.span("ws_audit.send Hub.push", 1, 1, {"ws_audit.synthetic": True})
    writer.write("violations", played)
    keeper = keep.Keeper()
    read.review(tmp_path, NOW, None, keeper)
    assert keeper.all().violations == []
    assert keeper.all().sends == []


def test_sends_beyond_the_bound_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keep, "MAX_SENDS", 10)
    scene.night(tmp_path)
    story = told(tmp_path)
    assert story.sends_left_out == 42
    assert len(rows.Rows._fields) == 7


def test_rows_of_text_alone_are_read_as_well() -> None:
    """A column store keeps every attribute as text."""
    texts = {
        "security_rule.name": "canary",
        "ws_audit.severity": "confirmed",
        "ws_audit.count": "7",
        "ws_audit.delivered": "5",
        "ws_audit.bytes": "70",
        "ws_audit.synthetic": "true",
    }
    row = rows.violation(ORIGIN, texts, ("t", "s", "p"), START, START + MINUTE)
    assert (row.count, row.delivered, row.size, row.synthetic) == (7, 5, 70, True)
    assert row.last_ns == START + MINUTE
    record = rows.coverage(
        ORIGIN,
        {
            "ws_audit.frames": "9",
            "ws_audit.unattributed": "2",
            "ws_audit.unattributed.limit": "2",
            "ws_audit.final": "true",
        },
        START,
        START + MINUTE,
    )
    assert (record.frames, record.final, record.reasons) == (9, True, (("limit", 2),))
