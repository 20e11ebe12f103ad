# SPDX-License-Identifier: Apache-2.0
"""What the review reads from a trace directory, also from one that has been through something."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.unit.recorder import ALICE, BOB, SECOND, START, Recorder
from ws_audit.incidents import incident_id, timestamp
from ws_audit.model import Span
from ws_audit.outputs.store import Store, hash_key
from ws_audit.review.segments.read import read, review

if TYPE_CHECKING:
    from pathlib import Path


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
    (tmp_path / "pushed.jsonl").write_text("{}")
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


def test_what_a_self_test_has_written_changes_nothing(tmp_path: Path) -> None:
    """Also where nothing else was written by its process: nothing of that is missing."""
    recorder = Recorder(tmp_path / "a")
    recorder.leak()
    recorder.cover(frames=3, judged=3)
    before = review(tmp_path / "a", START)
    played = Store(tmp_path / "a", resource={"service.name": "chat"})
    marks: dict[str, str | int | bool | float] = {"ws_audit.synthetic": True}
    told = marks | {"security_rule.name": "canary", "ws_audit.severity": "confirmed"}
    span = Span("ws_audit.violation", 7, 7, 0, START - SECOND, START + 900 * SECOND, told, True)
    assert played.write_violation(span)
    assert review(tmp_path / "a", START) == before  # its process may have died there
    assert played.write_violation(span._replace(attributes=marks | {"ws_audit.outcome": "ok"}))
    assert review(tmp_path / "a", START) == before


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
        "import sys; import ws_audit.review.segments.read, ws_audit.review.telling.report;"
        "print([it for it in sys.modules if it.startswith(('ws_audit.', 'opentelemetry', 'wrapt'))"
        " and not it.startswith('ws_audit.review')])"
    )
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:0] = {sys.path}; {check}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    expected = {f"ws_audit.{it}" for it in ("book", "incidents", "journal", "model", "schema")}
    assert set(json.loads(done.stdout.replace("'", '"'))) == expected
