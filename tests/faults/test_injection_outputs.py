# SPDX-License-Identifier: Apache-2.0
"""The ways out made to raise, one at a time: the application and the other ways go on."""

from __future__ import annotations

import errno
import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from tests.faults.harness import Agent
from tests.faults.test_injection import FRAMES, BrokenError, Hub, bare, breaks, watched
from ws_audit.book import Book
from ws_audit.configuration.setting_kinds import Address
from ws_audit.outputs import assembly, endpoint, export, lines, segments, violations
from ws_audit.outputs.coverage import Coverage
from ws_audit.outputs.export import Export
from ws_audit.outputs.metrics import Metrics
from ws_audit.outputs.neighbours import Neighbours
from ws_audit.outputs.spans import SpanMaker
from ws_audit.outputs.store import Store
from ws_audit.outputs.violations import Violations
from ws_audit.principals.identity import Hasher
from ws_audit.review.segments.read import review

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Exporter(SpanExporter):
    """Takes spans, or does with them what a test says."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.fault: Exception | None = None
        self.result = SpanExportResult.SUCCESS

    def export(self, spans: Any) -> SpanExportResult:
        if self.fault is not None:
            raise self.fault
        if self.result is SpanExportResult.SUCCESS:
            self.names += [span.name for span in spans]
        return self.result

    def shutdown(self) -> None:
        """Nothing is held."""


class Whole(Agent):
    """An agent with all its ways out: store, log line, metrics, spans."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(
            trace_dir=str(folder / "trace"),
            metrics_addr=Address("127.0.0.1", 1, 1),
            hash_key="key",
        )
        self.folder = folder / "trace"
        self.exporter = Exporter()
        self.lines: list[dict[str, Any]] = []
        monkeypatch.setattr(endpoint.Endpoint, "open", lambda *where: "nowhere")
        monkeypatch.setattr(export, "otlp_wanted", lambda *which: which[1:] != ("LOGS",))
        monkeypatch.setattr(export, "span_exporter", lambda environ: self.exporter)
        monkeypatch.setattr(os, "write", self._write)
        self.runtime.start_outputs()
        assert self.runtime.outputs is not None
        self.runtime.drain.outputs([*self.runtime.outputs.all(), self.kept])
        self.said.clear()
        self.patch(Hub)
        self.framework()

    _os_write = staticmethod(os.write)

    def _write(self, descriptor: int, data: bytes) -> int:
        if descriptor == 2 and data.startswith(b"{"):
            self.lines.append(json.loads(data))
            return len(data)
        return self._os_write(descriptor, data)

    def settle(self) -> None:
        """What the drain and the exporting thread do in a second."""
        self.runtime.drain.fold()
        self.runtime.drain.tick(2_000_000_000)
        assert self.runtime.outputs is not None
        self.runtime.outputs._export.send()

    def incidents(self) -> dict[str, int]:
        """What a review finds in the store: rule -> delivered."""
        found = review(str(self.folder), 10**18 * 2)["incidents"]
        return {one["rule"]: one["events"] for one in found}

    def errors(self) -> dict[str, int]:
        return {stage: amount for (stage,), amount in self.counted("error").items()}

    def violated(self) -> int:
        return sum(
            amount
            for (rule, _, _), amount in self.counted("violation").items()
            if rule == "argument_vs_connection"
        )


@pytest.fixture
def whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Whole]:
    made = Whole(tmp_path, monkeypatch)
    # The threads' work is done by hand here.
    assert made.runtime.outputs is not None
    made.runtime.outputs._export._start = lambda: None  # type: ignore[method-assign]
    yield made
    made.remove()
    monkeypatch.undo()
    made.runtime.outputs.stop()


def test_whole_all_ways_tell_the_same(whole: Whole) -> None:
    assert watched(whole) == bare()
    whole.settle()
    assert whole.errors() == {}
    assert whole.said == []
    assert whole.violated() == 1
    assert whole.incidents() == {"argument_vs_connection": 1, "inbound_vs_connection": 2}
    assert [line["severity"] for line in whole.lines].count("CRITICAL") == 1
    assert whole.exporter.names.count("ws_audit.violation") == 3
    assert whole.exporter.names.count("ws_audit.send Hub") == len(whole.calls()) == 6


# Part, and which ways out must still have told of the leak.
ON_THE_CALL_PATH: list[tuple[Any, str, set[str]]] = [
    (Store, "write_violation", {"log", "span"}),
    (SpanMaker, "violation", {"log"}),
    (Violations, "log_line", {"store", "span"}),
    (Violations, "_milestone", set()),
    (Violations, "_keep", {"log", "span"}),
    (Book, "add", set()),
    (Hasher, "__call__", set()),
    (violations, "summary", {"store", "span"}),
    (SpanMaker, "outcome", {"store", "log"}),
    (Export, "_readable", {"store", "log"}),
    (lines.Lines, "line", {"log", "span"}),
    (segments.Segment, "append", {"log", "span"}),
]


@pytest.mark.parametrize(
    ("owner", "name", "others"),
    ON_THE_CALL_PATH,
    ids=[f"{owner.__name__.rpartition('.')[2]}.{name}" for owner, name, _ in ON_THE_CALL_PATH],
)
def test_broken_on_the_call_path(
    whole: Whole, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, others: set[str]
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(owner, name, breaks)
        assert watched(whole) == bare()
        whole.settle()  # the exporting thread has met it, too
    whole.settle()
    assert len(whole.frames()) == sum(whole.counted("delivery").values()) == FRAMES
    assert whole.violated() == 1  # the metric has it whatever becomes of the rest
    noticed = sum(whole.errors().values()) + sum(whole.counted("dropped").values())
    assert noticed >= 1
    assert 1 <= len(whole.said) <= 2
    assert "secret-of-alice" not in "".join(whole.said)
    told = {
        "store": whole.incidents().get("argument_vs_connection", 0) == 1,
        "log": any(line["severity"] == "CRITICAL" for line in whole.lines),
        "span": "ws_audit.violation" in whole.exporter.names,
    }
    assert others <= {way for way, did in told.items() if did}


OFF_THE_CALL_PATH = [
    (Metrics, "fold"),
    (Metrics, "collect"),
    (Export, "fold"),
    (Neighbours, "fold"),
    (Coverage, "tick"),
    (Violations, "flush"),
    (Store, "sync"),
    (SpanMaker, "send"),
]


@pytest.mark.parametrize(
    ("owner", "name"),
    OFF_THE_CALL_PATH,
    ids=[f"{owner.__name__}.{name}" for owner, name in OFF_THE_CALL_PATH],
)
def test_broken_in_the_drain(
    whole: Whole, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(owner, name, breaks)
        assert watched(whole) == bare()
        whole.settle()
    assert set(whole.errors()) == {"drain"}
    assert len(whole.said) == 1
    assert len(whole.frames()) == FRAMES  # those after it in the line got theirs
    assert whole.incidents()["argument_vs_connection"] == 1
    assert any(line["severity"] == "CRITICAL" for line in whole.lines)


@pytest.mark.parametrize("fault", [None, BrokenError("x")], ids=["refused", "raised"])
def test_a_collector_that_is_down_loses_clean_spans_and_keeps_violations(
    whole: Whole, fault: Exception | None
) -> None:
    whole.exporter.fault = fault
    whole.exporter.result = SpanExportResult.FAILURE
    assert watched(whole) == bare()
    whole.settle()
    whole.settle()
    assert whole.exporter.names == []
    assert whole.counted("dropped")["export",] >= 6  # clean ones, counted
    assert set(whole.errors()) == ({"export"} if fault else set())
    whole.exporter.fault, whole.exporter.result = None, SpanExportResult.SUCCESS
    whole.settle()
    assert whole.exporter.names.count("ws_audit.violation") == 3


def test_a_full_disk_while_serving(whole: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line that does not fit is counted, said once with the directory, and told elsewhere."""

    def full(*args: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as broken:
        broken.setattr(segments.Segment, "append", full)
        assert watched(whole) == bare()
        whole.settle()
        whole.settle()
    assert whole.counted("dropped")["store",] >= 1
    assert any(line["severity"] == "CRITICAL" for line in whole.lines)
    (line,) = whole.said
    assert str(whole.folder) in line
    assert "No space left on device" in line
    assert "WS_AUDIT_TRACE_DIR" in line


def test_outputs_that_cannot_begin_leave_the_application_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audited = Agent(trace_dir=str(tmp_path / "trace"))
    audited.patch(Hub)
    audited.framework()
    monkeypatch.setattr(assembly, "Outputs", breaks)
    audited.runtime._before_serving = audited.runtime.start_outputs
    try:
        assert watched(audited) == bare()
    finally:
        audited.remove()
    assert audited.counted("error")["outputs",] == 2  # once per connection here
    assert sum(audited.counted("delivery").values()) == FRAMES
    assert len(audited.said) == 1
