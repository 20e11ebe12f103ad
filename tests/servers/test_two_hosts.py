# SPDX-License-Identifier: Apache-2.0
"""Two hosts with two workers each, one of them with a wrong clock: one review, exact, and told so.

Each host is a server with a directory of its own. What makes it another host is what a process
can be told: another name, and a clock that is three minutes ahead.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections import Counter
from hashlib import blake2b
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from tests.servers.stage import VICTIM, Stage
from ws_audit.journal import nanoseconds
from ws_audit.tools import cli

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

KEY = "two-hosts-one-key-" + "k" * 20
AHEAD = 185  # seconds
WORKERS = ("--port", "PORT", "--log-level", "warning", "--workers", "2")
CHAT = ("python", "-m", "uvicorn", "chat:app", *WORKERS)

# Runs before anything of the application, and before the agent has asked for the time.
HOST = """
import os, time

name = os.uname_result((os.uname().sysname, os.environ["HOST_NAME"], *os.uname()[2:]))
os.uname = lambda: name
ahead = int(os.environ["CLOCK_AHEAD"])
real, real_ns = time.time, time.time_ns
time.time = lambda: real() + ahead
time.time_ns = lambda: real_ns() + ahead * 1_000_000_000
"""


class Receiver(BaseHTTPRequestHandler):
    """Takes incidents, and says what time it is as every web server does."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing."""


def hashed(user: str) -> str:
    text = json.dumps([None, user], separators=(",", ":"))
    return blake2b(text.encode(), digest_size=16, key=KEY.encode()).hexdigest()


def told(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    """What a command answers in JSON."""
    capsys.readouterr()
    assert cli.main(["review", *words, "--format=json"]) in (0, 1)
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def test_two_hosts_two_workers_each_one_wrong_clock(
    installed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    received = []
    directories = []
    receiver = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    begun = time.time_ns()
    for name, ahead in (("host-a", 0), ("host-b", AHEAD)):
        (tmp_path / name).mkdir()
        stage = Stage(installed, tmp_path / name)
        stage.environment.write(sitecustomize=HOST)
        webhook = f"http://127.0.0.1:{receiver.server_port}/"
        (stage.directory / "webhook.toml").write_text(f'[push]\nwebhook = "{webhook}"\n')
        with stage.serve(
            *CHAT,
            workers=2,
            HOST_NAME=name,
            CLOCK_AHEAD=str(ahead),
            PYTHONPATH=str(stage.directory),
            WS_AUDIT_HASH_KEY=KEY,
            WS_AUDIT_CONFIG="webhook.toml",
        ) as server:
            assert len(server.talk_to_all(2)) == 2
            server.stop()
            received += server.received
        directories.append(stage.directory / "traces")
    ended = time.time_ns()
    receiver.shutdown()
    receiver.server_close()
    leaked = [one for one in received if one.owner != one.recipient]
    assert len(leaked) >= 16
    shutil.copytree(directories[0], tmp_path / "copy")
    sources = [str(it) for it in (*directories, tmp_path / "copy")]

    # Every pair, count and byte is what the clients saw, over four processes and two hosts.
    review = told(capsys, *sources)
    (incident,) = review["incidents"]
    assert {(it["owner"], it["recipient"]): it["events"] for it in incident["pairs"]} == Counter(
        (hashed(VICTIM), hashed(one.recipient)) for one in leaked
    )
    assert incident["events"] == incident["attempted"] == len(leaked)
    assert incident["bytes"] == sum(one.size for one in leaked)
    assert review["coverage"]["frames"] == review["coverage"]["judged"] == len(received)
    # The clock is told of; no time is another one than was recorded.
    *ahead, after = review["problems"]
    for said, whose in zip(ahead, ("disk it writes to", "webhook's receiver"), strict=True):
        assert said.startswith("the clock of host host-b is about 3 min ")
        assert said.endswith(f"ahead of that of the {whose}: its times are as it said them")
    assert after.startswith("records of host host-b are dated up to ")
    assert begun <= nanoseconds(incident["first_seen"]) <= ended
    last = nanoseconds(incident["last_seen"]) - AHEAD * 1_000_000_000
    assert begun <= last <= ended
    assert told(capsys, sources[0])["problems"] == []
    for path in (it for directory in directories for it in directory.glob("coverage-*")):
        lines = path.read_text().splitlines()
        assert len([it for it in lines if '"ws_audit.clock.base_ns"' in it]) == len(lines) >= 2

    # One person, by their id.
    monkeypatch.setenv("WS_AUDIT_HASH_KEY", KEY)
    places = [word for it in directories for word in ("--source", str(it))]
    person = leaked[0].recipient
    found = told(capsys, "who", person, "--by=Eve", *places)
    assert found["hashes"] == [{"hash": hashed(person), "tenant": False}]
    assert found["recipient"]["events"] == sum(one.recipient == person for one in leaked)
    assert found["owner"]["incidents"] == []
    assert found["processes"] == {"same": 4, "other": 0, "untold": 0}
    monkeypatch.setenv("WS_AUDIT_HASH_KEY", "another key")
    assert cli.main(["review", "who", person, "--by=Eve", *places]) == 2
    assert "nobody would be found" in capsys.readouterr().err

    # And erased: no byte of it is left, and every count is what it was.
    assert cli.main(["review", "erase", hashed(VICTIM), "--by=Eve", "--yes", *places]) == 0
    for directory in directories:
        for path in directory.rglob("*"):
            assert path.is_dir() or hashed(VICTIM).encode() not in path.read_bytes()
    (again,) = told(capsys, *map(str, directories))["incidents"]
    assert {it["owner"][:7] for it in again["pairs"]} == {"erased-"}
    assert len({it["owner"] for it in again["pairs"]}) == 1
    for its in (incident, again):
        for pair in its["pairs"]:
            del pair["owner"]
    assert again == incident
