# SPDX-License-Identifier: Apache-2.0
"""The same backend before and after: what a scan says, and what its clients see."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.real.world import eventually, get
from ws_audit.scan.survey import survey

from .made import EXAMPLES, paths

if TYPE_CHECKING:
    from collections.abc import Iterator

EVENTS = ["agent_started", "agent_thinking", "tool_executing", "tool_completed", "agent_completed"]


def test_the_fragmented_one_is_seen_as_it_is() -> None:
    found = survey(str(EXAMPLES / "fragmented"))
    assert found.summary == {
        "implementations": 6,
        "import_paths": 21,
        "factories": 5,
        "inconsistent_factories": 2,
        "bypasses": 4,
        "unparsed": 0,
    }
    assert found.problems == []
    assert {one.rule for one in found.findings} == {
        "second-implementation",
        "different-class",
        "inconsistent-factory",
        "past-factory",
        "socket-write",
        "own-socket-write",
    }


def test_the_consolidated_one_is_clean() -> None:
    found = survey(str(EXAMPLES / "consolidated"))
    assert found.findings == []
    assert found.problems == []
    counts = found.summary
    assert counts["implementations"] == counts["import_paths"] == counts["factories"] == 1
    assert counts["inconsistent_factories"] == counts["bypasses"] == counts["unparsed"] == 0


# What a running Python says of the same: classes by identity, in every module there is.
ORACLE = """
import importlib, json, pkgutil, sys
classes = []
for name in sys.argv[2:]:
    module, _, qualname = name.partition(":")
    classes.append(getattr(importlib.import_module(module), qualname))
package = importlib.import_module(sys.argv[1])
names = [package.__name__]
names += [one.name for one in pkgutil.walk_packages(package.__path__, package.__name__ + ".")]
bound = []
for name in names:
    for key, value in vars(importlib.import_module(name)).items():
        if any(value is cls for cls in classes):
            bound.append(f"{name}.{key}")
claimed = json.load(sys.stdin)
wrong = []
for path, cls in claimed:
    module, _, key = path.rpartition(".")
    home, _, qualname = cls.partition(":")
    there = getattr(importlib.import_module(module), key)
    if there is not getattr(importlib.import_module(home), qualname):
        wrong.append(path)
json.dump({"bound": bound, "wrong": wrong}, sys.stdout)
"""


@pytest.mark.parametrize("name", ["fragmented", "consolidated"])
def test_import_paths_are_those_of_a_running_python(name: str) -> None:
    found = survey(str(EXAMPLES / name))
    classes = [str(one.target) for one in found.implementations]
    claimed = [(path, str(one.target)) for one in found.implementations for path in one.paths]
    done = subprocess.run(
        [sys.executable, "-c", ORACLE, name, *classes],
        input=json.dumps(claimed),
        capture_output=True,
        text=True,
        check=True,
        cwd=EXAMPLES,
        timeout=60,
    )
    answer = json.loads(done.stdout)
    assert answer["wrong"] == []
    assert set(answer["bound"]) <= paths(found)
    lazy = {path for path in paths(found) if path.startswith("fragmented.websocket_core.")}
    assert paths(found) - set(answer["bound"]) == lazy


# --- what clients see -------------------------------------------------------------------------


@contextlib.contextmanager
def served(name: str) -> Iterator[str]:
    """The example under uvicorn; the address of its endpoint."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["-m", "uvicorn", f"{name}.app:app", "--port", str(port), "--log-level", "warning"]
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLES)}
    environment.pop("WS_AUDIT_ENABLED", None)
    server = subprocess.Popen([sys.executable, *words], cwd=EXAMPLES, env=environment)
    try:
        eventually("a server", 30, lambda: _answers(port))
        yield f"ws://127.0.0.1:{port}/ws"
    finally:
        server.terminate()
        server.wait(10)


def _answers(port: int) -> bool:
    try:
        return "ok" in get(f"http://127.0.0.1:{port}/health")
    except OSError:
        return False


def key_of(message: dict[str, Any]) -> str:
    return str(message.get("type") or message.get("event") or message.get("event_type"))


def run_of(message: dict[str, Any]) -> str:
    return str(message.get("run_id") or message["data"]["run_id"])


def until_over(client: ClientConnection) -> list[dict[str, Any]]:
    """All messages of a run, up to its last."""
    messages: list[dict[str, Any]] = []
    while True:
        message = json.loads(client.recv(timeout=10))
        if key_of(message) == "run_over":
            return messages
        messages.append(message)


@pytest.mark.parametrize(
    ("name", "lost", "mixed_up", "formats"),
    [("fragmented", 5, 3, 2), ("consolidated", 0, 0, 1)],
)
def test_what_clients_see(name: str, lost: int, mixed_up: int, formats: int) -> None:
    users = [f"user{number}" for number in range(10)]
    with served(name) as url, contextlib.ExitStack() as stack:
        first = stack.enter_context(connect(f"{url}?user={users[0]}"))
        seen: list[dict[str, Any]] = []
        for _ in range(4):
            first.send('{"type": "ask"}')
            seen += until_over(first)
        # One user, one run after another: of 20 events a quarter is lost, or none.
        assert len(seen) == 4 * len(EVENTS) - lost
        shapes: dict[str, set[frozenset[str]]] = {}
        for message in seen:
            shapes.setdefault(key_of(message), set()).add(frozenset(message))
        assert set(shapes) == set(EVENTS)
        assert max(map(len, shapes.values())) == formats

        clients = {users[0]: first}
        for user in users[1:]:
            clients[user] = stack.enter_context(connect(f"{url}?user={user}"))
        for client in clients.values():
            client.send('{"type": "ask"}')
        came = {user: until_over(client) for user, client in clients.items()}
        for user, client in clients.items():
            with contextlib.suppress(TimeoutError):
                while True:
                    came[user].append(json.loads(client.recv(timeout=0.05)))
        # Ten users at once: three runs of ten reach somebody else, or none.
        strangers = {
            run_of(message)
            for user, messages in came.items()
            for message in messages
            if not run_of(message).startswith(f"{user}-")
        }
        assert len(strangers) == mixed_up
