# SPDX-License-Identifier: Apache-2.0
"""What the review makes of a trace directory, also of one that has been through something."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from ws_audit.incidents import incident_id, timestamp
from ws_audit.model import Span
from ws_audit.outputs.store import Store, hash_key
from ws_audit.review.read import read, review
from ws_audit.review.report import text

if TYPE_CHECKING:
    from pathlib import Path

SECOND = 1_000_000_000
START = 1_795_428_000 * SECOND  # 2026-11-23T10:00:00Z
ALICE, BOB, EVE = "a" * 32, "b" * 32, "e" * 32
NOTHING = {"frames": 0, "judged": 0, "unattributed": 0, "excused": 0, "dropped": 0}


class Recorder:
    """Writes what an agent would, with as little said as possible."""

    def __init__(self, directory: Path, service: str = "chat", **limits: Any) -> None:
        resource = {"service.name": service, "service.version": "1.2.3"}
        self.store = Store(directory, resource=resource, **limits)
        self.spans = 0
        self.store.write_coverage(self._span("ws_audit.process", START))

    def _span(self, name: str, ns: int, **attributes: Any) -> Span:
        self.spans += 1
        named = {key.replace("__", "."): value for key, value in attributes.items()}
        return Span(name, self.spans, self.spans, 0, ns, ns + 5_000_000, named, True)

    def leak(self, outcome: str | None = "ok", at: float = 0, **attributes: Any) -> None:
        """One violation: the whole line, then its outcome; None: the process died between."""
        values = {
            "security_rule__name": "payload_vs_connection",
            "ws_audit__severity": "confirmed",
            "user__hash": ALICE,
            "ws_audit__owner__hash": BOB,
            "ws_audit__event": "agent_started",
            "ws_audit__manager": "app.ws:Hub",
            "ws_audit__site": "app.ws:Hub.push:42",
            "ws_audit__bytes": 100,
            **attributes,
        }
        span = self._span("ws_audit.violation", START + int(at * SECOND), **values)
        assert self.store.write_violation(span)
        if outcome is not None:
            assert self.store.write_violation(
                span._replace(attributes={"ws_audit.outcome": outcome}, end_ns=span.end_ns + 1)
            )

    def neighbour(self) -> None:
        self.store.write_violation(self._span("ws_audit.send app.ws:Hub", START))

    def cover(self, *, final: bool = True, at: float = 60, **counts: int) -> None:
        values: dict[str, Any] = {f"ws_audit__{name}": count for name, count in counts.items()}
        values["ws_audit__unattributed__no_evidence"] = 3
        if final:
            values["ws_audit__final"] = True
        span = self._span("ws_audit.coverage", START + int(at * SECOND), **values)
        self.store.write_coverage(span)


def segment(directory: Path, kind: str = "violations") -> Path:
    (path,) = directory.glob(f"{kind}-*.jsonl")
    return path


# --- reading -------------------------------------------------------------------------------


def test_the_review_is_exactly_the_contracts_json(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    recorder.leak()
    recorder.neighbour()
    recorder.cover(frames=12_034, judged=12_000, unattributed=34, excused=5, dropped=1)
    recorder.store.close()
    hash_key(tmp_path)
    (tmp_path / "control").write_text("on")
    assert review(tmp_path, START + 60 * SECOND) == {
        "schema": 1,
        "incidents": [
            {
                "id": incident_id("chat", "payload_vs_connection", "app.ws:Hub.push:42"),
                "rule": "payload_vs_connection",
                "severity": "confirmed",
                "first_seen": "2026-11-23T10:00:00.000000000Z",
                "last_seen": "2026-11-23T10:00:00.000000000Z",
                "ongoing": True,
                "acknowledged": False,
                "events": 1,
                "attempted": 1,
                "bytes": 100,
                "pairs": [
                    {
                        "recipient": ALICE,
                        "owner": BOB,
                        "severity": "confirmed",
                        "events": 1,
                        "first_seen": "2026-11-23T10:00:00.000000000Z",
                        "last_seen": "2026-11-23T10:00:00.000000000Z",
                    }
                ],
                "managers": ["app.ws:Hub"],
                "sites": ["app.ws:Hub.push:42"],
                "services": ["chat"],
                "versions": ["1.2.3"],
                "trace_ids": [f"{2:032x}"],
            }
        ],
        "coverage": {
            "frames": 12_034,
            "judged": 12_000,
            "unattributed": 34,
            "excused": 5,
            "dropped": 1,
        },
        "window": {
            "first": "2026-11-23T10:00:00.000000000Z",
            "last": "2026-11-23T10:01:00.005000000Z",
        },
        "problems": [],
    }


@pytest.mark.parametrize(
    ("outcome", "delivered"),
    [("ok", 1), (None, 1), ("unknown", 1), ("error", 0), ("refused", 0), ("cancelled", 0)],
)
def test_an_event_counts_as_delivered_unless_it_is_known_not_to_be(
    tmp_path: Path, outcome: str | None, delivered: int
) -> None:
    Recorder(tmp_path).leak(outcome)
    (incident,) = review(tmp_path, START)["incidents"]
    assert (incident["events"], incident["attempted"]) == (delivered, 1)
    assert incident["bytes"] == 100 * delivered


def test_an_outcome_is_found_across_a_rotation_and_among_others(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, segment_bytes=1)
    for number, outcome in enumerate(["ok", "refused", "ok"] * 5):
        recorder.leak(None, at=number)
        recorder.store.sync()
        span = recorder._span("ws_audit.violation", START, ws_audit__outcome=outcome)
        recorder.spans -= 1
        recorder.store.write_violation(span._replace(span_id=span.span_id - 1))
        recorder.store.sync()
    assert [it.delivered for it in read(tmp_path).findings] == [1, 0, 1] * 5
    assert len(list(tmp_path.glob("violations-*"))) >= 30


def test_a_storms_aggregate_counts_for_all_it_stands_for(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    recorder.leak()
    recorder.leak(
        None, at=1, ws_audit__count=5000, ws_audit__delivered=4990, ws_audit__bytes=500_000
    )
    (incident,) = review(tmp_path, START)["incidents"]
    assert (incident["events"], incident["attempted"]) == (4991, 5001)
    assert incident["bytes"] == 500_100
    assert incident["last_seen"] == timestamp(START + SECOND + 5_000_000)


def test_synthetic_findings_are_no_incidents(tmp_path: Path) -> None:
    Recorder(tmp_path).leak(ws_audit__synthetic=True)
    assert review(tmp_path, START)["incidents"] == []
    assert [it.synthetic for it in read(tmp_path).findings] == [True]


def test_the_worst_and_latest_comes_first(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    for number, severity in enumerate(
        ["hygiene", "suspected", "confirmed", "probable", "confirmed"]
    ):
        recorder.leak(at=number, ws_audit__severity=severity, ws_audit__site=f"app:place{number}:1")
    order = [(it["severity"], it["sites"][0]) for it in review(tmp_path, START)["incidents"]]
    assert order == [
        ("confirmed", "app:place4:1"),
        ("confirmed", "app:place2:1"),
        ("probable", "app:place3:1"),
        ("suspected", "app:place1:1"),
        ("hygiene", "app:place0:1"),
    ]


def test_processes_and_services_are_summed(tmp_path: Path) -> None:
    for service in ("chat", "chat", "mail"):
        recorder = Recorder(tmp_path, service)
        recorder.leak()
        recorder.cover(frames=10, judged=9, unattributed=1, excused=0, dropped=0, final=False)
        recorder.cover(frames=1, judged=1, unattributed=0, excused=0, dropped=0)
        recorder.store.close()
    found = review(tmp_path, START)
    assert sorted((it["services"][0], it["events"]) for it in found["incidents"]) == [
        ("chat", 2),
        ("mail", 1),
    ]
    assert found["coverage"] == {
        "frames": 33,
        "judged": 30,
        "unattributed": 3,
        "excused": 0,
        "dropped": 0,
    }
    assert found["problems"] == []


def test_a_missing_version_is_no_problem(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    recorder.leak()
    path = segment(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"service.version", b"service.unrelated"))
    assert {it.version for it in read(tmp_path).findings} == {""}


# --- what is missing -----------------------------------------------------------------------


def test_a_process_without_its_last_record_is_named(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    host, pid = os.uname().nodename, os.getpid()
    expected = (
        f"process {pid} on {host} has not written its last coverage record (still running or "
        "killed): up to 60 s of its traffic are not in the coverage figures"
    )
    assert read(tmp_path).problems == [expected]
    recorder.cover(final=False)
    assert read(tmp_path).problems == [expected]
    recorder.cover(final=True)
    assert read(tmp_path).problems == []


def test_a_torn_last_line_costs_that_line(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    recorder.leak()
    recorder.leak()
    recorder.cover()
    path = segment(tmp_path)
    path.write_bytes(path.read_bytes()[:-500])
    stored = read(tmp_path)
    assert len(stored.findings) == 2
    assert stored.problems == [
        f"{path.name} line 4: torn (killed or disk full in mid-write), not counted"
    ]


@pytest.mark.parametrize(
    "garbage",
    [
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"\xff\xfe\x00",
        b"\x00" * 5000,
        b"{}",
        b'{"resourceSpans":7}',
        b'{"resourceSpans":[{"resource":{},"scopeSpans":[{"scope":{}}]}]}',
        b"[" * 100_000,
        b'{"a":1e999}',
    ],
)
def test_a_corrupt_line_costs_that_line(tmp_path: Path, garbage: bytes) -> None:
    recorder = Recorder(tmp_path)
    recorder.leak()
    recorder.cover(frames=1, judged=1)
    path = segment(tmp_path)
    good = path.read_bytes()
    path.write_bytes(garbage + b"\n" + good + garbage + b"\n" + good)
    stored = read(tmp_path)
    assert len(stored.findings) == 2
    assert stored.coverage["judged"] == 1
    assert stored.problems == [f"{path.name} line 1, and 1 more: corrupt, not counted"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (rb'"startTimeUnixNano":"\d+"', b'"startTimeUnixNano":"soon"'),
        (rb'"startTimeUnixNano":"\d+"', b'"startTimeUnixNano":"0"'),
        (rb'"endTimeUnixNano":"\d+"', b'"endTimeUnixNano":"' + b"9" * 30 + b'"'),
        (rb'"intValue":"100"', b'"intValue":"-100"'),
        (rb'"intValue":"100"', b'"intValue":"many"'),
        (rb'"stringValue":"confirmed"', b'"stringValue":"terrible"'),
        (rb'"spanId"', b'"span"'),
    ],
)
def test_a_line_that_makes_no_sense_is_not_half_counted(
    tmp_path: Path, old: bytes, new: bytes
) -> None:
    recorder = Recorder(tmp_path)
    recorder.leak(None)
    recorder.cover()
    path = segment(tmp_path)
    path.write_bytes(re.sub(old, new, path.read_bytes()))
    stored = read(tmp_path)
    assert stored.findings == []
    assert stored.last_ns == START + 60 * SECOND + 5_000_000
    assert stored.problems == [f"{path.name} line 1: corrupt, not counted"]


def test_what_others_wrote_is_named_and_left_alone(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    recorder.leak()
    recorder.cover()
    path = segment(tmp_path)
    line = path.read_bytes().splitlines()[0]
    path.write_bytes(
        line.replace(b'"version":"1"', b'"version":"2"')
        + b"\n"
        + line.replace(b'"name":"ws_audit"', b'"name":"other\\u001b"')
        + b"\n"
    )
    for number in range(12):
        (tmp_path / f"foreign-{number:02}.txt").write_text("x")
    (tmp_path / "violations-mine.jsonl").write_text("x")
    problems = read(tmp_path).problems
    assert problems[:2] == [
        "foreign-00.txt: no segment of ours, ignored",
        "foreign-01.txt: no segment of ours, ignored",
    ]
    assert problems[10:] == [
        "3 more files are no segments of ours, ignored",
        f"{path.name} line 1: record version '2', this review reads version 1, not counted",
        f"{path.name} line 2: written by 'other\\x1b', not by ws_audit, not counted",
    ]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    recorder.leak()
    recorder.cover()
    os.mkfifo(tmp_path / "violations-host-1-1-0.jsonl")
    (tmp_path / "violations-host-1-1-1.jsonl").mkdir()
    (tmp_path / "violations-host-1-1-2.jsonl").symlink_to(tmp_path / "nowhere")
    stored = read(tmp_path)
    assert stored.problems == [
        "violations-host-1-1-0.jsonl: cannot be read: not a regular file",
        "violations-host-1-1-1.jsonl: cannot be read: not a regular file",
        "violations-host-1-1-2.jsonl: cannot be read: No such file or directory",
    ]
    assert len(stored.findings) == 1


def test_an_outcome_whose_violation_is_lost_is_named(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    recorder.leak()
    recorder.cover()
    path = segment(tmp_path)
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[1])
    (problem,) = read(tmp_path).problems
    assert "1 violations are known by their outcome only" in problem


def test_a_missing_directory_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        read(tmp_path / "file")


def test_reading_shows_its_progress_and_changes_nothing(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    for number in range(1500):
        recorder.leak(at=number)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    steps: list[tuple[int, int]] = []
    read(tmp_path, lambda done, total: steps.append((done, total)))
    assert len(steps) >= 4
    assert steps == sorted(steps)
    assert steps[-1][0] == steps[-1][1] == sum(it.stat().st_size for it in tmp_path.iterdir())
    assert before == {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}


def test_the_review_needs_nothing_that_is_not_in_python() -> None:
    check = (
        "import sys; import ws_audit.review.read, ws_audit.review.report;"
        "print([it for it in sys.modules if it.startswith(('ws_audit.', 'opentelemetry', 'wrapt'))"
        " and not it.startswith('ws_audit.review')])"
    )
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:0] = {sys.path}; {check}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    expected = {"ws_audit.incidents", "ws_audit.model", "ws_audit.schema"}
    assert set(json.loads(done.stdout.replace("'", '"'))) == expected


# --- the report ----------------------------------------------------------------------------


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

Coverage: 12,000 of 12,034 frames judged (99.7 %); 34 could not be attributed to anybody, \
0 excused by policy
  recorded from 2026-11-23T10:00:00.000000000Z
             to 2026-11-23T10:01:00.005000000Z
"""
    )


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
