# SPDX-License-Identifier: Apache-2.0
"""Starlette's TestClient: a test suite sees leaks without a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.startup.applications import CHAT

if TYPE_CHECKING:
    from tests.startup.interpreters import Environment

COUNTS = """
from telling import metric

def counts():
    return [
        metric("ws_audit_frames_total", transport="asgi", judged="true"),
        metric("ws_audit_verdicts_total", manager="chat:ConnectionManager", verdict="match"),
        metric("ws_audit_verdicts_total", manager="chat:ConnectionManager", verdict="violation"),
        metric("ws_audit_instances_created_total", manager="chat:ConnectionManager"),
        metric("ws_audit_connections_alive", transport="asgi"),
    ]
"""

TEST_CLIENT = (
    COUNTS
    + """
import threading
from starlette.testclient import TestClient
from telling import loaded, told
import chat

told(before=loaded("opentelemetry", "prometheus_client"))
{lifespan}
for user_id, owner in (("alice", "alice"), ("bob", "bob"), ("mallory", "alice")):
    with client.websocket_connect("/ws/" + user_id) as session:
        assert session.receive_json() == {{"type": "message", "user_id": owner}}
told(counts=counts())
"""
)

SAME_APPLICATION_TWICE = (
    COUNTS
    + """
import asyncio
from starlette.testclient import TestClient
from telling import told
from loopback import serving, message
import chat, uvicorn

async def main():
    async with serving(chat.app) as url:
        await message(url + "/ws/alice")
    told(server=counts()[0])

asyncio.run(main())

# What a server has taken goes into the client: wrapped twice, counted once.
config = uvicorn.Config(chat.app)
config.load()
config.loaded_app = chat.app if config.loaded_app is None else config.loaded_app
with TestClient(config.loaded_app).websocket_connect("/ws/bob") as session:
    session.receive_json()
told(both=counts()[0])
with TestClient(chat.app).websocket_connect("/ws/bob") as session:
    session.receive_json()
told(client=counts()[0])
"""
)

# As pytest runs a suite: its own import hook stands before ours and rewrites the test module.
SUITE = """
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.testclient import TestClient
import chat

class SuiteConnectionManager(chat.ConnectionManager):
    async def send_to_user(self, user_id, message):
        await super().send_to_user(user_id, message)

def test_chat():
    from telling import metric

    with TestClient(chat.app).websocket_connect("/ws/mallory") as session:
        assert session.receive_json()["user_id"] == "alice"
    violations = metric(
        "ws_audit_verdicts_total", manager="chat:ConnectionManager", verdict="violation"
    )
    assert violations == 1
    assert hasattr(SuiteConnectionManager.send_to_user, "__wrapped__")
"""


@pytest.mark.parametrize(
    "lifespan",
    ["client = TestClient(chat.app)", "client = TestClient(chat.app).__enter__()"],
    ids=["plain", "with lifespan"],
)
def test_deliveries_are_seen_and_judged(app: Environment, lifespan: str) -> None:
    app.write(chat=CHAT)
    ended = app.audited(TEST_CLIENT.format(lifespan=lifespan))
    assert ended.told == {"before": [], "counts": [3, 2, 1, 1, 0]}
    assert "ws-audit: 0.1.0: mode observe, 1 manager class" in ended.err


def test_an_application_under_server_and_client_counts_once(app: Environment) -> None:
    app.write(chat=CHAT)
    told = app.audited(SAME_APPLICATION_TWICE).told
    assert told == {"server": 1, "both": 2, "client": 3}


def test_a_pytest_suite_is_audited(app: Environment) -> None:
    app.write(chat=CHAT, test_chat=SUITE)
    app.run("")  # leaves the helpers the suite imports
    words = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "test_chat.py")
    ended = app.call(app.python, *words, WS_AUDIT_ENABLED="1", PYTHONPATH=".")
    assert ended.code == 0, ended.out + ended.err
    assert "1 passed" in ended.out
