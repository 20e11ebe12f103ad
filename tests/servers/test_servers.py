# SPDX-License-Identifier: Apache-2.0
"""Every server and process model: the seeded leak is found, and all counts are the clients'."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.servers.stage import Server, Stage

UVICORN = ("python", "-m", "uvicorn", "chat:app", "--port", "PORT", "--log-level", "warning")
GUNICORN = ("python", "-m", "gunicorn", "chat:app", "-b", "127.0.0.1:PORT", "-w", "2")
HYPERCORN = ("python", "-m", "hypercorn", "chat:app", "-b", "127.0.0.1:PORT")
GRANIAN = ("python", "-m", "granian", "chat:app", "--interface", "asgi", "--port", "PORT")
WORKERS = "uvicorn_worker.UvicornWorker"

# How it is started -> by how many workers it serves.
SERVERS = {
    "uvicorn": (UVICORN, 1),
    "uvicorn, 2 workers": ((*UVICORN, "--workers", "2"), 2),
    "script": (("python", "script.py", "PORT"), 1),
    "taken twice": (("python", "twice.py", "PORT"), 1),
    "gunicorn": ((*GUNICORN, "-k", WORKERS), 2),
    "gunicorn, preloaded": ((*GUNICORN, "-k", WORKERS, "--preload"), 2),
    "gunicorn's own": ((*GUNICORN, "-k", "asgi"), 2),
    "hypercorn": (HYPERCORN, 1),
    "hypercorn, 2 workers": ((*HYPERCORN, "-w", "2"), 2),
    "hypercorn, in one process": ((*HYPERCORN, "-w", "0"), 1),
    # Its supervisor imports the application, to know which files to watch.
    "hypercorn, reloading": ((*HYPERCORN, "--reload"), 1),
    "daphne": (("python", "-m", "daphne", "-b", "127.0.0.1", "-p", "PORT", "chat:app"), 1),
    "granian": (GRANIAN, 1),
    "granian, 2 workers": ((*GRANIAN, "--workers", "2"), 2),
}


# hypercorn awaits asyncio's `Server.wait_closed`, which since then waits for every connection;
# without the agent, too.
WAITS_FOR_CLIENTS = sys.version_info >= (3, 12)


# Its supervisor ends the other workers as soon as one has stopped. They ask ten times a second
# whether they are to stop, and may not have asked yet.
ENDS_WORKERS = "hypercorn, 2 workers"
UNFINISHED = "has not written its last coverage record"


def assert_reviewed(server: Server, name: str) -> None:
    """All frames are in the review, or it names the worker whose frames may not be."""
    document = server.assert_reviewed(complete=name != ENDS_WORKERS)
    if name == ENDS_WORKERS:
        frames, seen = len(server.received), document["coverage"]["frames"]
        if document["problems"]:
            (problem,) = document["problems"]
            assert UNFINISHED in problem
            assert seen < frames
        else:
            assert seen == frames


@pytest.mark.parametrize("name", SERVERS)
def test_a_leak_is_found_and_counted_as_the_clients_saw_it(stage: Stage, name: str) -> None:
    words, workers = SERVERS[name]
    with stage.serve(*words, workers=workers) as server:
        pids = server.talk_to_all(workers)
        assert len(pids) == workers
        pages = server.pages()
        assert len(pages) == workers
        server.assert_counts(pages)
        for page in pages:
            assert page.total("ws_audit_instances_created_total") == 1
            assert page.total("ws_audit_instances_alive") == 1
        code = server.stop()
    assert code in (0, -signal.SIGTERM), server.said()
    server.assert_quiet(workers)
    # A supervisor or arbiter has no store, no port and no start line of its own.
    assert server.writers() == pids
    assert_reviewed(server, name)


@pytest.mark.parametrize("name", SERVERS)
def test_clients_that_are_still_there_and_ctrl_c(stage: Stage, name: str) -> None:
    """The terminal signals the whole group, and a client has not gone."""
    words, workers = SERVERS[name]
    with stage.serve(*words, workers=workers) as server:
        with server.connected("bob"):
            server.talk("carol")
            server.interrupt()
            if not (name.startswith("hypercorn") and WAITS_FOR_CLIENTS):
                try:
                    server.ended()
                except AssertionError:
                    # Its signal handler and its runtime wait for each other, seldom, where any
                    # thread is busy: 1 of 300 without the agent, 2 of 320 with it.
                    if name.startswith("granian"):
                        pytest.xfail("granian did not end, as it may without the agent")
                    raise
        server.ended()
    server.assert_quiet(workers)
    assert_reviewed(server, name)


def test_a_worker_that_its_supervisor_ends_without_a_word(stage: Stage) -> None:
    """What the agent cannot have written is named, and no violation is missing."""
    with stage.serve(*HYPERCORN, "-w", "2", workers=2) as server:
        pids = server.talk_to_all(2)
        for pid in pids:
            os.kill(pid, signal.SIGTERM)  # for which hypercorn's workers have no handler
        server.ended()
    server.assert_quiet(2)
    document = server.assert_reviewed(complete=False)
    assert len(document["problems"]) == 2
    assert all(UNFINISHED in problem for problem in document["problems"])


def test_an_arbiter_that_sends_while_it_imports_takes_no_port(stage: Stage) -> None:
    words = [word.replace("chat:app", "eager:app") for word in GUNICORN]
    with stage.serve(*words, "-k", WORKERS, "--preload") as server:
        # The arbiter has something to write; the endpoints are the workers'.
        pids = server.talk_to_all(2)
        pages = server.pages()
        assert len(pages) == 2
        server.assert_counts(pages)
        assert "metrics served as soon as a server takes the application" in server.starts()[0]
        assert server.said().count("metrics http://127.0.0.1:") == 2
        server.stop()
    assert server.writers() == {server.process.pid} | pids
    server.assert_reviewed()
