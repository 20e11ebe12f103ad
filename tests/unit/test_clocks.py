# SPDX-License-Identifier: Apache-2.0
"""Clocks that disagree, were set, or are after now: said, and no time is changed."""

from __future__ import annotations

import json
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.recorder import SECOND, START, Recorder
from ws_audit.model import Span
from ws_audit.outputs import push
from ws_audit.outputs.coverage import Coverage, base_ns
from ws_audit.outputs.store import Store
from ws_audit.review.databases import columns
from ws_audit.review.segments import clocks, read
from ws_audit.tally import Tally

if TYPE_CHECKING:
    from pathlib import Path

MINUTE = 60
BASE = START - 1000 * SECOND  # when the machines booted


class Hosts:
    """Writes as processes of several hosts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
        self.monkeypatch = monkeypatch
        self.directory = directory
        self.real = os.uname()
        now = SimpleNamespace(time_ns=lambda: START + 86_400 * SECOND)
        monkeypatch.setattr(read, "time", now)

    def recorder(self, host: str, directory: Path | None = None) -> Recorder:
        fields = (self.real.sysname, host, *self.real[2:])
        self.monkeypatch.setattr(os, "uname", lambda: os.uname_result(fields))
        return Recorder(directory or self.directory)

    def problems(self, *more: Path) -> list[str]:
        """What a review of all says, but for processes without an end; both readers alike."""
        where = [self.directory, *more]
        found = read.examine(where)
        assert columns.examine(where).document(START) == found.document(START)
        return [it for it in found.problems if "last coverage record" not in it]


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hosts:
    return Hosts(monkeypatch, tmp_path / "traces")


def beat(recorder: Recorder, minute: int, base_ns: int = BASE, disk_ns: int = 0) -> None:
    said: dict[str, Any] = {"clock__base_ns": base_ns, "clock__disk_ahead_ns": disk_ns}
    recorder.cover(final=False, at=minute * MINUTE, **said)


def test_clocks_that_agree_are_not_spoken_of(hosts: Hosts) -> None:
    for host, ahead in (("a", 0), ("b", -400_000_000), ("c", 300_000_000)):
        recorder = hosts.recorder(host)
        for minute in range(5):
            beat(recorder, minute, BASE + ahead * (minute % 2), -ahead)
    assert hosts.problems() == []


@pytest.mark.parametrize(("by_s", "way"), [(300, "forward"), (-7200, "back")])
def test_a_clock_that_was_set(hosts: Hosts, by_s: int, way: str) -> None:
    for _ in range(2):  # two processes of the host tell of it, and it is one
        recorder = hosts.recorder("a")
        beat(recorder, 1)
        beat(recorder, 2)
        beat(recorder, 3 + by_s // 60, BASE + by_s * SECOND)
        beat(recorder, 4 + by_s // 60, BASE + by_s * SECOND)
    (said,) = hosts.problems()
    long = "5 min" if by_s > 0 else "2 h"
    assert said.startswith(f"host a: its clock was set {way} by {long} between 2026-11-23T")
    assert "10:02:00" in said


@pytest.mark.parametrize("block", [1, 700, 2_500, 1 << 22])
def test_a_segment_is_searched_as_if_it_were_read(
    hosts: Hosts, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(clocks, "_BLOCK", block)
    recorder = hosts.recorder("a")  # whose first line tells nothing
    expected: list[tuple[int, int, int | None]] = []
    for minute in range(1, 6):
        end_ns = START + minute * MINUTE * SECOND + 5_000_000
        if minute % 2:
            recorder.cover(final=False, at=minute * MINUTE, clock__base_ns=BASE + minute)
            expected.append((end_ns, BASE + minute, None))
        else:
            beat(recorder, minute, BASE + minute, -minute)
            expected.append((end_ns, BASE + minute, -minute))
        recorder.cover(final=False, at=minute * MINUTE + 1)
    (path,) = hosts.directory.glob("coverage-*")
    body = path.read_bytes()
    path.write_bytes(body + body[: body.rindex(b"\n", 0, -1)][-400:])  # a torn line
    assert list(clocks._told(path)) == expected


def test_two_hosts_on_one_disk(hosts: Hosts) -> None:
    for host, ahead in (("a", 0), ("b", 185), ("c", -2)):
        recorder = hosts.recorder(host)
        for minute in range(3):
            beat(recorder, minute, disk_ns=-ahead * SECOND + minute * 1_000_000)
    tail = "that of host a, by the disk both write to: its times are as it said them"
    assert hosts.problems() == [
        f"the clock of host b is about 3 min 5 s ahead of {tail}",
        f"the clock of host c is about 2.0 s behind {tail}",
    ]


def test_hosts_with_a_disk_each_are_held_against_their_own(hosts: Hosts, tmp_path: Path) -> None:
    beat(hosts.recorder("a"), 1)
    beat(hosts.recorder("b", tmp_path / "other"), 1, disk_ns=3601 * SECOND)
    (said,) = hosts.problems(tmp_path / "other")
    assert said == (
        "the clock of host b is about 1 h 1 s behind that of the disk it writes to: its times are "
        "as it said them"
    )


def test_records_dated_after_now(hosts: Hosts) -> None:
    recorder = hosts.recorder("a")
    beat(recorder, 24 * MINUTE)  # now
    assert hosts.problems() == []
    beat(recorder, 24 * MINUTE + 1)
    (said,) = hosts.problems()
    assert said == (
        "records of host a are dated up to 2026-11-24T10:01:00.005000000Z, which is after now: "
        "its clock is ahead, or that of this machine behind"
    )


def crossing(recorder: Recorder, trace: int, at: float, **more: Any) -> None:
    recorder.spans = trace - 1  # its number is its trace's
    recorder.leak(at=at, **more)


@pytest.mark.parametrize(
    ("moments", "said"),
    [
        # Each trace went through both hosts within a moment.
        ([(0, 120.0), (10, 130.2), (50, 169.9)], "2 min 0 s ahead of"),
        ([(200, 20.5), (210, 31)], None),  # too few
        ([(0, 0.1), (5, 5.0), (9, 8.9)], None),  # as they should be
        ([(0, 120), (10, 500), (20, 21)], None),  # long traces: they say nothing
    ],
)
def test_traces_that_went_through_two_hosts(
    hosts: Hosts, tmp_path: Path, moments: list[tuple[float, float]], said: str | None
) -> None:
    one, other = hosts.recorder("a"), hosts.recorder("b", tmp_path / "other")
    for number, (first, second) in enumerate(moments):
        trace = 1000 + number
        crossing(one, trace, first)
        crossing(one, trace, first + 30)  # later in the same trace
        crossing(other, trace, second)
        crossing(other, trace, second - 500, ws_audit__count=9)  # an aggregate has no moment
    crossing(one, 2000, 1)
    found = hosts.problems(tmp_path / "other")
    if said is None:
        assert found == []
    else:
        (only,) = found
        assert only.startswith(f"the clock of host b is about {said.replace(' 0 s', '')} that of")
        assert "by 3 traces that went through both" in only


def test_hosts_against_who_takes_their_incidents(hosts: Hosts, tmp_path: Path) -> None:
    """The only thing that hosts may have in common which have a disk each."""
    beat(hosts.recorder("a"), 1)
    beat(hosts.recorder("b", tmp_path / "other"), 1)
    told = {"a": (0.4, -2.0), "b": (-299.0, -301.0, 2.0, -300.5)}
    for host, directory in (("a", hosts.directory), ("b", tmp_path / "other")):
        with (directory / "pushed.jsonl").open("w") as file:
            file.write('{"channel": "otlp", "incident": "x", "attempted": 1}\n{"host": "b", "ahead')
            file.write('\n[]\n{"host": "b", "ahead_s": 1e999}\n')
            for ahead in told[host]:
                file.write(json.dumps({"channel": "webhook", "host": host, "ahead_s": ahead}))
                file.write("\n")
    (said,) = hosts.problems(tmp_path / "other")
    assert said == (
        "the clock of host b is about 5 min ahead of that of the webhook's receiver: its times "
        "are as it said them"
    )


# --- what the agent records ------------------------------------------------------------------


def test_a_process_tells_how_its_clock_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path, resource={})
    written: list[Span] = []
    coverage = Coverage(Tally(), store, written.append)
    store.write_coverage(Span("ws_audit.process", 1, 1, 0, START, START, {}))
    now = time.time_ns()
    coverage.begin(now)
    coverage.write(now + 1)
    first = written[-1].attributes
    base, disk = first["ws_audit.clock.base_ns"], first["ws_audit.clock.disk_ahead_ns"]
    assert isinstance(base, int)
    assert isinstance(disk, int)
    assert abs(base - base_ns()) < 100_000_000
    assert abs(disk) < 5 * SECOND

    # Set back by an hour: told at once, not when the hour has passed again.
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() - 3600 * SECOND)
    coverage.tick(time.time_ns())
    assert len(written) == 2
    again = written[-1].attributes["ws_audit.clock.base_ns"]
    assert isinstance(again, int)
    assert again - base == pytest.approx(-3600 * SECOND, abs=SECOND)
    coverage.tick(time.time_ns() + SECOND)
    assert len(written) == 2
    coverage.write(time.time_ns(), final=True)
    disk = written[-1].attributes["ws_audit.clock.disk_ahead_ns"]
    assert disk == pytest.approx(3600 * SECOND, abs=SECOND)

    # Where a look took long, nobody knows: nothing is said.
    moments = iter(range(10))
    monkeypatch.setattr(time, "time_ns", lambda: real() + next(moments) * SECOND)
    coverage.write(real())
    coverage.write(real())
    assert "ws_audit.clock.disk_ahead_ns" not in written[-1].attributes
    store.close()


@pytest.mark.parametrize(
    ("date", "slow_s", "ahead_s"),
    [
        ("Mon, 23 Nov 2026 10:00:00 GMT", 0, 100.5),
        ("Mon, 23 Nov 2026 10:00:00 GMT", 2, None),  # when in between was that?
        ("yesterday", 0, None),
        (None, 0, None),
    ],
)
def test_a_receiver_s_answer_tells_its_time(
    monkeypatch: pytest.MonkeyPatch, date: str | None, slow_s: int, ahead_s: float | None
) -> None:
    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response_only(204)
            if date is not None:
                self.send_header("Date", date)
            self.end_headers()

    moments = iter([START - 100 * SECOND, START - (100 - slow_s) * SECOND])
    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        answering = threading.Thread(target=server.handle_request)
        answering.start()
        webhook = push.Webhook(f"http://127.0.0.1:{server.server_port}/")
        monkeypatch.setattr(push, "time", SimpleNamespace(time_ns=lambda: next(moments)))
        assert webhook.send({"id": "x"})
        answering.join()
    assert webhook.ahead_s == ahead_s
