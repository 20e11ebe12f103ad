# SPDX-License-Identifier: Apache-2.0
"""The control file: a kill switch that needs no restart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.startup.applications import CHAT

if TYPE_CHECKING:
    from tests.startup.interpreters import Environment

# Each word of the command line is written to the file while the server runs; "-" removes it.
# What follows it says whether the class is then expected to be hooked.
FOLLOW_THE_FILE = """
import asyncio, os, pathlib, sys, threading, time
import chat
from loopback import serving, message
from telling import metric, told

FILE = pathlib.Path(os.environ["FOLLOWED"])
STEPS = os.environ["STEPS"].split()

def own():
    return {name: id(value) for name, value in chat.ConnectionManager.__dict__.items()}

def hooked():
    return hasattr(chat.ConnectionManager.send_to_user, "__wrapped__")

def judged():
    return metric("ws_audit_frames_total", transport="asgi", judged="true")

async def settled(expected):
    started = time.monotonic()
    while hooked() is not expected and time.monotonic() - started < 5:
        await asyncio.sleep(0.02)
    return time.monotonic() - started

async def main():
    steps = []
    async with serving(chat.app) as url:
        for step in ["start", *STEPS]:
            word, _, expected = step.partition(":")
            if word == "-":
                FILE.unlink()
            elif word != "start":
                FILE.write_text(word.replace("_", " "))
            if expected:
                seconds = await settled(expected == "hooked")
            else:
                seconds = 0
                if word != "start":
                    await asyncio.sleep(2.5)
            answer = await message(url + "/ws/alice")
            steps.append([hooked(), judged(), seconds < 3.2, answer["user_id"]])
        threads = [thread.name for thread in threading.enumerate()]
    told(steps=steps, worker="ws-audit-drain" in threads)

asyncio.run(main())
"""

OFF_LEAVES_NOTHING = """
import asyncio, os, pathlib
from telling import told
import uvicorn, starlette.websockets, starlette.testclient
import chat
from loopback import serving, message

async def main():
    async with serving(chat.app) as url:
        await message(url + "/ws/alice")
    told(hooked=[
        hasattr(function, "__wrapped__")
        for function in (
            chat.ConnectionManager.__init__, chat.ConnectionManager.connect,
            chat.ConnectionManager.send_to_user, uvicorn.Config.load,
            starlette.websockets.WebSocket.send_json,
            starlette.testclient.WebSocketTestSession.__init__,
        )
    ])

asyncio.run(main())
"""


def follow(app: Environment, steps: str, **variables: str) -> tuple[dict[str, object], str]:
    app.write(chat=CHAT)
    given = {"WS_AUDIT_CONTROL": "switch", "FOLLOWED": "switch", "STEPS": steps, **variables}
    ended = app.audited(FOLLOW_THE_FILE, **given)
    return ended.told, ended.err


def test_off_on_and_off_again_under_one_server(app: Environment) -> None:
    (app.directory / "switch").write_text("OFF\n")
    told, err = follow(app, "on:hooked off:plain")
    assert told["steps"] == [
        [False, 0, True, "alice"],
        [True, 1, True, "alice"],
        [False, 1, True, "alice"],
    ]
    assert told["worker"]
    assert [line for line in err.splitlines() if "switched" in line] == [
        "ws-audit: switched off",
        "ws-audit: switched on",
        "ws-audit: switched off",
    ]


def test_off_before_the_start_leaves_no_hook_in_application_or_framework(
    app: Environment,
) -> None:
    app.write(chat=CHAT)
    (app.directory / "switch").write_text("off")
    told = app.audited(OFF_LEAVES_NOTHING, WS_AUDIT_CONTROL="switch").told
    assert told == {"hooked": [False] * 6}


def test_a_bad_word_is_told_once_and_changes_nothing(app: Environment) -> None:
    (app.directory / "switch").write_text("pause")
    told, err = follow(app, "stop", WS_AUDIT_CONTROL=str(app.directory / "switch"))
    assert told["steps"] == [[True, 1, True, "alice"], [True, 2, True, "alice"]]
    (line,) = [line for line in err.splitlines() if "control file" in line]
    assert "'pause'" in line
    assert str(app.directory / "switch") in line
    assert "expected on or off" in line
    assert "switched" not in err


@pytest.mark.parametrize("content", [None, "", " \n", "on", "On\n"])
def test_missing_empty_or_on_is_on(app: Environment, content: str | None) -> None:
    if content is not None:
        (app.directory / "switch").write_text(content)
    told, err = follow(app, "")
    assert told["steps"] == [[True, 1, True, "alice"]]
    assert "switched" not in err
    assert "control file" not in err


def test_it_lies_in_the_trace_directory_and_its_removal_switches_on(app: Environment) -> None:
    traces = app.directory / "traces"
    traces.mkdir(mode=0o700)
    (traces / "control").write_text("off\n")
    followed = {"WS_AUDIT_TRACE_DIR": "traces", "FOLLOWED": "traces/control"}
    told, _ = follow(app, "-:hooked", WS_AUDIT_CONTROL="", **followed)
    assert told["steps"] == [[False, 0, True, "alice"], [True, 1, True, "alice"]]
