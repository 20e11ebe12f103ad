# SPDX-License-Identifier: Apache-2.0
"""Every event in the store: as many spans as messages, in lines that others can read, or counted.

The records are built by hand here; `tests/real/test_all_events.py` has a real server.
"""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import json_format  # type: ignore[import-untyped]
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from tests.unit.records import ADA, BOB, HASH, NOW, call, delivery
from tests.unit.stores import RESOURCE, attributes, lines, open_store, segments, spans
from ws_audit.messages.intents import send_ids
from ws_audit.model import Verdict
from ws_audit.outputs.deliveries import BATCH, PRESSURE, Deliveries
from ws_audit.outputs.segments import CACHE, Closed, expendable, forget_columns
from ws_audit.outputs.spans import SpanMaker
from ws_audit.process.allowance import Allowance
from ws_audit.process.breaker import cpus
from ws_audit.tally import Tally

if TYPE_CHECKING:
    from pathlib import Path

    from ws_audit.outputs.store import Store


class Bench:
    """The part under test, with a store; `waiting` records are in the ring."""

    def __init__(self, directory: Path, **limits: Any) -> None:
        self.store = open_store(directory, events=True, **limits)
        self.tally = Tally()
        self.waiting = 0
        self.spent: dict[str, float] = {"drain": 0.0}
        self.clock = 0.0
        self.said: list[str] = []
        self.allowance = Allowance(0.05, lambda: self.spent, lambda: self.clock)
        self.out = Deliveries(
            SpanMaker(HASH, "chat", "1.2.3"),
            self.store,
            self.tally,
            lambda: self.waiting,
            self.allowance,
            self.said.append,
        )

    def dropped(self) -> dict[str, int]:
        return {key[1]: number for key, number in self.tally.total().items() if key[0] == "dropped"}


def stored(directory: Path) -> list[dict[str, Any]]:
    found = []
    for line in lines(directory, "events"):
        if line:
            (resource,) = json.loads(line)["resourceSpans"]
            found += resource["scopeSpans"][0]["spans"]
    return found


def test_sends_and_deliveries_are_otlp_in_segments_of_their_own(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    leak = Verdict("violation", "", "payload_vs_connection", "probable")
    no_message = Verdict("violation", "", "rebound_connection", "probable")
    bench.out.fold(delivery(1, intent=3))
    bench.out.fold(call(3))
    bench.out.fold(
        delivery(2, who=BOB, verdict=leak, outcome="error", site="app:run:9\u2028\ud800")
    )
    bench.out.fold(delivery(3, verdict=no_message))
    assert not segments(tmp_path, "events")  # nothing of it before the drain has a line's worth
    bench.out.tick(NOW)
    assert not segments(tmp_path, "violations")

    (line,) = [line for line in lines(tmp_path, "events") if line]
    (resource,) = json_format.Parse(line, TracesData()).resource_spans
    told = {it.key: it.value.string_value for it in resource.resource.attributes}
    assert RESOURCE.items() <= told.items()
    joined, send, leaked = stored(tmp_path)
    trace_id, span_id = send_ids(3, 0)
    assert (joined["traceId"], joined["parentSpanId"]) == (f"{trace_id:032x}", f"{span_id:016x}")
    assert (send["traceId"], send["spanId"]) == (joined["traceId"], joined["parentSpanId"])
    prefix = joined["spanId"][:8]
    assert joined["spanId"] == f"{prefix}00000001"
    assert attributes(joined) == {
        "user.hash": HASH(ADA),
        "ws_audit.evidence.payload.hash": HASH(ADA),
        "ws_audit.connection.id": f"{prefix}-7",
        "ws_audit.bytes": "12",
        "ws_audit.manager": "app:Hub",
        "ws_audit.event": "said",
        "ws_audit.kind": "send",
        "ws_audit.transport": "asgi",
        "ws_audit.verdict": "match",
        "ws_audit.outcome": "ok",
    }
    assert send["name"] == "ws_audit.send Hub"
    assert attributes(send)["ws_audit.evidence.argument.hash"] == HASH(ADA)
    assert attributes(send)["ws_audit.intent.id"] == f"{prefix}-3"
    assert "parentSpanId" not in leaked
    assert int(leaked["traceId"], 16)
    assert attributes(leaked)["user.hash"] == HASH(BOB)
    assert attributes(leaked)["security_rule.name"] == "payload_vs_connection"
    assert attributes(leaked)["ws_audit.site"] == "app:run:9\u2028?"
    # Alone, that is: ids and hashes are made of the same letters.
    assert not re.search(rb"(?<![0-9a-f])ada(?![0-9a-f])", line)
    assert not bench.dropped()


def test_a_line_has_many_and_a_full_one_does_not_wait(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    for number in range(BATCH):
        bench.out.fold(delivery(number, time_ns=NOW))
    assert len(stored(tmp_path)) == BATCH
    assert len([line for line in lines(tmp_path, "events") if line]) == 1
    bench.out.fold(delivery(1000, time_ns=NOW))
    bench.out.fold(delivery(1001, time_ns=NOW + 250_000_000))  # the first has waited for others
    assert len(stored(tmp_path)) == BATCH + 2


def test_a_delivery_is_in_the_trace_its_send_was_called_in(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.out.fold(call(1, trace=0xABC))  # from here on there are traces of the application's
    bench.out.fold(delivery(2, intent=2))
    bench.out.fold(delivery(3, intent=3))
    bench.out.tick(NOW)  # neither send has ended
    assert [span["name"] for span in stored(tmp_path)] == ["ws_audit.send Hub"]
    bench.out.fold(call(2, trace=0xDEF))
    bench.out.tick(NOW + 100)
    *_, send, found = stored(tmp_path)
    assert (found["traceId"], found["parentSpanId"]) == (f"{0xDEF:032x}", send["spanId"])
    bench.out.tick(NOW + 3_000_000_000)  # one that never ends is not waited for
    assert stored(tmp_path)[-1]["traceId"] == f"{send_ids(3, 0)[0]:032x}"
    bench.out.fold(delivery(4, intent=4))
    bench.out.flush()
    assert len(stored(tmp_path)) == 5


def test_under_pressure_events_are_dropped_and_counted(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.waiting = PRESSURE + 1
    bench.out.fold(delivery(1))
    bench.waiting = 0
    bench.out.fold(delivery(2))
    bench.out.flush()
    assert len(stored(tmp_path)) == 1
    assert bench.dropped() == {"ring": 1}
    (said,) = bench.said
    assert "limits.cpu_share" in said


def test_events_get_the_cpu_that_others_leave(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.out.tick(NOW)
    bench.clock, bench.spent = 1.0, {"drain": 0.02 * cpus(), "recall": 9.0}
    bench.out.tick(NOW)
    bench.allowance.use(int(0.01 * cpus() * 1e9))
    assert bench.allowance.left
    bench.allowance.use(int(0.02 * cpus() * 1e9))
    bench.out.fold(delivery(1))
    assert bench.dropped() == {"ring": 1}
    bench.clock, bench.spent = 2.0, {"drain": 0.05 * cpus()}  # 0.03 of it were ours
    bench.out.tick(NOW)
    assert bench.allowance.left


def test_a_disk_that_is_nearly_full_is_left_to_violations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path)
    real = os.statvfs(tmp_path)
    with monkeypatch.context() as full:
        fields = list(real)[:10]
        fields[4] = 1000  # f_bavail
        full.setattr(os, "statvfs", lambda _: os.statvfs_result(fields))
        bench.store.sync()
        for number in (1, 2, 3):
            bench.out.fold(delivery(number))
        bench.out.flush()
        assert bench.store.write_violation(spans_like())
    assert bench.dropped() == {"store": 3}
    assert stored(tmp_path) == []
    assert len(spans(tmp_path)) == 1
    (said,) = bench.said
    assert str(tmp_path) in said
    bench.store.sync()  # there is room again
    bench.out.fold(delivery(4))
    bench.out.flush()
    assert len(stored(tmp_path)) == 1


def test_what_cannot_be_written_is_counted_span_by_span(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path)

    def fail(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, "write", fail)
        bench.out.fold(delivery(1))
        bench.out.fold(delivery(2))
        bench.out.flush()
    assert bench.dropped() == {"store": 2}
    assert "No space left" in bench.store.last_error


def test_a_record_that_cannot_be_told_takes_no_other_with_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.out.fold(delivery(1))
    bench.out.fold(delivery(2, evidence=(None,)))
    bench.out.fold(delivery(3))
    with pytest.raises(AttributeError):
        bench.out.flush()
    assert len(stored(tmp_path)) == 2
    assert bench.dropped() == {"store": 1}


def test_a_violation_does_not_wait_for_an_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path)
    bench.store.sync()
    real, inside = os.write, []

    def slow(descriptor: int, data: bytes) -> int:
        if b"ws_audit.delivery" in data:
            import threading

            thread = threading.Thread(target=bench.store.write_violation, args=(spans_like(),))
            thread.start()
            thread.join(5)
            inside.append(not thread.is_alive())
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", slow)
    bench.out.fold(delivery(1))
    bench.out.flush()
    assert inside == [True]


def test_segments_of_events_turn_over_and_go_first(tmp_path: Path) -> None:
    store: Store = open_store(tmp_path, events=True, segment_bytes=200_000, max_bytes=320_000)
    for number in range(12):
        assert store.write_violation(spans_like(padding="x" * 20_000))
        for _ in range(4):
            assert store.write_events(['{"padding":"' + "y" * 10_000 + '"}'])
        store.sync()
        if number % 4 == 0:
            store._next_sweep = 0.0
            store.sync()
    kept = sum(len(path.read_bytes()) for path in segments(tmp_path, "events"))
    assert len(spans(tmp_path)) == 12  # all of them
    assert (
        max(path.stat().st_size for path in segments(tmp_path, "events")) <= 320_000 / 16 + 40_100
    )
    assert kept <= 320_000 - 12 * 20_000 + 2 * 40_000
    store.close()
    assert open_store(tmp_path, events=False).sync()
    assert len(segments(tmp_path, "events")) >= 1


def test_events_are_expendable_before_older_violations() -> None:
    def one(kind: str, number: int, changed: float) -> Closed:
        return Closed(f"{kind}-{number}", kind, "box-1-1", number, 100, changed)

    found = [one("violations", 1, 10.0), one("events", 1, 50.0), one("events", 2, 60.0)]
    found += [one("violations", 9, 70.0), one("events", 9, 70.0)]
    names = [it.name for it in expendable(found, set(), 80.0, 250, 1000.0)]
    assert names == ["events-1", "events-2", "violations-1"]
    assert [it.name for it in expendable(found, set(), 80.0, 400, 1000.0)] == ["events-1"]
    assert [it.name for it in expendable(found, set(), 80.0, 10_000, 25.0)] == [
        "violations-1",
        "events-1",
    ]


def test_what_was_loaded_of_a_segment_goes_with_it_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / CACHE
    folder.mkdir()
    names = ["columns-a.parquet", "events-box-1-1-1@0-ab.parquet", "events-box-1-1-12@0-cd.parquet"]
    for name in names:
        (folder / name).touch()
    gone = Closed("events-box-1-1-1.jsonl", "events", "box-1-1", 1, 5, 0.0)
    forget_columns(tmp_path, [gone])
    assert sorted(it.name for it in folder.iterdir()) == [names[0], names[2]]
    forget_columns(tmp_path, [gone._replace(name="violations-box-1-1-1.jsonl", kind="violations")])
    assert [it.name for it in folder.iterdir()] == names[2:]


def test_a_fork_takes_nothing_along(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.out.fold(delivery(1))
    bench.out.forget()
    bench.out.flush()
    assert not segments(tmp_path, "events")


def spans_like(**attributes: Any) -> Any:
    from tests.unit.stores import VIOLATION

    return VIOLATION._replace(attributes=attributes) if attributes else VIOLATION
