# SPDX-License-Identifier: Apache-2.0
"""The self-test inside a real service, under traffic, beside a real collector and webhook."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from tests.real.receivers import collector, webhook
from tests.real.world import Service, drive, eventually, serve, stored, surroundings
from ws_audit.tools.demo_cast import Cast

if TYPE_CHECKING:
    from pathlib import Path

SUCCESS = "ws_audit_selftest_success_timestamp_seconds"
OFTEN = "[selftest]\ninterval_seconds = 1\n"


def test_it_succeeds_beside_traffic_and_notices_that_the_collector_goes(tmp_path: Path) -> None:
    with webhook() as hook, ExitStack() as later:
        going = later.enter_context(ExitStack())
        heard = going.enter_context(collector(tmp_path))
        settings = heard.environment("http/protobuf") | {"OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
        service = later.enter_context(
            serve(tmp_path, Cast.of(4), settings=settings, config=hook.config + OFTEN)
        )

        def succeeded() -> float:
            return max(service.metrics().series(SUCCESS).values())

        received = drive(service, runs=2)
        first = eventually("one succeeds", 15, succeeded)
        eventually("the next one succeeds", 10, lambda: succeeded() > first)
        page = service.metrics()
        assert "self-test failed" not in service.said()
        spans = list(heard.named("ws_audit.violation"))

        going.close()
        eventually("it fails", 20, lambda: errors(service))
        last = succeeded()
        assert "self-test failed at spans: the collector does not take spans" in service.said()
        service.stop()
        review = service.review()

    assert received.leaked == []
    assert page.balanced() == received.result["frames"]
    assert page.total("ws_audit_violations_total", synthetic="true") >= 2
    assert page.total("ws_audit_violations_total", synthetic="false") == 0
    assert page.troubles() == {"dropped": {}, "errors": {}}
    assert last > first
    assert review["incidents"] == review["problems"] == []
    assert review["coverage"]["frames"] == received.result["frames"]
    assert len(spans) >= 2
    assert all(span.attributes["ws_audit.synthetic"] is True for span in spans)
    assert len(stored(service.store)) >= 4
    assert hook.bodies == []
    assert service.alarms() == []


def errors(service: Service) -> int:
    return service.metrics().total("ws_audit_internal_errors_total", stage="selftest")


def test_switched_off_there_is_none(tmp_path: Path) -> None:
    with serve(tmp_path, Cast.of(2), config=OFTEN) as service:

        def tested() -> int:
            return service.metrics().total("ws_audit_violations_total", synthetic="true")

        eventually("one self-test", 10, tested)
        (service.store / "control").write_text("off")
        eventually("it is off", 10, lambda: "switched off" in service.said())
        time.sleep(0.5)  # what was under way is counted
        before = tested()
        time.sleep(1.5)
        assert tested() == before
        (service.store / "control").write_text("on")
        eventually("it is on, and tested", 10, lambda: tested() > before)
        service.stop()
    assert "self-test failed" not in service.said()


FORKS = """
import os, sys, time
from ws_audit.agent import agent

agent().serve()
test = agent().runtime.selftest
test._interval = 0.01  # in the middle of one, as often as not

def passed():
    metrics = agent().runtime.outputs.metrics
    return metrics._selftest._value.get()

def wait(what):
    deadline = time.monotonic() + 20
    while not passed():
        if time.monotonic() > deadline:
            print(what, file=sys.stderr)
            os._exit(1)
        time.sleep(0.005)

wait("parent")
for _ in range(12):
    time.sleep(0.003)
    child = os.fork()
    if not child:
        agent().serve()
        wait("child")
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit("a child has failed")
agent().runtime.flush(5)
"""


def test_forked_children_have_their_own(tmp_path: Path) -> None:
    """Forked in the middle of one: neither side hangs, and each succeeds by itself."""
    (tmp_path / "forks.py").write_text(FORKS)
    (tmp_path / "ws.toml").write_text(OFTEN)
    told = {
        "WS_AUDIT_CONFIG": str(tmp_path / "ws.toml"),
        "WS_AUDIT_TRACE_DIR": str(tmp_path / "trace"),
    }
    done = subprocess.run(
        [sys.executable, "forks.py"],
        env=surroundings() | told,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "self-test failed" not in done.stderr
    assert "internal error" not in done.stderr
    writers = {path.name.split("-")[-3] for path in (tmp_path / "trace").glob("violations-*")}
    assert len(writers) == 13
