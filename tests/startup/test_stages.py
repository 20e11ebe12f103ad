# SPDX-License-Identifier: Apache-2.0
"""What is loaded at which stage, proven by `sys.modules` of fresh interpreters."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.startup.applications import CATALOGUE, CHAT, HUB
from tests.startup.interpreters import DEPENDENCIES, PATCHED_BY_GEVENT, Environment

if TYPE_CHECKING:
    from pathlib import Path

LIST_MODULES = """
import sys
print("\\n".join(sys.modules))
"""

IMPORT_AN_APPLICATION = """
import catalogue
import sys
print("\\n".join(sys.modules))
"""

IMPORT_A_MANAGER = """
import threading
from telling import loaded, told

def state():
    return {
        "wrapt": loaded("wrapt") != [],
        "ways_out": loaded("opentelemetry", "prometheus_client", "google.protobuf", "grpc"),
        "threads": [thread.name for thread in threading.enumerate()],
    }

told(before=state())
import hub
told(imported=state(), hooked=hasattr(hub.ConnectionManager.send_to_user, "__wrapped__"))
instance = hub.ConnectionManager()
told(created=state())
"""

IMPORT_A_SERVER = """
import threading
from telling import loaded, told
import uvicorn

config = uvicorn.Config("chat:app")
told(
    wrapt=loaded("wrapt") != [],
    ways_out=loaded("opentelemetry", "prometheus_client", "google.protobuf", "grpc"),
    threads=[thread.name for thread in threading.enumerate()],
)
"""

SERVE = """
import asyncio, threading
from telling import loaded, told, metric
from loopback import serving, message
import chat

async def main():
    told(before=loaded("opentelemetry", "prometheus_client"))
    told(threads_before=[thread.name for thread in threading.enumerate()])
    async with serving(chat.app) as url:
        told(serving=[name for name in ("opentelemetry.sdk", "prometheus_client") if loaded(name)])
        told(threads=[thread.name for thread in threading.enumerate()])
        told(message=await message(url + "/ws/bob"))
    told(created=metric("ws_audit_instances_created_total", manager="chat:ConnectionManager"))
    told(judged=metric("ws_audit_frames_total", transport="asgi", judged="true"))

asyncio.run(main())
"""

WAYS_OUT_AFTER_THE_FIRST_INTENT = """
import time
from telling import loaded, told
import hub

hub.ConnectionManager().send_to_user("alice", {"type": "message"})
deadline = time.monotonic() + 20
while not loaded("prometheus_client.registry") and time.monotonic() < deadline:
    time.sleep(0.02)
told(ways_out=loaded("prometheus_client") != [])
"""


def ours(modules: set[str]) -> set[str]:
    """Modules of the agent or of what it depends on."""
    tops = ("ws_audit", *DEPENDENCIES)
    return {name for name in modules if any(f"{name}.".startswith(f"{top}.") for top in tops)}


def modules(app: Environment, script: str, **variables: str) -> set[str]:
    """What a script has in sys.modules; it must not have said anything on stderr."""
    ended = app.run(script, **variables)
    assert (ended.code, ended.err) == (0, "")
    return set(ended.out.split())


@pytest.fixture(scope="module")
def without(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The modules of each script with the variable unset."""
    app = Environment(installed, tmp_path_factory.mktemp("without"))
    app.write(catalogue=CATALOGUE)
    return {script: modules(app, script) for script in (LIST_MODULES, IMPORT_AN_APPLICATION)}


# --- off -----------------------------------------------------------------------------------


def test_unset_loads_nothing_of_ours(without: dict[str, set[str]]) -> None:
    assert ours(without[LIST_MODULES]) == set()
    assert ours(without[IMPORT_AN_APPLICATION]) == set()


@pytest.mark.parametrize("value", ["", "0", "false", "no", "OFF", "2", "enabled", "1 1"])
def test_everything_but_a_yes_is_off(
    app: Environment, without: dict[str, set[str]], value: str
) -> None:
    app.write(catalogue=CATALOGUE)
    found = modules(app, IMPORT_AN_APPLICATION, WS_AUDIT_ENABLED=value)
    assert found == without[IMPORT_AN_APPLICATION]


# --- on, and nothing to do -----------------------------------------------------------------


@pytest.mark.parametrize("value", ["1", "true", "Yes", "ON", " 1 ", "\tTrue\n"])
def test_a_yes_in_any_case_and_spacing_is_on(app: Environment, value: str) -> None:
    assert "ws_audit.bootstrap" in modules(app, LIST_MODULES, WS_AUDIT_ENABLED=value)


def test_stage_0_loads_the_finder_and_nothing_else(
    app: Environment, without: dict[str, set[str]]
) -> None:
    more = modules(app, LIST_MODULES, WS_AUDIT_ENABLED="1") - without[LIST_MODULES]
    assert more == {"ws_audit", "ws_audit.bootstrap", "__future__"}


def test_an_application_without_managers_costs_the_settings_only(
    app: Environment, without: dict[str, set[str]]
) -> None:
    app.write(catalogue=CATALOGUE)
    found = modules(app, IMPORT_AN_APPLICATION, WS_AUDIT_ENABLED="1")
    more = found - without[IMPORT_AN_APPLICATION]

    assert "ws_audit.configuration.settings" in more
    assert "ws_audit.runtime" not in more
    allowed = {"ws_audit", "tomli"} if sys.version_info < (3, 11) else {"ws_audit"}
    assert {name.partition(".")[0] for name in ours(more)} == allowed
    foreign = {name.partition(".")[0] for name in more - ours(more)}
    assert foreign <= sys.stdlib_module_names
    assert foreign & set(PATCHED_BY_GEVENT) == set()


# --- a manager class -----------------------------------------------------------------------


def test_a_manager_class_brings_wrapt_but_no_way_out_and_no_thread(app: Environment) -> None:
    app.write(hub=HUB)
    told = app.audited(IMPORT_A_MANAGER).told

    assert told["before"] == {"wrapt": False, "ways_out": [], "threads": ["MainThread"]}
    assert told["hooked"]
    assert told["imported"] == {"wrapt": True, "ways_out": [], "threads": ["MainThread"]}
    assert told["created"] == told["imported"]


def test_a_supervisor_that_only_configures_uvicorn_stays_without_ways_out(
    app: Environment,
) -> None:
    app.write(chat=CHAT)
    told = app.audited(IMPORT_A_SERVER).told
    assert told == {"wrapt": True, "ways_out": [], "threads": ["MainThread"]}


def test_ways_out_and_the_worker_begin_when_a_server_takes_the_application(
    app: Environment,
) -> None:
    app.write(chat=CHAT)
    told = app.audited(SERVE).told

    assert told["before"] == []
    assert told["threads_before"] == ["MainThread"]
    assert told["serving"] == ["opentelemetry.sdk", "prometheus_client"]
    assert "ws-audit-drain" in told["threads"]
    assert told["message"] == {"type": "message", "user_id": "bob"}
    assert told["created"] == 1
    assert told["judged"] == 1


def test_the_first_intent_begins_them_where_no_server_is_seen(app: Environment) -> None:
    app.write(hub=HUB)
    assert app.audited(WAYS_OUT_AFTER_THE_FIRST_INTENT).told == {"ways_out": True}
