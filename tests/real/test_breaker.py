# SPDX-License-Identifier: Apache-2.0
"""The circuit breaker under a real server with real clients: really out, and nobody notices.

The windows of these processes are 0.9 s instead of 5 s (see apps/tripping.py); all else is as
released. What trips, and what does not, is told second by second in tests/faults/test_breaker.py.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.real.world import Service, carry_out, eventually, get, serve
from ws_audit.tools.demo_cast import Cast
from ws_audit.tools.demo_stage import HOST

if TYPE_CHECKING:
    from pathlib import Path

USERS = 4
PATCHED = ["ConnectionManager.connect", "ConnectionManager.send_to_user", "Outbox.enqueue"]
LITTLE = 0.002  # what others do on the machine makes every share smaller
FRAMEWORK = ["WebSocket.send_json", "Config.load"]


def ask(service: Service, page: str) -> Any:
    return json.loads(get(f"http://{HOST}:{service.port}/{page}"))


def look(service: Service) -> dict[str, Any]:
    found: dict[str, Any] = ask(service, "agent")
    return found


def talk(service: Service, messages: int) -> int:
    """Every user asks for so many messages; all arrive, each at its own user."""
    commands = [
        [user, {"way": way, "text": ""}]
        for _ in range(messages)
        for user in range(USERS)
        for way in ("direct", "queue")
    ]
    plan = {"connections": 1, "commands": commands, "frames": len(commands)}
    received = carry_out(service, plan)
    time.sleep(0.6)  # the switchboard sends to sockets whose client has gone, for a while
    assert received.result["errors"] == []
    assert len(received.frames) == len(commands) + USERS
    assert received.leaked == []
    return len(received.frames)


def lines(service: Service, word: str) -> list[str]:
    return [line for line in service.said().splitlines() if word in line]


def share(value: float) -> str:
    return f"[limits]\ncpu_share = {value}\n"


def tripping(folder: Path, how: str, **more: Any) -> Any:
    settings = {"TRIPPING": how, "WS_AUDIT_INCLUDE": "switchboard.*"}
    return serve(folder, Cast.of(USERS), app="tripping:app", settings=settings, **more)


def tripped(service: Service) -> str:
    why: str = eventually("the breaker trips", 30, lambda: look(service)["tripped"])
    eventually("the patches are out", 10, lambda: not look(service)["patched"])
    return why


@pytest.mark.parametrize(
    ("how", "says"),
    [("hooks", "ws_audit.hooks.calls:"), ("output", "limits.cpu_share 0.002")],
    ids=["a broken hook", "a hog"],
)
def test_it_takes_the_agent_out_and_the_control_file_brings_it_back(
    tmp_path: Path, how: str, says: str
) -> None:
    with tripping(tmp_path, how, config=share(LITTLE)) as service:
        (service.store / "control").write_text("on")
        before = look(service)
        assert set(before["patched"]) == {*PATCHED, *FRAMEWORK}
        assert before["tripped"] == ""
        talk(service, 30)
        why = tripped(service)
        assert says in why

        # Said in one line, with what to do, and to be seen where one looks.
        (line,) = lines(service, "circuit breaker")
        assert why in line
        assert f'write "on" into {service.store / "control"}' in line
        assert "ws_audit.enable()" in line
        assert "limits.cpu_share" in line
        assert "cannot read" not in service.said()
        assert lines(service, "switched") == []
        page = service.metrics()
        assert page.total("ws_audit_internal_errors_total", stage="breaker") == 1
        assert page.series("ws_audit_targets", state="patched") == {(("state", "patched"),): 0}
        (alive,) = page.series("ws_audit_heartbeat_timestamp_seconds").values()

        # The application goes on; nothing is seen any more; it does not come back by itself.
        seen = page.balanced()
        talk(service, 5)
        time.sleep(2.5)  # longer than the control file is left alone
        page = service.metrics()
        assert page.balanced() == seen
        assert look(service) == {"patched": [], "tripped": why}
        assert [*page.series("ws_audit_heartbeat_timestamp_seconds").values()] > [alive]

        # Somebody mends it and says so.
        ask(service, "repair")
        (service.store / "control").write_text("on\n")
        eventually(
            "it is back", 10, lambda: set(look(service)["patched"]) == {*PATCHED, *FRAMEWORK}
        )
        assert look(service)["tripped"] == ""
        eventually("that it is, is said", 5, lambda: len(lines(service, "switched on")) == 1)
        talk(service, 5)
        assert service.metrics().balanced() == seen + 5 * 2 * USERS + USERS
        service.stop()
        assert len(lines(service, "circuit breaker")) == 1


def test_enable_brings_it_back_and_what_was_found_is_kept(tmp_path: Path) -> None:
    with tripping(tmp_path, "output", config=share(LITTLE)) as service:
        wrong = [[user, {"way": "direct", "text": "", "wrong": True}] for user in range(USERS)] * 9
        plan = {"connections": 1, "commands": wrong, "frames": len(wrong)}
        leaked = len(carry_out(service, plan).leaked)
        assert leaked == len(wrong)
        tripped(service)
        judged = service.metrics().by("ws_audit_verdicts_total", "verdict")
        ask(service, "repair")
        ask(service, "enable")
        assert set(look(service)["patched"]) == {*PATCHED, *FRAMEWORK}
        talk(service, 3)
        service.stop()
        review = service.review()
    counted = sum(one["events"] for one in review["incidents"])
    assert counted == judged["violation"] > 0
    assert review["problems"] == []


@pytest.mark.parametrize(
    ("how", "config"),
    [("burst", ""), ("output", share(1)), ("", "")],
    ids=["a burst", "no limit", "a sound agent"],
)
def test_it_stays(tmp_path: Path, how: str, config: str) -> None:
    with tripping(tmp_path, how, config=config) as service:
        frames = 0
        until = time.monotonic() + 5
        while time.monotonic() < until:
            frames += talk(service, 5)
        found = look(service)
        assert found["tripped"] == ""
        assert set(found["patched"]) == {*PATCHED, *FRAMEWORK}
        assert service.metrics().balanced() == frames

        def spent(stage: str) -> float:
            page = service.metrics()
            return float(sum(page.series("ws_audit_agent_cpu_seconds_total", stage=stage).values()))

        assert spent("hooks") > 0
        if how:
            # It was above the limit for a while, or this proves nothing.
            eventually("the drain has used it", 10, lambda: spent("drain") > 0.1)
        service.stop()
        assert lines(service, "circuit breaker") == []
