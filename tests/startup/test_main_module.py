# SPDX-License-Identifier: Apache-2.0
"""What is defined in the script itself, which no import hook sees, is audited all the same."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from websockets.sync.client import connect

from tests.startup.applications import CHAT_SCRIPT, CHAT_SPAWNED

if TYPE_CHECKING:
    from tests.startup.interpreters import Environment

# Class, instances and script are all there before the agent is.
SINGLETON_ONLY = """
import asyncio
from telling import metric, told
from loopback import serving, message
import chat
import registry

second = chat.ConnectionManager()
same = chat.manager
registry.managers.append(chat.ConnectionManager())

async def main():
    import ws_audit

    ws_audit.enable()
    async with serving(chat.app) as url:
        created = metric("ws_audit_instances_created_total", manager="chat:ConnectionManager")
        alive = metric("ws_audit_instances_alive", manager="chat:ConnectionManager")
        told(at_start=[created, alive])
        try:
            await registry.managers[0].send_to_user("nobody", {})
        except KeyError:
            pass
        created = metric("ws_audit_instances_created_total", manager="chat:ConnectionManager")
        told(at_first_sight=created)

asyncio.run(main())
"""


def review(app: Environment) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(
        app.call(app.command, "review", "traces", "--format", "json").out
    )
    return answer


@pytest.mark.parametrize(
    ("words", "module"),
    [
        (["app.py"], "app"),
        (["-m", "pkg.app"], "pkg.app"),
        (["-m", "served"], "served"),
        (["-m", "uvicorn", "served:app", "--log-level", "warning", "--port"], "served"),
    ],
    ids=["script", "module of a package", "module", "uvicorn's own line"],
)
def test_a_manager_defined_in_the_script_is_audited(
    app: Environment, words: list[str], module: str
) -> None:
    app.write(**{"app": CHAT_SCRIPT, "served": CHAT_SCRIPT, "pkg.app": CHAT_SCRIPT})
    with app.serve(*words, WS_AUDIT_TRACE_DIR="traces") as server:
        for user, owner in (("alice", "alice"), ("mallory", "alice")):
            with connect(f"ws://127.0.0.1:{server.port}/ws/{user}") as client:
                assert json.loads(client.recv(timeout=10))["user_id"] == owner
        ended = server.end()
    assert "1 manager class," in ended.err

    found = review(app)
    (incident,) = found["incidents"]
    assert incident["events"] == 1
    assert incident["rule"] == "payload_vs_connection"
    (site,) = incident["sites"]
    assert site.split(":")[1] == "endpoint"
    main = words != ["-m", "uvicorn", "served:app", "--log-level", "warning", "--port"]
    assert site.split(":")[0] == ("__main__" if main else module)
    assert found["coverage"]["frames"] == found["coverage"]["judged"] == 2
    assert found["problems"] == []


def test_a_script_is_known_by_its_file_to_include_also_in_a_spawned_process(
    app: Environment,
) -> None:
    app.write(spawned=CHAT_SPAWNED)
    variables = {"WS_AUDIT_TRACE_DIR": "traces", "WS_AUDIT_INCLUDE": "spawned"}
    with app.serve("spawned.py", **variables) as server:
        with connect(f"ws://127.0.0.1:{server.port}/ws/mallory") as client:
            client.recv(timeout=10)
        ended = server.end()
    assert "1 manager class," in ended.err
    (incident,) = review(app)["incidents"]
    assert incident["managers"] == ["__mp_main__:ConnectionManager"]


@pytest.mark.parametrize("variable", ["WS_AUDIT_INCLUDE", "WS_AUDIT_EXCLUDE"])
def test_and_to_exclude(app: Environment, variable: str) -> None:
    app.write(app=CHAT_SCRIPT)
    with app.serve("app.py", **{variable: "app"}) as server:
        ended = server.end()
    classes = (
        "1 manager class,"
        if variable == "WS_AUDIT_INCLUDE"
        else "0 manager classes (an installed application?"
    )
    assert classes in ended.err


def test_singletons_made_before_the_patch_count_when_seen(app: Environment) -> None:
    app.write(chat=CHAT_SCRIPT, registry="managers = []")
    told = app.run(SINGLETON_ONLY).told
    # chat.manager (under two names) and `second`; the one in a list is met at its first call.
    assert told == {"at_start": [2, 2], "at_first_sight": 3}
