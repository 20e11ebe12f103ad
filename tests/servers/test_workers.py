# SPDX-License-Identifier: Apache-2.0
"""Several workers, one account: ports, PROMETHEUS_MULTIPROC_DIR, the store, a worker that dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from prometheus_client.mmap_dict import MmapedDict

from tests.real.world import Page, eventually, get
from tests.requirements import CONTRACT
from tests.servers.stage import HOST, wait_gone
from tests.startup.applications import HUB

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.stage import Server, Stage

WORKERS = ("--port", "PORT", "--log-level", "warning", "--workers", "2")
CHAT = ("python", "-m", "uvicorn", "chat:app", *WORKERS)
METERED = ("python", "-m", "uvicorn", "metered:app", *WORKERS)
TICK = 1.5  # the drain's second, and some


@pytest.fixture
def shared(stage: Stage) -> Path:
    """The directory that PROMETHEUS_MULTIPROC_DIR names: the team makes it."""
    (stage.directory / "shared").mkdir()
    return stage.directory / "shared"


def keeps_the_contract(url: str) -> None:
    """The published checker, in a process of its own."""
    done = subprocess.run(
        [sys.executable, CONTRACT / "check_metrics.py", url],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "contract kept\n"), done.stderr


def assert_sum(server: Server, page: Page, workers: int = 2) -> None:
    server.assert_counts([page])
    assert page.total("ws_audit_instances_created_total") == workers
    assert page.total("ws_audit_instances_alive") == workers
    for family in page.families:
        for sample in family.samples:
            if sample.name.startswith("ws_audit"):
                assert "pid" not in sample.labels


# --- the ports -----------------------------------------------------------------------------------


def test_a_range_that_is_too_small_is_said_by_the_worker_that_got_none(stage: Stage) -> None:
    with stage.serve(*CHAT, workers=2, ports=1) as server:
        server.talk_to_all(2)
        (page,) = server.pages()
        assert 0 < page.balanced() < len(server.received)
        server.stop()
    said = [line for line in server.said().splitlines() if "no free port" in line]
    (port,) = server.metrics_ports
    assert len(said) == 1
    assert f"WS_AUDIT_METRICS_ADDR: no free port in {HOST}:{port}-{port}" in said[0]
    assert "widen the range or free a port" in said[0]
    assert sorted("metrics not served" in line for line in server.starts()) == [False, True]
    server.assert_reviewed()  # it is audited all the same


# --- one page for all workers --------------------------------------------------------------------


def modes(shared: Path) -> dict[str, str]:
    """How each of our gauges is told of several workers: it is in the files' names."""
    found = {}
    for path in shared.glob("gauge_*_*.db"):
        values = MmapedDict.read_all_values_from_file(str(path))  # type: ignore[no-untyped-call]
        for key, *_ in values:
            found[json.loads(key)[0]] = path.name.split("_")[1]
    return found


def test_with_shared_files_each_endpoint_shows_the_sum(stage: Stage, shared: Path) -> None:
    contract = json.loads((CONTRACT / "contract.json").read_text())["metrics"]
    with stage.serve(*CHAT, workers=2, PROMETHEUS_MULTIPROC_DIR=str(shared)) as server:
        server.talk_to_all(2)
        with server.connected("somebody"):
            time.sleep(TICK)  # what the other worker has counted is in its file by now
            pages = server.pages()
            assert len(pages) == 2
            for page in pages:
                assert_sum(server, page)
                assert page.total("ws_audit_connections_alive", transport="asgi") == 1
                assert page.total("ws_audit_build_info") == 1  # the largest, not the sum
                (beat,) = page.series("ws_audit_heartbeat_timestamp_seconds").values()
                assert time.time() - beat < 10  # the oldest of both
                (last,) = page.series(
                    "ws_audit_last_violation_timestamp_seconds",
                    rule="payload_vs_connection",
                    severity="probable",
                ).values()
                assert time.time() - last < 60
        assert modes(shared) == {
            name: rule["multiprocess"]
            for name, rule in contract.items()
            if "multiprocess" in rule and name in modes(shared)
        }
        for port in server.metrics_ports[:2]:
            keeps_the_contract(f"http://{HOST}:{port}/metrics")
        server.stop()
    server.assert_reviewed()


def test_the_answering_worker_is_up_to_date_at_once(stage: Stage, shared: Path) -> None:
    """Its own endpoint folds first. One worker here, so that it is the one which answers."""
    words = (*CHAT[:-2], "--workers", "1")
    with stage.serve(*words, PROMETHEUS_MULTIPROC_DIR=str(shared)) as server:
        for number in range(20):
            server.talk(f"user-{number}", messages=2, leaks=1)
            (page,) = server.pages()
            server.assert_counts([page])


def test_the_teams_own_page_shows_the_sum(stage: Stage, shared: Path) -> None:
    variables = {"PROMETHEUS_MULTIPROC_DIR": str(shared)}
    with stage.serve(*METERED, workers=2, ports=0, **variables) as server:
        server.talk_to_all(2)
        time.sleep(TICK)
        url = f"http://{HOST}:{server.port}/metrics/"
        for _ in range(6):  # whichever worker answers
            page = Page(get(url))
            assert_sum(server, page)
            assert page.total("team_starts_total") == page.total("team_alive") == 2
        keeps_the_contract(url)
        server.stop()
    assert all("metrics in the default registry" in line for line in server.starts())
    server.assert_reviewed()


def test_forked_workers_begin_at_nothing_in_files_of_their_own(stage: Stage, shared: Path) -> None:
    """The arbiter has counted its one instance before the fork, and counts it alone."""
    words = "python -m gunicorn eager:app --preload -w 2 -k uvicorn_worker.UvicornWorker -b"
    with stage.serve(
        *words.split(), f"{HOST}:PORT", workers=1, PROMETHEUS_MULTIPROC_DIR=str(shared)
    ) as server:
        pids = server.talk_to_all(2)
        time.sleep(TICK)
        pages = server.pages()
        assert len(pages) == 2
        for page in pages:
            assert_sum(server, page, workers=3)
            assert page.total("ws_audit_build_info") == 1
        server.stop()
    assert server.writers() == {server.process.pid} | pids
    server.assert_reviewed()


# A process that has begun to audit, and then becomes a daemon.
DAEMON = """
import os, time

shell = os.fork()
if shell:
    os.waitpid(shell, 0)  # or a process that has ended is not gone
    os._exit(0)

from hub import ConnectionManager
from telling import told
from ws_audit.outputs.multiprocess import Workers

def page():
    return {
        sample.name: sample.value
        for metric in Workers(os.environ["PROMETHEUS_MULTIPROC_DIR"]).collect()
        for sample in metric.samples
        if sample.name in ("ws_audit_build_info", "ws_audit_instances_created_total")
        and sample.labels.get("manager") in (None, "hub:ConnectionManager")
    }

def until(what):
    deadline = time.monotonic() + 10
    while page() != what and time.monotonic() < deadline:
        time.sleep(0.05)

first = ConnectionManager()
first.send_to_user("alice", "hello")
both = {"ws_audit_build_info": 1.0, "ws_audit_instances_created_total": 1.0}
until(both)
parent = os.getpid()
if os.fork():
    os._exit(0)
while os.path.exists(f"/proc/{parent}"):
    time.sleep(0.01)
second = ConnectionManager()
second.send_to_user("alice", "hello")
both["ws_audit_instances_created_total"] = 2.0
until(both)
told(**page())
"""


def test_a_daemon_whose_parent_is_gone_is_still_there(stage: Stage, shared: Path) -> None:
    stage.environment.write(hub=HUB)
    told = stage.environment.audited(DAEMON, PROMETHEUS_MULTIPROC_DIR=str(shared)).told
    assert told == {"ws_audit_build_info": 1, "ws_audit_instances_created_total": 2}


def test_ours_alone_are_on_our_endpoint(stage: Stage, shared: Path) -> None:
    with stage.serve(*METERED, workers=2, PROMETHEUS_MULTIPROC_DIR=str(shared)) as server:
        text = get(f"http://{HOST}:{server.metrics_ports[0]}/metrics")
    assert "ws_audit_frames_total" in text
    assert "team_" not in text


@pytest.mark.parametrize("own", [True, False], ids=["our endpoint", "the team's page"])
def test_a_dead_workers_live_gauges_vanish_and_its_counts_stay(
    stage: Stage, shared: Path, own: bool
) -> None:
    variables = {"PROMETHEUS_MULTIPROC_DIR": str(shared)}
    with stage.serve(*METERED, workers=2, ports=4 if own else 0, **variables) as server:
        urls = [f"http://{HOST}:{port}/metrics" for port in server.metrics_ports[:2]]
        pids = server.talk_to_all(2)
        with server.connected("bob") as victim:
            assert victim in pids
            time.sleep(TICK)
            os.kill(victim, signal.SIGKILL)
            killed = time.time()
            wait_gone(victim)

        def answered() -> Page | None:
            for url in urls if own else [f"http://{HOST}:{server.port}/metrics/"]:
                try:
                    page = Page(get(url))
                except OSError:
                    continue
                (beat,) = page.series("ws_audit_heartbeat_timestamp_seconds").values()
                if beat > killed and page.total("ws_audit_instances_alive") == 2:
                    return page
            return None

        if own:  # at once, long before anybody removes a file
            pages = [page for page in server.pages() if page.total("ws_audit_frames_total")]
            assert pages
            assert {page.total("ws_audit_connections_alive") for page in pages} == {0}

        # A new worker has taken the dead one's place, and nothing of the dead one lives.
        page = eventually("the dead worker's gauges are gone", 20, answered)
        assert page.total("ws_audit_connections_alive") == 0
        assert page.balanced() == len(server.received)
        assert page.total("ws_audit_violations_total") == len(server.leaked)
        assert page.total("ws_audit_instances_created_total") == 3
        if not own:
            assert page.total("team_alive") == 2
            assert not list(shared.glob(f"gauge_live*_{victim}.db"))


def test_without_the_directory_it_is_said_and_the_rest_goes_on(stage: Stage) -> None:
    words = (*CHAT[:-2], "--workers", "1")
    with stage.serve(*words, ports=0, PROMETHEUS_MULTIPROC_DIR="nowhere") as server:
        server.talk("somebody")
        server.stop()
    assert "no metrics: PROMETHEUS_MULTIPROC_DIR=nowhere is no directory" in server.said()
    assert "internal error" not in server.said()
    server.assert_reviewed()


# --- one store -----------------------------------------------------------------------------------


def test_a_worker_that_is_killed_loses_no_violation(stage: Stage) -> None:
    with stage.serve(*CHAT, workers=2) as server:
        pids = server.talk_to_all(2)
        victim = min(pids)
        os.kill(victim, signal.SIGKILL)
        wait_gone(victim)
        eventually("another takes its place", 20, lambda: len(server.starts()) == 3)
        pids = server.talk_to_all(2)
        assert victim not in pids
        server.stop()
    document = server.assert_reviewed(complete=False)
    # Of the killed worker at most the last minute of coverage is missing, and that is said.
    lost = sum(one.pid == victim for one in server.received)
    assert document["coverage"]["frames"] == len(server.received) - lost
    assert any(str(victim) in problem for problem in document["problems"]), document["problems"]
