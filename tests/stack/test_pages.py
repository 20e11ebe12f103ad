# SPDX-License-Identifier: Apache-2.0
"""From one frame on the wrong connection to the pager: by metrics, by push, and after a SIGKILL.

Prometheus scrapes every 5 s and the leak rules are looked at every 15 s, as committed.
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from examples.stack import parts
from tests.real.world import SECOND, eventually, review, surroundings
from tests.stack.scene import MISSING_FOR, USERS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.stack.scene import Scene

# The goals are 30 s and 5 s; the machine may be busy with other things.
BY_METRICS, BY_PUSH = 60.0, 15.0


def summary(played: Scene, job: str) -> dict[str, Any]:
    """What the clients of a job say at their end."""
    lines = played.jobs[job].said
    found: dict[str, Any] = eventually(
        "the clients' account", 5, lambda: next((each for each in lines if "frames" in each), None)
    )
    return found


def incidents(store: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(review(store, "json"))["incidents"]
    return found


def test_one_frame_reaches_the_pager(played: Scene, tell: Callable[[str], None]) -> None:
    frame = played.frames["leaky"]
    page = played.pager.page("leaky", "WsAuditLeakConfirmed")
    assert page is not None
    (pushed_ns, pushed) = played.pager.pushed["leaky"][0]

    metrics, push = (page.ns - frame["ns"]) / SECOND, (pushed_ns - frame["ns"]) / SECOND
    fired = (page.fired_ns - frame["ns"]) / SECOND
    tell(f"by metrics: {metrics:.2f} s (the rule fired after {fired:.2f} s)")
    tell(f"by the agent's own webhook: {push * 1000:+.1f} ms")
    assert metrics < BY_METRICS
    assert push < BY_PUSH

    # One frame among many, and all three say so: the clients, the metrics, the review.
    seen = summary(played, "leaky")
    assert seen["foreign"] == 1
    assert seen["frames"] > 50 * USERS
    assert played.prometheus.value('sum(ws_audit_violations_total{job="leaky"})') == 1
    (incident,) = incidents(played.jobs["leaky"].store)
    assert incident["events"] == 1
    assert incident["severity"] == "confirmed"
    assert incident["id"] == pushed["id"]
    assert page.labels["rule"] == incident["rule"]
    assert page.labels["severity"] == "page"
    assert page.receiver == "ws-audit-page"
    assert [body["id"] for _, body in played.pager.pushed["leaky"]] == [incident["id"]]


def test_a_killed_worker_is_heard(played: Scene, tell: Callable[[str], None]) -> None:
    # No scrape has seen it, and no webhook was there to take it.
    assert played.scraped == 0
    # The line was out before the client had its frame.
    (alarm,) = played.alarms
    assert alarm["severity"] == "CRITICAL"
    assert alarm["incident"]["events"] == 1

    # The next start has pushed it.
    came, pushed = eventually("the webhook", 10, lambda: played.pager.pushed.get("killed"))[0]
    assert pushed["id"] == alarm["incident"]["id"]
    assert came > played.restarted_ns
    (incident,) = incidents(played.jobs["killed"].store)
    assert (incident["id"], incident["events"]) == (pushed["id"], 1)
    assert summary(played, "killed")["foreign"] == 1
    after = (came - played.restarted_ns) / SECOND
    tell(f"killed at the frame, by the next start's webhook: {after:.2f} s after its start")

    # And by metrics, although the counters of the new process have never moved.
    page = played.pager.page("killed", "WsAuditLeakConfirmed")
    assert page is not None
    took = (page.ns - played.frames["killed"]["ns"]) / SECOND
    tell(f"killed at the frame, by metrics: {took:.2f} s, the restart among them")
    assert took < BY_METRICS
    assert page.receiver == "ws-audit-page"


def test_an_incident_is_open_until_a_person_has_dealt_with_it(played: Scene) -> None:
    """Also over the SIGKILL. Nobody is told twice while the leak itself is being told."""
    server, names = played.prometheus, ("leaky", "killed")
    gauge = 'ws_audit_open_incidents{job="%s"}'
    fires = 'ALERTS{alertname="WsAuditIncidentOpen",job="%s",alertstate="firing"}'
    for name in names:
        assert server.value(gauge % name) == 1
        eventually("it fires", 20, lambda name=name: server.query(fires % name))
        # Alertmanager has it, and holds it back behind the leak's page.
        look = functools.partial(routed, played, "WsAuditIncidentOpen", name)
        (held,) = eventually("it is routed", 10, look)
        (leak,) = routed(played, "WsAuditLeakConfirmed", name)
        assert held["status"]["inhibitedBy"] == [leak["fingerprint"]]
        assert played.pager.page(name, "WsAuditIncidentOpen") is None
    assert server.value(gauge % "clean") == 0

    for name in names:
        store = played.jobs[name].store
        (incident,) = incidents(store)
        acknowledge(store, incident["id"])
    closed = 'ws_audit_open_incidents{job=~"leaky|killed"} == 0'
    eventually("they are closed", 15, lambda: len(server.query(closed)) == len(names))


def routed(played: Scene, alert: str, job: str) -> list[dict[str, Any]]:
    """What Alertmanager holds of it, told or not."""
    found = json.loads(parts.ask(f"http://{parts.HOST}:{played.alertmanager}/api/v2/alerts"))
    wanted = {"alertname": alert, "job": job}.items()
    return [each for each in found if wanted <= each["labels"].items()]


def acknowledge(store: Path, incident: str) -> None:
    command = [sys.executable, "-m", "ws_audit", "review", "ack", incident]
    command += ["--source", str(store), "--by", "a test", "--note", "seeded by the test itself"]
    subprocess.run(command, env=surroundings(), check=True, timeout=30)


def test_a_deployment_without_the_agent_is_missed(
    played: Scene, tell: Callable[[str], None]
) -> None:
    page = played.pager.page("gone", "WsAuditAgentMissing")
    assert page is not None
    assert page.receiver == "ws-audit-page"
    assert page.labels["instance"].endswith(f":{played.jobs['gone'].port}")
    # The target answers, its users chat on: it is the agent that is not there.
    assert played.prometheus.value('up{job="gone"}') == 1
    assert played.prometheus.value('count(python_info{job="gone"})') == 1
    assert played.prometheus.query('ws_audit_build_info{job="gone"}') == []
    assert played.pager.told("gone") == {"WsAuditAgentMissing"}
    tell(f"agent missing, with `for: {MISSING_FOR}` in place of 5m: told")


def test_a_clean_service_under_the_same_load_is_left_alone(played: Scene) -> None:
    seen = summary(played, "clean")
    assert seen["foreign"] == 0
    assert seen["frames"] > 50 * USERS
    assert played.prometheus.value('sum(ws_audit_frames_total{job="clean"})') > 50 * USERS
    # At no time did one fire. That the question can be answered the others show; Prometheus does
    # not write down what fires at a rule's very first evaluation.
    alerts = 'count_over_time(ALERTS{job="%s",alertstate="firing"}[10m])'
    ask = played.prometheus.query
    eventually("it is written down", 20, lambda: ask(alerts % "leaky"))
    assert [each["metric"] for each in ask(alerts % "clean")] == []
    assert played.pager.told("clean") == set()
    assert "clean" not in played.pager.pushed
    assert played.jobs["clean"].alarms() == []
