# SPDX-License-Identifier: Apache-2.0
"""What an on-call engineer reads, and what it must never claim."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.unit.recorder import ALICE, EVE, SECOND, START, Recorder
from ws_audit import journal
from ws_audit.incidents import Mark, incident_id
from ws_audit.review.segments.read import examine, review
from ws_audit.review.telling.report import text

if TYPE_CHECKING:
    from pathlib import Path


def leaky(directory: Path) -> Recorder:
    recorder = Recorder(directory)
    for number in range(12):
        recorder.leak(at=number)
    recorder.leak("refused", at=12)
    recorder.leak(at=13, user__hash=EVE, ws_audit__owner__hash=ALICE)
    recorder.leak(
        at=14,
        security_rule__name="argument_vs_connection",
        ws_audit__severity="probable",
        ws_audit__site="app.jobs:notify:7",
    )
    recorder.cover(frames=12_034, judged=12_000, unattributed=34, excused=0, dropped=0)
    return recorder


def test_the_report_reads_from_the_banner_down(tmp_path: Path) -> None:
    leaky(tmp_path)
    report = text(review(tmp_path, START + 3600 * SECOND))
    first = incident_id("chat", "payload_vs_connection", "app.ws:Hub.push:42")
    second = incident_id("chat", "argument_vs_connection", "app.jobs:notify:7")
    assert (
        report
        == f"""\
LEAK CONFIRMED, over since 2026-11-23T10:00:13.000000000Z
  3 people in 2 pairs, 13 events delivered of 14 attempted, 1,300 bytes
  first 2026-11-23T10:00:00.000000000Z
  last  2026-11-23T10:00:13.000000000Z
  2 incidents: 1 confirmed, 1 probable

1. payload_vs_connection  confirmed, over  [incident {first}]
   13 events delivered of 14 attempted, 1,300 bytes
   first 2026-11-23T10:00:00.000000000Z
   last  2026-11-23T10:00:13.000000000Z
   whose data -> whose connection (keyed hashes)
     bbbbbbbb -> aaaaaaaa  12 events  confirmed
     aaaaaaaa -> eeeeeeee  1 event  confirmed
   code      app.ws:Hub.push:42
   manager   app.ws:Hub
   service   chat 1.2.3
   trace     {2:032x}, {3:032x}, {4:032x} and 11 more (--format json)

2. argument_vs_connection  probable, over  [incident {second}]
   1 event delivered of 1 attempted, 100 bytes
   first 2026-11-23T10:00:14.000000000Z
   last  2026-11-23T10:00:14.000000000Z
   whose data -> whose connection (keyed hashes)
     bbbbbbbb -> aaaaaaaa  1 event  probable
   code      app.jobs:notify:7
   manager   app.ws:Hub
   service   chat 1.2.3
   trace     {16:032x}

To close one: ws-audit review ack INCIDENT --by NAME --note TEXT

Coverage: 12,000 of 12,034 frames judged (99.7 %); 34 could not be attributed to anybody, \
0 excused by policy
  recorded from 2026-11-23T10:00:00.000000000Z
             to 2026-11-23T10:01:00.005000000Z
"""
    )


def test_incidents_of_the_very_same_pairs_are_said_to_be(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    for place in ("app:one:1", "app:two:2"):
        recorder.leak(at=9, ws_audit__site=place)  # the later comes first
    recorder.leak(ws_audit__site="app:three:3", user__hash="c" * 32)
    report = text(review(tmp_path, START))
    assert report.count("   the same pairs as ") == 1
    assert "   the same pairs as 1: maybe one mistake\n   1 event delivered" in report


def test_ongoing_is_said_first(tmp_path: Path) -> None:
    leaky(tmp_path)
    assert text(review(tmp_path, START)).startswith("LEAK CONFIRMED, ONGOING\n")


def test_what_was_refused_is_no_delivered_leak(tmp_path: Path) -> None:
    Recorder(tmp_path).leak("refused")
    report = text(review(tmp_path, START))
    assert report.startswith("LEAK CONFIRMED, NOTHING OF IT DELIVERED, ONGOING\n")
    assert "0 events delivered of 1 attempted, 0 bytes" in report


def test_an_empty_directory_proves_nothing(tmp_path: Path) -> None:
    report = text(review(tmp_path, START))
    assert report.startswith("NOTHING RECORDED HERE: ")
    assert "says nothing about leaks" in report
    assert "Coverage: 0 of 0 frames judged;" in report
    assert review(tmp_path, START)["window"] == {"first": None, "last": None}


def test_no_violation_proves_nothing_when_nothing_was_judged(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    recorder.cover(frames=500, unattributed=500)
    report = text(review(tmp_path, START))
    assert report.startswith("NOTHING JUDGED: no violation, but none of 500 frames ")
    assert "Coverage: 0 of 500 frames judged (0.0 %)" in report


def test_no_violation_stands_beside_what_was_judged(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    recorder.cover(frames=10_000, judged=9_999, unattributed=1, dropped=2)
    report = text(review(tmp_path, START))
    assert report.startswith("NO VIOLATION among 9,999 judged frames\n")
    assert "9,999 of 10,000 frames judged (99.9 %)" in report
    assert "2 records lost by the agent" in report


def test_problems_are_listed(tmp_path: Path) -> None:
    Recorder(tmp_path)
    (tmp_path / "x\x1b[2Jy").write_text("")
    report = text(review(tmp_path, START))
    assert "What could not be read, or is missing:\n  - x\\x1b[2Jy: no segment of ours" in report
    assert "  - process " in report


def test_people_who_look_alike_get_more_digits(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    recorder.leak(user__hash="a" * 32, ws_audit__owner__hash="a" * 20 + "b" * 12)
    report = text(review(tmp_path, START))
    assert f"{'a' * 20}bbbb -> {'a' * 24}  1 event" in report


def test_unknown_people_are_no_people(tmp_path: Path) -> None:
    Recorder(tmp_path).leak(user__hash="")
    report = text(review(tmp_path, START))
    assert "1 person in 1 pair" in report
    assert "bbbbbbbb -> unknown" in report


def test_many_pairs_are_cut_and_counted(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    for user in range(50):
        recorder.leak(user__hash=f"{user:08d}" * 4)
    report = text(review(tmp_path, START))
    assert "51 people in 50 pairs" in report
    assert report.count(" -> 0") == 20
    assert "and 30 more pairs (--format json)" in report


def test_stored_text_never_steers_the_terminal(tmp_path: Path) -> None:
    Recorder(tmp_path).leak(
        ws_audit__manager="app:\x1b[2J\u202eHub\nLEAK", ws_audit__owner__hash="<b>\x07"
    )
    report = text(review(tmp_path, START))
    assert not [it for it in report if not it.isprintable() and it != "\n"]
    assert "app:\\x1b[2J\\u202eHub\\nLEAK" in report


def test_colour_is_asked_for(tmp_path: Path) -> None:
    leaky(tmp_path)
    found = review(tmp_path, START)
    assert "\x1b" not in text(found)
    assert text(found, color=True).startswith("\x1b[1;31mLEAK CONFIRMED, ONGOING\x1b[0m\n")
    assert re.sub(r"\x1b\[[0-9;]*m", "", text(found, color=True)) == text(found)


# --- what is no leak -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "severity", "headline"),
    [
        (
            "rebound_connection",
            "probable",
            "A CONNECTION WAS GIVEN TO A SECOND USER (PROBABLE), NO WRONG DELIVERY SEEN",
        ),
        (
            "shared_state",
            "probable",
            "TWO USERS' OBJECTS SHARE SOMETHING THAT CHANGES (PROBABLE), NO WRONG DELIVERY SEEN",
        ),
        (
            "shared_instance",
            "hygiene",
            "NO LEAK AMONG THE VIOLATIONS, BUT POOR HYGIENE",
        ),
        ("payload_vs_connection", "probable", "LEAK PROBABLE"),
    ],
)
def test_only_a_delivery_is_called_a_leak(
    tmp_path: Path, rule: str, severity: str, headline: str
) -> None:
    Recorder(tmp_path).leak(security_rule__name=rule, ws_audit__severity=severity)
    assert text(review(tmp_path, START)).splitlines()[0] == f"{headline}, ONGOING"


def test_what_happened_is_told_in_its_own_words(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    for _ in range(2):
        recorder.leak(security_rule__name="rebound_connection", ws_audit__severity="probable")
    recorder.leak(at=1, ws_audit__severity="suspected")
    lines = text(review(tmp_path, START)).splitlines()
    assert lines[0] == (
        "A CONNECTION WAS GIVEN TO A SECOND USER (PROBABLE), AND A LEAK IS SUSPECTED, ONGOING"
    )
    assert lines[1] == "  2 people in 1 pair, seen 2 times"
    assert "   a connection was given to a second user" in lines
    assert "   who came second -> whose connection it was (keyed hashes)" in lines
    assert "     bbbbbbbb -> aaaaaaaa  2 times  probable" in lines


def test_reasons_stand_beside_what_could_not_be_judged(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    recorder.cover(frames=10, judged=7, unattributed=3)
    recorder.cover(frames=10, judged=7, unattributed=3, at=70)
    found = examine(tmp_path)
    assert found.stored.reasons["no_evidence"] == 6
    report = text(found.document(START), found.acks, found.stored.reasons)
    assert "  6 no_evidence: neither the message nor its caller says whose it is\n" in report
    assert "no_principal" not in report
    assert "ws-audit doctor says what settles" in report
    assert "no_evidence" not in text(found.document(START))


def test_the_banner_is_of_what_nobody_has_acknowledged(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    recorder.leak()
    recorder.leak(at=1, ws_audit__severity="probable", ws_audit__site="app.jobs:notify:7")
    worst = incident_id("chat", "payload_vs_connection", "app.ws:Hub.push:42")
    journal.append(tmp_path, [Mark(worst, 1, START, START, START + SECOND, "ada", "seen")])
    lines = text(review(tmp_path, START)).splitlines()
    assert lines[0] == "LEAK PROBABLE, ONGOING"
    assert lines[4] == "  2 incidents: 1 confirmed, 1 probable; 1 of them acknowledged"
    assert "To close one: ws-audit review ack INCIDENT --by NAME --note TEXT" in lines


def test_an_acknowledged_leak_was_seen_all_the_same(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    recorder.leak()
    recorder.leak(security_rule__name="rebound_connection", ws_audit__severity="probable")
    leak = incident_id("chat", "payload_vs_connection", "app.ws:Hub.push:42")
    journal.append(tmp_path, [Mark(leak, 1, START, START, START + SECOND, "ada", "seen")])
    assert text(review(tmp_path, START)).splitlines()[0] == (
        "A CONNECTION WAS GIVEN TO A SECOND USER (PROBABLE), ONGOING"
    )
