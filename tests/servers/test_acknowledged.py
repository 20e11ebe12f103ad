# SPDX-License-Identifier: Apache-2.0
"""Two workers and one incident: each knows what the other has found, and what was acknowledged."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.real.world import eventually

if TYPE_CHECKING:
    from tests.servers.stage import Server, Stage

WORKERS = ("--port", "PORT", "--log-level", "warning", "--workers", "2")
CHAT = ("python", "-m", "uvicorn", "chat:app", *WORKERS)
WITHIN = 15.0  # seconds: "a few", on a machine with other things to do


def open_everywhere(server: Server, number: int) -> None:
    """Both workers say so, each on its own page."""

    def look() -> bool:
        pages = [page.total("ws_audit_open_incidents") for page in server.pages()]
        return pages == [number, number]

    eventually(f"{number} open in both workers", WITHIN, look)


def leak_in(server: Server, *pids: int) -> int:
    """One leak, in a worker that is none of these; in which it was."""
    for number in range(200):
        user = f"user-{number}"
        with server.client(user) as client:
            pid = server.ask(client, user, user)
            if pid not in pids:
                return server.ask(client, user, "alice")
    raise AssertionError(f"only {pids} have served 200 clients")


def acknowledge(stage: Stage, incident: str) -> None:
    words = ("review", "ack", incident, "--by", "ada", "--note", "seen", "--source", "traces")
    ended = stage.environment.call(stage.environment.command, *words)
    assert ended.code == 0, ended.err


def told(server: Server) -> list[str]:
    """The incidents of the log lines."""
    lines = [line for line in server.said().splitlines() if line.startswith("{")]
    return [json.loads(line)["incident"]["id"] for line in lines]


def found(stage: Stage) -> dict[str, Any]:
    return {it["id"]: it["acknowledged"] for it in stage.review()["incidents"]}


def test_two_workers_agree(stage: Stage) -> None:
    with stage.serve(*CHAT, workers=2) as server:
        first = leak_in(server)
        (incident,) = told(server)
        open_everywhere(server, 1)  # the other worker has it from the store
        acknowledge(stage, incident)
        open_everywhere(server, 0)

        # The next is found by a worker that has never seen this leak itself.
        second = leak_in(server, first)
        assert second != first
        assert told(server) == [incident, f"{incident}-2"]
        open_everywhere(server, 1)
        leak_in(server, second)
        assert told(server)[2:] == [f"{incident}-2"]
        assert found(stage) == {incident: True, f"{incident}-2": False}

        acknowledge(stage, f"{incident}-2")
        open_everywhere(server, 0)
        server.stop()
        for page in server.pages():
            assert page.troubles() == {"dropped": {}, "errors": {}}
    assert found(stage) == {incident: True, f"{incident}-2": True}


def test_one_page_for_all_shows_the_largest(stage: Stage) -> None:
    (stage.directory / "shared").mkdir()
    shared = str(stage.directory / "shared")
    with stage.serve(*CHAT, workers=2, PROMETHEUS_MULTIPROC_DIR=shared) as server:
        leak_in(server)
        open_everywhere(server, 1)  # not 2: both have it
        acknowledge(stage, told(server)[0])
        open_everywhere(server, 0)
        server.stop()
