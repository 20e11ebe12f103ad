# SPDX-License-Identifier: Apache-2.0
"""enable(), disable() and flush() in a process that is already running."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.startup.applications import CHAT, HUB

if TYPE_CHECKING:
    from tests.startup.interpreters import Environment

# What a class's own dictionary holds, by identity: `before == own(cls)` is "exactly as it was".
OWN = """
def own(cls):
    return [(name, id(value)) for name, value in cls.__dict__.items()]

def hooked(function):
    return hasattr(function, "__wrapped__")
"""

PATCHED_LATE = (
    OWN
    + """
from telling import metric, told
import hub
from hub import ConnectionManager as Manager

class Local(hub.ConnectionManager):
    def send_to_user(self, user_id, message):
        return super().send_to_user(user_id, message)

early = Manager()
kept = early.send_to_user
namesake = Manager.send_to_user

import ws_audit
ws_audit.enable()
import ws_audit.agent as ours

def sent():
    ours.agent().runtime.drain.fold()
    totals = ours.agent().runtime.tally.total()
    created = sum(count for key, count in totals.items() if key[0] == "created")
    return len(ours.agent().runtime.intents._waiting), created

seen = {}
def count(name, call):
    before, _ = sent()
    result = call()
    seen[name] = sent()[0] - before
    return result

told(result=count("instance", lambda: early.send_to_user("alice", 1)))
count("subclass that inherits", lambda: hub.QuietManager().send_to_user("alice", {}))
count("subclass that overrides", lambda: Local().send_to_user("alice", []))
count("new instance", lambda: Manager().send_to_user("alice", "x"))
count("bound before", lambda: kept("alice", b"x"))
count("function before", lambda: namesake(early, "alice", ()))
told(seen=seen)
"""
)

RESTORED = (
    OWN
    + """
import fastapi.dependencies.utils, fastapi.routing, starlette.testclient, starlette.websockets
import uvicorn, uvicorn.server
from telling import told
import hub, odd

classes = [hub.ConnectionManager, hub.QuietManager, hub.WebSocketNotifier, *odd.MANAGERS]
frameworks = [
    uvicorn.Config, uvicorn.server.Server, starlette.websockets.WebSocket,
    starlette.testclient.WebSocketTestSession, fastapi.routing, fastapi.dependencies.utils,
]
names = {cls: cls.__name__ for cls in (*classes, *frameworks)}

def state():
    return {cls: own(cls) for cls in (*classes, *frameworks)}

def changed(before):
    now = state()
    return sorted(names[cls] for cls in before if before[cls] != now[cls])

def keys():
    return [[name for name, _ in own(cls)] for cls in (*classes, *frameworks)]

before, keys_before = state(), keys()
import ws_audit
ws_audit.enable()
told(patched=changed(before), same_keys=keys() == keys_before)
import sys
finder = lambda: [type(f).__module__ for f in sys.meta_path].count("ws_audit.bootstrap")
told(finder=finder())
ws_audit.enable()
told(finder_twice=finder())
ws_audit.disable()
told(left=changed(before), finder_after=finder(), keys_left=keys() == keys_before)
ws_audit.disable()

import late
told(late=hooked(late.ConnectionManager.send_to_user))
ws_audit.enable()
told(late_enabled=hooked(late.ConnectionManager.send_to_user), again=changed(before))
ws_audit.disable()
told(left_again=changed(before))
"""
)

ODD_MANAGERS = """
import abc

class Meta(type):
    def __setattr__(cls, name, value):
        raise AttributeError("this class is sealed")

class SealedConnectionManager(metaclass=Meta):
    def send(self, user_id, message): ...

class SlottedSocketManager:
    __slots__ = ("sockets",)
    def send(self, user_id, message): ...

class AbstractConnectionManager(abc.ABC):
    @abc.abstractmethod
    def send_to_user(self, user_id, message): ...

class StaticConnectionManager:
    @staticmethod
    def send_to_user(user_id, message): ...
    @classmethod
    async def broadcast(cls, message): ...
    notify_user = send_to_user

MANAGERS = [
    SealedConnectionManager, SlottedSocketManager, AbstractConnectionManager,
    StaticConnectionManager,
]
"""

# Disabled before the first module is imported, then enabled: nothing may be patched twice.
ENABLED_AFTER_ALL = (
    OWN
    + """
import starlette.websockets, sys
websocket = own(starlette.websockets.WebSocket)
import ws_audit
ws_audit.disable()
import uvicorn
load = own(uvicorn.Config)
from telling import told
import hub
manager = own(hub.ConnectionManager)
told(off=[hooked(hub.ConnectionManager.send_to_user), hooked(uvicorn.Config.load)])
ws_audit.enable()

def depth(function):
    return 1 + depth(function.__wrapped__) if hooked(function) else 0

told(depths=[
    depth(hub.ConnectionManager.send_to_user), depth(uvicorn.Config.load),
    depth(starlette.websockets.WebSocket.send_json),
])
ws_audit.disable()
told(restored=[
    manager == own(hub.ConnectionManager), load == own(uvicorn.Config),
    websocket == own(starlette.websockets.WebSocket),
])
"""
)

# FastAPI's router takes the name of a function that has been hooked already.
SERVER_FIRST = (
    OWN
    + """
import uvicorn
import fastapi.dependencies.utils, fastapi.routing
from telling import told

def hooks():
    modules = (fastapi.dependencies.utils, fastapi.routing)
    return [hooked(module.solve_dependencies) for module in modules]

told(on=hooks())
import ws_audit
ws_audit.disable()
told(off=hooks())
ws_audit.enable()
told(on_again=hooks())
ws_audit.disable()
told(off_again=hooks())
"""
)

ON_AND_OFF_AND_ON = """
import asyncio
import chat
from loopback import serving, message
from telling import metric, told
import ws_audit

ws_audit.enable()

def judged():
    return [
        metric("ws_audit_frames_total", transport="asgi", judged="true"),
        metric("ws_audit_instances_created_total", manager="chat:ConnectionManager"),
        sum(
            metric("ws_audit_events_sent_total", manager="chat:ConnectionManager",
                   event="message", outcome=outcome) or 0
            for outcome in ("ok", "undelivered", "error")
        ),
    ]

async def main():
    async with serving(chat.app) as url:
        await message(url + "/ws/mallory")
        told(first=judged())
        ws_audit.disable()
        await message(url + "/ws/mallory")
        told(disabled=judged(), flushed_disabled=ws_audit.flush())
        ws_audit.enable()
        await message(url + "/ws/mallory")
        told(second=judged(), flushed=ws_audit.flush())

asyncio.run(main())
"""

# A collector that counts what it is sent: spans leave after the second enable(), too.
EXPORTED = """
import asyncio, http.server, os, threading

class Collector(http.server.BaseHTTPRequestHandler):
    received = 0

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        Collector.received += body.count(b"ws_audit.violation")
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.end_headers()

    def log_message(self, *words): ...

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
threading.Thread(target=server.serve_forever, daemon=True).start()
os.environ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] = f"http://127.0.0.1:{server.server_port}/v1/traces"
os.environ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"] = "http/protobuf"
os.environ["OTEL_EXPORTER_OTLP_TRACES_COMPRESSION"] = "none"

import chat
from loopback import serving, message
from telling import told
import ws_audit

async def leak(url):
    ws_audit.enable()
    await message(url + "/ws/mallory")
    flushed = await asyncio.to_thread(ws_audit.flush)
    received = Collector.received
    ws_audit.disable()
    return [flushed, received]

async def main():
    ws_audit.enable()
    async with serving(chat.app) as url:
        told(first=await leak(url), second=await leak(url))

asyncio.run(main())
"""

# No server ever takes an application: a worker of a task queue, a script.
ENDED_WITHOUT_A_SERVER = """
import sys, time
import hub

hub.ConnectionManager().send_to_user("alice", {"type": "message"})
deadline = time.monotonic() + 20
while "ws_audit.outputs.coverage" not in sys.modules and time.monotonic() < deadline:
    time.sleep(0.02)
time.sleep(0.3)
"""

# An intent is under way, and the control file (missing: on) is due to be read.
STAYS_OFF = (
    OWN
    + """
import threading, time
import hub
from telling import told
import ws_audit, ws_audit.agent

ws_audit.enable()
hub.ConnectionManager().send_to_user("alice", {"type": "message"})
agent = ws_audit.agent.agent()
deadline = time.monotonic() + 20
while agent.runtime.outputs is None and time.monotonic() < deadline:
    time.sleep(0.01)
agent._control_read = 0
started = time.monotonic()
ws_audit.disable()
told(
    seconds=time.monotonic() - started,
    hooked=hooked(hub.ConnectionManager.send_to_user),
    threads=[thread.name for thread in threading.enumerate()],
)
"""
)

ENABLED_WHERE_SWITCHED_OFF = (
    OWN
    + """
import hub
from telling import told
import ws_audit

ws_audit.enable()
told(hooked=hooked(hub.ConnectionManager.send_to_user))
"""
)

WITHOUT_AN_AGENT = """
from telling import loaded, told
import ws_audit

told(flushed=ws_audit.flush(), bound=ws_audit.bind(object(), "alice"))
ws_audit.disable()
told(loaded=loaded("wrapt", "opentelemetry", "prometheus_client"))
"""


def test_what_was_imported_before_is_patched_and_each_event_counts_once(app: Environment) -> None:
    app.write(hub=HUB)
    told = app.run(PATCHED_LATE).told
    assert told["result"] == "sent"
    assert told["seen"] == {
        "instance": 1,
        "subclass that inherits": 1,
        "subclass that overrides": 1,
        "new instance": 1,
        # What was looked up before the patch is the one thing that cannot be seen.
        "bound before": 0,
        "function before": 0,
    }


def test_disable_restores_every_class_and_function_exactly(app: Environment) -> None:
    app.write(hub=HUB, odd=ODD_MANAGERS, late=HUB)
    told = app.run(RESTORED).told

    assert told["patched"] == [
        "AbstractConnectionManager",
        "Config",
        "ConnectionManager",
        "SealedConnectionManager",
        "Server",
        "SlottedSocketManager",
        "StaticConnectionManager",
        "WebSocket",
        "WebSocketNotifier",
        "WebSocketTestSession",
        "fastapi.dependencies.utils",
        "fastapi.routing",
    ]
    assert told["same_keys"]  # nothing added, above all no __init__
    assert (told["finder"], told["finder_twice"], told["finder_after"]) == (1, 1, 0)
    assert told["left"] == []
    assert told["keys_left"]
    assert told["late"] is False
    assert told["late_enabled"] is True
    assert told["again"] == told["patched"]
    assert told["left_again"] == []


def test_disabled_before_anything_then_enabled_patches_once(app: Environment) -> None:
    app.write(hub=HUB)
    told = app.audited(ENABLED_AFTER_ALL).told
    assert told == {"off": [False, False], "depths": [1, 1, 1], "restored": [True] * 3}


def test_a_name_taken_from_a_patched_module_is_restored_too(app: Environment) -> None:
    told = app.audited(SERVER_FIRST).told
    on, off = [True, True], [False, False]
    assert told == {"on": on, "off": off, "on_again": on, "off_again": off}


@pytest.mark.parametrize("variable", [{}, {"WS_AUDIT_ENABLED": "1"}], ids=["enable", "variable"])
def test_on_off_and_on_under_one_server_counts_each_message_once(
    app: Environment, variable: dict[str, str]
) -> None:
    app.write(chat=CHAT)
    ended = app.run(ON_AND_OFF_AND_ON, WS_AUDIT_TRACE_DIR="traces", **variable)
    told = ended.told

    # Frames, instances (one singleton, made before the patch), intents.
    assert told["first"] == [1, 1, 1]
    assert told["disabled"] == [1, 1, 1]
    assert told["second"] == [2, 1, 2]
    assert told["flushed_disabled"]
    assert told["flushed"]

    review: dict[str, Any] = json.loads(
        app.call(app.command, "review", "traces", "--format", "json").out
    )
    assert [incident["events"] for incident in review["incidents"]] == [2]
    assert review["problems"] == []


def test_spans_leave_again_after_the_second_enable(app: Environment) -> None:
    app.write(chat=CHAT)
    told = app.run(EXPORTED).told
    assert told == {"first": [True, 1], "second": [True, 2]}


def test_a_process_without_a_server_has_last_words(app: Environment) -> None:
    app.write(hub=HUB)
    ended = app.audited(ENDED_WITHOUT_A_SERVER, WS_AUDIT_TRACE_DIR="traces")
    assert ended.code == 0
    (coverage,) = (app.directory / "traces").glob("coverage-*.jsonl")
    assert coverage.read_text().count("ws_audit.final") == 1


def test_disable_is_final_whatever_the_control_file_says(app: Environment) -> None:
    app.write(hub=HUB)
    told = app.run(STAYS_OFF, WS_AUDIT_TRACE_DIR="traces").told
    assert told["hooked"] is False
    assert told["threads"] == ["MainThread"]
    assert told["seconds"] < 1.5


def test_enable_does_not_overrule_the_control_file(app: Environment) -> None:
    app.write(hub=HUB)
    (app.directory / "switch").write_text("off\n")
    ended = app.run(ENABLED_WHERE_SWITCHED_OFF, WS_AUDIT_CONTROL="switch")
    assert ended.told == {"hooked": False}
    (app.directory / "switch").write_text("on\n")
    ended = app.run(ENABLED_WHERE_SWITCHED_OFF, WS_AUDIT_CONTROL="switch")
    assert ended.told == {"hooked": True}


def test_the_calls_do_nothing_where_there_is_no_agent(app: Environment) -> None:
    told = app.run(WITHOUT_AN_AGENT).told
    assert told == {"flushed": True, "bound": None, "loaded": []}
