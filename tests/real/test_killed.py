# SPDX-License-Identifier: Apache-2.0
"""SIGKILL right after a leaked frame: what was seen is kept, said, and delivered later.

The process gets no chance to run anything after the frame: whatever is found afterwards had
left it before the client had its frame, or is sent by the next start.
"""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from websockets.sync.client import connect

from tests.real.receivers import Hook, webhook
from tests.real.world import SECOND, Service, eventually, leaks, nanoseconds, serve, stored
from ws_audit.tools.demo_cast import Cast
from ws_audit.tools.demo_stage import HOST, free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = "a-secret-nobody-else-may-read"


@dataclass
class Victim:
    """The leaked frame: when it came, and its size."""

    came_ns: int
    bytes: int


@contextlib.contextmanager
def leak(service: Service) -> Iterator[Victim]:
    """Two users; the first asks, and the second gets a frame of it. Goes on at that frame."""
    with contextlib.ExitStack() as open_connections:
        first, second = (
            open_connections.enter_context(
                connect(f"{service.url}?token={token}", proxy=None, close_timeout=0.1)
            )
            for token in list(service.cast.tokens)[:2]
        )
        for each in (first, second):
            assert json.loads(each.recv(5))["type"] == "welcome"
        first.send(json.dumps({"type": "user_message", "text": SECRET}))
        raw = ""
        while SECRET not in raw:
            raw = str(second.recv(5))
        yield Victim(time.time_ns(), len(raw.encode()))


@pytest.mark.parametrize(
    ("defect", "severity", "level"),
    [("fanout_bug", "confirmed", "CRITICAL"), ("last_socket", "probable", "WARNING")],
)
def test_store_and_log_have_it_when_the_process_is_killed(
    tmp_path: Path, defect: str, severity: str, level: str
) -> None:
    # With one witness less, of two that agree.
    config = "" if severity == "confirmed" else '[payload]\nresources = ["of_nothing"]\n'
    with serve(tmp_path, Cast.of(2), defects=defect, config=config) as service:
        with leak(service) as victim:
            service.kill()
        review = service.review()
        alarms = service.alarms()
        users = [service.cast.hash_of(user) for user in service.cast.tokens.values()]

    incident, *_ = found = leaks(review)
    assert {each["severity"] for each in found} == {severity}
    assert {(p["owner"], p["recipient"]) for i in found for p in i["pairs"]} == {tuple(users)}
    assert sum(each["events"] for each in found) >= 1
    assert min(nanoseconds(each["first_seen"]) for each in found) <= victim.came_ns
    # The process never came to say what it had judged: the review must say that.
    assert len([p for p in review["problems"] if "has not written its last coverage" in p]) == 1

    told = {alarm["incident"]["id"]: alarm for alarm in alarms}
    assert told.keys() == {each["id"] for each in found}
    alarm = told[incident["id"]]
    assert alarm["severity"] == level
    assert alarm["incident"]["bytes"] == victim.bytes or len(found) > 1
    for key in ("rule", "severity", "first_seen", "sites", "managers", "services", "acknowledged"):
        assert alarm["incident"][key] == incident[key], key
    assert alarm["incident"]["pairs"][0].keys() == incident["pairs"][0].keys()
    assert incident["sites"][0] in alarm["message"]
    assert severity in alarm["message"]


def test_a_webhook_that_was_down_gets_it_from_the_next_start(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    config = Hook(port).config
    store = tmp_path / "trace"
    cast = Cast.of(2)
    with serve(tmp_path / "1", cast, defects="fanout_bug", config=config, store=store) as service:
        with leak(service):
            service.kill()
        first = service.review()
    assert not (store / "pushed.jsonl").exists()

    with webhook(port) as hook:
        with serve(tmp_path / "2", cast, config=config, store=store) as service:
            ids = {each["id"] for each in leaks(first)}
            eventually("the webhook has them all", 5, lambda: len(hook.bodies) >= len(ids))
            assert {each["id"] for each in hook.incidents} == ids
            assert service.stop() == -15
        expected = {each["id"]: settled(each) for each in leaks(first)}
        assert {each["id"]: settled(each) for each in hook.incidents} == expected

        # The journal knows: a further start sends nothing.
        journal = (store / "pushed.jsonl").read_text()
        assert {json.loads(line)["incident"] for line in journal.splitlines()} == ids
        with serve(tmp_path / "3", cast, config=config, store=store) as service:
            time.sleep(1.5)
            assert service.stop() == -15
        assert len(hook.bodies) == len(ids)
        assert (store / "pushed.jsonl").read_text() == journal


def test_a_webhook_that_is_up_gets_it_at_once_and_once(tmp_path: Path) -> None:
    store = tmp_path / "trace"
    cast = Cast.of(2)
    with webhook() as hook:
        with serve(
            tmp_path / "1", cast, defects="last_socket", config=hook.config, store=store
        ) as service:
            with leak(service) as victim:
                eventually("the webhook has it", 3, lambda: hook.bodies)
            after = (hook.came[0] - victim.came_ns) / SECOND
            print(f"webhook {after * 1000:+.1f} ms after the leaked frame")
            service.stop()
            review = service.review()
        assert after < 3
        (incident,) = leaks(review)
        assert settled(hook.incidents[0]) == settled(incident)

        with serve(tmp_path / "2", cast, config=hook.config, store=store) as service:
            time.sleep(1.5)
            service.stop()
        assert len(hook.bodies) == 1


def test_a_collector_that_is_down_does_not_hold_up_the_webhook(tmp_path: Path) -> None:
    settings = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{HOST}:1",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
    }
    with (
        webhook() as hook,
        serve(
            tmp_path, Cast.of(2), defects="fanout_bug", settings=settings, config=hook.config
        ) as service,
    ):
        with leak(service) as victim:
            # One incident for each of the events that come by this way.
            eventually(
                "the webhook has four incidents",
                4,
                lambda: len({each["id"] for each in hook.incidents}) == 4,
            )
        service.kill()
        ids = {each["id"] for each in leaks(service.review())}
    print(f"the last webhook {(hook.came[-1] - victim.came_ns) / SECOND * 1000:+.1f} ms")

    assert {each["id"] for each in hook.incidents} == ids


def test_killed_with_the_webhook_up_it_is_delivered_at_least_once(tmp_path: Path) -> None:
    store = tmp_path / "trace"
    cast = Cast.of(2)
    with webhook() as hook:
        with serve(
            tmp_path / "1", cast, defects="fanout_bug", config=hook.config, store=store
        ) as service:
            with leak(service):
                service.kill()
            ids = {each["id"] for each in leaks(service.review())}
        with serve(tmp_path / "2", cast, config=hook.config, store=store):
            eventually("all", 5, lambda: {each["id"] for each in hook.incidents} >= ids)
        assert {each["id"] for each in hook.incidents} == ids


def test_evidence_and_alarm_are_out_before_the_call_goes_on(tmp_path: Path) -> None:
    """Killed inside the leaking send: nothing of the agent has run since it let the frame pass."""
    with serve(tmp_path, Cast.of(2), app="mortal.py", defects="last_socket") as service:
        with leak(service) as victim:
            assert service.process.wait(5) == -9
        (alarm,) = service.alarms()
        (incident,) = leaks(service.review())
        outcomes = [s for s in stored(service.store) if "ws_audit.outcome" in s["attributes"]]
        (span,) = [
            span
            for span in stored(service.store)
            if span["name"] == "ws_audit.violation" and "security_rule.name" in span["attributes"]
        ]
    attributes = span["attributes"]
    users = [service.cast.hash_of(user) for user in service.cast.tokens.values()]
    assert attributes["ws_audit.owner.hash"] == users[0]
    assert attributes["user.hash"] == users[1]
    assert attributes["ws_audit.bytes"] == victim.bytes
    assert int(span["startTimeUnixNano"]) <= victim.came_ns
    # What became of it nobody knows any more: it may have arrived, and so it counts.
    assert [it for it in outcomes if it["name"] == "ws_audit.violation"] == []
    assert incident["events"] == incident["attempted"] == 1
    assert settled(alarm["incident"]) == settled(incident)


def settled(incident: dict[str, Any]) -> dict[str, Any]:
    """An incident without what depends on when one looks."""
    return {key: value for key, value in incident.items() if key != "ongoing"}
