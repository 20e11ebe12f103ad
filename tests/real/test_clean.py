# SPDX-License-Identifier: Apache-2.0
"""Without a defect: every frame judged and matching, nothing claimed, everything back at rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.real.world import at_rest, claimed, drive, leaks, serve
from ws_audit.tools.demo_cast import Cast

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.real.conftest import Run

RUNS, USERS = 5, 10
SENT_PER_RUN = 5  # the five events of a run; welcome and usage come from no manager


@pytest.fixture
def clean(run_of: Callable[[str], Run]) -> Run:
    return run_of("")


def test_nothing_is_claimed(clean: Run) -> None:
    assert clean.received.result["errors"] == []
    assert clean.received.result["runs_complete"] == RUNS * USERS
    assert clean.received.leaked == []
    assert leaks(clean.review) == []
    assert clean.review["problems"] == []
    assert clean.service.alarms() == []
    assert clean.metrics.total("ws_audit_violations_total") == 0


def test_every_frame_was_judged(clean: Run) -> None:
    frames = clean.received.result["frames"]

    assert clean.metrics.balanced() == frames
    assert clean.metrics.by("ws_audit_frames_total", "judged") == {"true": frames}
    assert clean.metrics.by("ws_audit_verdicts_total", "verdict") == {"match": frames}
    assert clean.metrics.troubles() == {"dropped": {}, "errors": {}}
    assert clean.review["coverage"] == {
        "frames": frames,
        "judged": frames,
        "unattributed": 0,
        "excused": 0,
        "dropped": 0,
    }


def test_events_sent_are_the_events_of_the_runs(clean: Run) -> None:
    per_event = clean.metrics.by("ws_audit_events_sent_total", "event", outcome="ok")

    assert clean.metrics.by("ws_audit_events_sent_total", "outcome") == {
        "ok": SENT_PER_RUN * RUNS * USERS
    }
    assert per_event == dict.fromkeys(
        ("agent_started", "agent_thinking", "tool_executing", "tool_completed", "agent_completed"),
        RUNS * USERS,
    )
    # What goes through a queue is an event of whoever put it in, and is timed there.
    assert clean.metrics.by("ws_audit_events_sent_total", "manager") == {
        "agent_chat.emitter:AgentEventEmitter": 4 * RUNS * USERS,
        "agent_chat.outbox:OutboxRegistry": RUNS * USERS,
    }
    assert (
        clean.metrics.total("ws_audit_send_duration_seconds_count") == SENT_PER_RUN * RUNS * USERS
    )


def test_instances_and_connections_come_and_go(clean: Run) -> None:
    connections = USERS + len(range(0, USERS, 3))  # every third user reconnects once
    created = clean.metrics.by("ws_audit_instances_created_total", "manager")
    alive = clean.metrics.by("ws_audit_instances_alive", "manager")

    assert created == {
        "agent_chat.connections:ConnectionManager": 1,
        # One per user and agent; whoever comes back gets new ones.
        "agent_chat.emitter:AgentEventEmitter": 2 * connections,
        "agent_chat.outbox:Outbox": connections,
        "agent_chat.outbox:OutboxRegistry": 1,
    }
    assert clean.metrics.total("ws_audit_connections_alive") == 0
    assert alive == {
        "agent_chat.connections:ConnectionManager": 1,
        "agent_chat.outbox:OutboxRegistry": 1,
    }


def test_two_hundred_connections_at_once(tmp_path: Path) -> None:
    users, runs = 200, 2
    with serve(tmp_path, Cast.of(users)) as service:
        received = drive(service, runs=runs, patience=20)
        page = at_rest(service)
        service.stop()
        review = service.review()

    assert received.result["errors"] == []
    assert received.result["runs_complete"] == users * runs
    frames = received.result["frames"]
    assert frames == users * (runs * 6 + 1) + len(range(0, users, 3))
    assert page.balanced() == frames
    assert page.by("ws_audit_verdicts_total", "verdict") == {"match": frames}
    assert page.by("ws_audit_events_sent_total", "outcome") == {"ok": users * runs * SENT_PER_RUN}
    assert page.troubles() == {"dropped": {}, "errors": {}}
    assert claimed(review) == {}
    assert review["coverage"]["judged"] == frames
