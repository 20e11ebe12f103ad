# SPDX-License-Identifier: Apache-2.0
"""The self-test inside the agent, step by step: what it shows, and what it leaves as it was.

The runtime, store, metrics and exporter are real; a test plays the drain's thread.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from prometheus_client import generate_latest

from tests.real.world import stored
from tests.requirements import CONTRACT
from ws_audit import sink
from ws_audit.configuration.setting_kinds import Address
from ws_audit.configuration.settings import Settings
from ws_audit.evidence.canaries import Canaries
from ws_audit.facts.state import State
from ws_audit.hooks.calls import SendHook
from ws_audit.hooks.install import Installer
from ws_audit.messages.payloads import Reader
from ws_audit.model import CONFIRMED, MATCH, PROBABLE, VIOLATION, Verdict
from ws_audit.outputs import export
from ws_audit.outputs.metrics import Metrics
from ws_audit.outputs.violations import Violations
from ws_audit.review.segments.read import review
from ws_audit.runtime import Runtime
from ws_audit.selftest import scene, script, walk
from ws_audit.selftest.application import SyntheticManager
from ws_audit.selftest.walk import SelfTest
from ws_audit.tools.demo_stage import HOST, free_ports
from ws_audit.verdict import excuses

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Collector(SpanExporter):
    """An exporter that says what a test wants it to."""

    def __init__(self) -> None:
        self.answer = SpanExportResult.SUCCESS
        self.spans: list[Any] = []

    def export(self, spans: Any) -> SpanExportResult:
        if self.answer is SpanExportResult.SUCCESS:
            self.spans += spans
        return self.answer


class Agent:
    """A runtime with all its ways out but a server; nothing happens unless a test says so."""

    def __init__(self, store: Path, **settings: Any) -> None:
        (port,) = free_ports(1)
        self.store = store
        self.said: list[str] = []
        self.runtime = Runtime(
            Settings(
                trace_dir=str(store),
                metrics_addr=Address(HOST, port, port),
                **{"selftest_interval_seconds": 1, **settings},
            ),
            self.said.append,
            lambda: None,
            lambda now_ns: None,
            lambda cls: None,
            list,
            State((), dict, 30),
        )
        self.runtime.drain._stopping = True  # no worker: the test is it
        self.runtime.start_outputs()  # the registry is our own, and nobody serves it
        assert self.runtime.outputs is not None
        self.outputs = self.runtime.outputs
        self.said.clear()  # the start line

    def settle(self) -> None:
        self.outputs.violations.flush()
        self.runtime.drain.tick(1)

    def page(self) -> dict[str, str]:
        assert isinstance(self.outputs.metrics, Metrics)
        page = generate_latest(self.outputs.metrics.registry).decode()
        lines = (line for line in page.splitlines() if not line.startswith("#"))
        return {name: value for name, _, value in (line.rpartition(" ") for line in lines)}

    def shown(self, name: str) -> float:
        return float(self.page()[name])

    def walk(self) -> bool:
        """One self-test, or the rest of it, to its end; whether it succeeded."""
        before = self.shown(SUCCESS)
        self.runtime.selftest._due = 0.0
        for _ in range(100):
            self.runtime._spare()
            self.runtime.drain.tick(2)
            if self.runtime.selftest._walk is None:
                return self.shown(SUCCESS) > before
        raise AssertionError("it does not end")


SUCCESS = "ws_audit_selftest_success_timestamp_seconds"
COUNTED = (
    'ws_audit_violations_total{manager="none",rule="canary",severity="confirmed",synthetic="true"}'
)
LAST = (
    'ws_audit_last_violation_timestamp_seconds{rule="canary",severity="confirmed",synthetic="true"}'
)
ERRORS = 'ws_audit_internal_errors_total{stage="selftest"}'


@contextlib.contextmanager
def agent(store: Path, **settings: Any) -> Iterator[Agent]:
    made = Agent(store, **settings)
    try:
        yield made
    finally:
        played = made.runtime.selftest._scene
        if played is not None:
            played.close()
        made.runtime.stop()
        made.runtime.close()


@pytest.fixture
def inside(tmp_path: Path) -> Iterator[Agent]:
    with agent(tmp_path / "trace") as made:
        yield made


# --- what it shows ----------------------------------------------------------------------------


def test_it_walks_the_whole_way(inside: Agent) -> None:
    assert (inside.shown(SUCCESS), inside.shown(COUNTED), inside.shown(LAST)) == (0, 0, 0)
    assert inside.walk()
    assert inside.walk()

    assert inside.shown(COUNTED) == 2
    assert inside.shown(LAST) > 0
    assert inside.shown(ERRORS) == 0
    spans = [span for span in stored(inside.store) if span["name"] == "ws_audit.violation"]
    assert len(spans) == 4  # as it was judged, and its outcome; twice
    assert all(span["attributes"]["ws_audit.synthetic"] is True for span in spans)
    judged = spans[0]["attributes"]
    assert (judged["security_rule.name"], judged["ws_audit.severity"]) == ("canary", "confirmed")
    assert judged["ws_audit.evidence.argument.hash"] == judged["user.hash"]
    for name in ("delivery", "connection"):  # no other of this process has these
        assert judged[f"ws_audit.{name}.id"].endswith("-0")
    assert judged["ws_audit.evidence.payload.hash"] == judged["ws_audit.owner.hash"]
    assert spans[1]["attributes"]["ws_audit.outcome"] == "ok"


def test_it_touches_nothing_else(inside: Agent, capfd: pytest.CaptureFixture[str]) -> None:
    """Page, review, book, log, pushes and tables are as they were."""
    runtime = inside.runtime
    pushed: list[Any] = []
    inside.outputs.violations._push = pushed.append
    inside.settle()

    def everything() -> dict[str, Any]:
        reviewed = review(inside.store, 1)
        reviewed.pop("window")  # of all that is in the store
        ours = ('synthetic="true"', SUCCESS, "ws_audit_agent_cpu", "ws_audit_heartbeat")
        page = {k: v for k, v in inside.page().items() if not any(one in k for one in ours)}
        tally = {key: n for key, n in runtime.tally.total().items() if key[0] != "synthetic"}
        return {
            "page": page,
            "review": reviewed,
            "tally": tally,
            "book": inside.outputs.violations.book.all(),
            "pending": len(runtime.intents.pending),
            "backlog": len(runtime.drain),
            "people": len(runtime.sink.people),
            "coverage": len(stored(inside.store, "coverage")),
            "managers": dict(runtime.managers.known),
            "targets": dict(runtime.installer.states),
            "said": list(inside.said),
        }

    before = everything()
    capfd.readouterr()
    for _ in range(3):
        assert inside.walk(), inside.said
    assert everything() == before
    assert inside.shown(COUNTED) == 3
    assert pushed == []
    assert capfd.readouterr() == ("", "")


def test_no_variable_of_its_stays_in_the_drains_context(inside: Agent) -> None:
    """What is sent from there by a finalizer, say, must not join what the self-test plays."""

    def steps() -> None:
        before = dict(copy_context())
        for _ in range(12):
            inside.runtime._spare()
            assert dict(copy_context()) == before

    Context().run(steps)
    assert inside.walk()


def test_off_it_does_nothing_and_shows_nothing(tmp_path: Path) -> None:
    with agent(tmp_path / "trace", selftest_interval_seconds=0) as off:
        while off.runtime.inventory.step():
            pass
        for _ in range(5):
            assert not off.runtime._spare()
            off.runtime.drain.tick(2)
        assert not [name for name in off.page() if 'synthetic="true"' in name]
        assert off.shown(SUCCESS) == 0
        assert not stored(off.store)
        assert "__ws_audit__" not in vars(SyntheticManager.send_to_user)


def test_it_comes_as_often_as_it_is_told(inside: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(walk, "monotonic", lambda: clock[0])
    inside.runtime.selftest._interval = 60

    def pass_by(seconds: float) -> float:
        clock[0] += seconds
        for _ in range(20):
            inside.runtime._spare()
        inside.runtime.drain.tick(2)
        inside.runtime._spare()
        return inside.shown(COUNTED)

    assert [pass_by(seconds) for seconds in (0, 1, 58, 2, 30, 30)] == [1, 1, 1, 2, 2, 3]


def test_the_messages_fit_what_is_declared_of_payloads(tmp_path: Path) -> None:
    declared = ("meta.reader.id", "notes[].user_id", "meta.reader", "readers[]", "user_id")
    with agent(tmp_path / "trace", payload_owner=declared) as told:
        assert told.walk()
    wrong = script.messages("token", declared)[1]
    assert wrong["meta"] == {"reader": {"id": script.OWNER}}
    assert wrong["notes"] == [{"user_id": script.OWNER}]
    assert wrong["readers"] == [script.OWNER]


# --- what it notices ---------------------------------------------------------------------------


def judged_as(*verdict: Any) -> Callable[..., Verdict]:
    return lambda *_: Verdict(*verdict)


def raises(*_: object, **__: object) -> Any:
    raise RuntimeError("payload text")


def nothing(*_: object, **__: object) -> None:
    return None


NOTHING = Reader().read({})

BREAKS: dict[str, tuple[str, Any, str, Any]] = {
    "a judge that finds nothing": ("judge", sink, "judge", judged_as(MATCH)),
    "a judge that finds it everywhere": (
        *("judge", sink, "judge"),
        judged_as(VIOLATION, "", "canary", CONFIRMED),
    ),
    "a judge that plays it down": (
        *("judge", sink, "judge"),
        lambda evidence, *_: (
            Verdict(VIOLATION, "", "canary", PROBABLE)
            if any(item.name == "canary" for item in evidence)
            else Verdict(MATCH)
        ),
    ),
    "a judge that fails": ("judge", sink, "judge", raises),
    "no canaries": ("judge", Canaries, "search", nothing),
    "a hook that fails": ("hooks", SendHook, "before", raises),
    "no hooks": ("hooks", Installer, "take", nothing),
    "no sink": ("sink", scene, "wrap", lambda application, *_: application),
    "a reader that reads nothing": ("reader", Reader, "read", lambda *_, **__: NOTHING),
    "nobody to hand it to": ("violation", Violations, "synthetic", raises),
    "a store that writes nothing": ("store", Violations, "_keep", nothing),
    "metrics that stand still": ("metrics", Metrics, "collect", nothing),
}


@pytest.mark.parametrize("what", BREAKS)
def test_each_stage_that_breaks_is_named(
    inside: Agent, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    stage, owner, name, broken = BREAKS[what]
    assert inside.walk()
    inside.runtime.selftest.forget()  # hooks and canaries anew
    inside.runtime.drain.tick(2)
    errors = inside.shown(ERRORS)
    with monkeypatch.context() as breaking:
        breaking.setattr(SelfTest, "WAIT", 0.0)
        breaking.setattr(owner, name, broken)
        if owner is sink:
            breaking.setattr(excuses, name, broken)  # it looks once more
        assert not inside.walk()
        assert not inside.walk()
    inside.runtime.selftest.forget()
    inside.runtime.drain.tick(2)

    assert inside.shown(ERRORS) == errors + 2
    assert len(inside.said) == 1, inside.said
    assert inside.said[0].startswith(f"self-test failed at {stage}: ")
    assert "payload text" not in inside.said[0]
    assert inside.walk()  # and is well again


def test_a_trace_directory_that_is_gone_is_noticed(
    inside: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = Violations._keep

    def lose(violations: Violations, span: Any) -> None:
        keep(violations, span)
        shutil.rmtree(inside.store)

    monkeypatch.setattr(Violations, "_keep", lose)
    assert not inside.walk()
    said = "self-test failed at store: its file cannot be read back: No such file or directory"
    assert inside.said[0].startswith(said)


# --- spans --------------------------------------------------------------------------------------


@pytest.fixture
def exporting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Agent, Collector]]:
    collector = Collector()
    monkeypatch.setattr(export, "span_exporter", lambda environ: collector)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{HOST}:1")
    monkeypatch.setenv("OTEL_LOGS_EXPORTER", "none")
    monkeypatch.setattr(export.Export, "_start", nothing)  # the test sends
    with agent(tmp_path / "trace") as made:
        yield made, collector


def test_it_waits_for_the_exporters_answer(
    exporting: tuple[Agent, Collector], monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, collector = exporting
    run = inside.runtime
    for _ in range(20):
        run._spare()
        run.drain.tick(2)
    assert run.selftest._walk is not None  # it waits, and nobody waits for it
    assert inside.shown(SUCCESS) == 0
    inside.outputs._export.send()
    run._spare()
    assert inside.shown(SUCCESS) > 0
    spans = [span for span in collector.spans if span.attributes.get("ws_audit.synthetic")]
    assert [span.name for span in spans] == ["ws_audit.violation"]

    collector.answer = SpanExportResult.FAILURE
    run.selftest._due = 0.0
    for _ in range(20):
        run._spare()
        run.drain.tick(2)
    inside.outputs._export.send()
    run._spare()
    assert inside.shown(ERRORS) == 1
    assert "self-test failed at spans: the collector does not take spans" in inside.said[-1]
    # What waits is sent later all the same; the next self-test asks for its own.
    collector.answer = SpanExportResult.SUCCESS
    inside.outputs._export.send()
    monkeypatch.setattr(SelfTest, "WAIT", 0.0)
    assert not inside.walk()
    assert "self-test failed at spans" in inside.said[0]
    assert len(inside.said) == 1


# --- off and on, and forks ---------------------------------------------------------------------


def test_switched_off_it_rests_and_comes_back(inside: Agent) -> None:
    assert inside.walk()
    inside.runtime._spare()
    inside.runtime.disarm()
    inside.runtime.selftest._due = 0.0
    for _ in range(20):
        assert not inside.runtime._spare()
    inside.runtime.drain.tick(2)
    assert inside.shown(COUNTED) == 1  # nothing is audited: nothing says that it is
    inside.runtime.rearm()
    assert inside.walk()
    assert inside.said == []


def test_a_forked_child_begins_anew(inside: Agent) -> None:
    inside.runtime._spare()
    inside.runtime._spare()  # in the middle of one
    played = inside.runtime.selftest._scene
    inside.runtime.forget()
    inside.runtime.drain._stopping = True
    inside.outputs.renew()
    assert inside.walk()
    assert inside.runtime.selftest._scene is not played
    assert inside.shown(COUNTED) == 1


def test_the_page_keeps_the_contract(inside: Agent, tmp_path: Path) -> None:
    inside.walk()
    assert isinstance(inside.outputs.metrics, Metrics)
    page = tmp_path / "page.txt"
    page.write_bytes(generate_latest(inside.outputs.metrics.registry))
    command = [sys.executable, str(CONTRACT / "check_metrics.py"), str(page), "--require", SUCCESS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "contract kept\n"
