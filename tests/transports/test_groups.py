# SPDX-License-Identifier: Apache-2.0
"""Django Channels on real servers: consumers' users, and groups through the in-memory layer."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.transports.stage import Got, assert_counted, assert_reviewed, serve
from ws_audit.tools.demo_stage import HOST

if TYPE_CHECKING:
    from pathlib import Path

    from tests.real.world import Service

USERS = {"alice": "1", "bob": "2", "carol": "3"}
ROUNDS = 2
WAYS = [("uvicorn", "chat"), ("daphne", "threaded")]
Seen = list[tuple[str, dict[str, Any]]]


def take(client: ClientConnection, user: str, seen: Seen, until: str) -> dict[str, Any]:
    while True:
        message: dict[str, Any] = json.loads(client.recv(timeout=10))
        seen.append((user, message))
        if message["type"] == until:
            return message


def drive(service: Service, way: str) -> Seen:
    """Each user speaks in turn; everybody takes what comes of it, to the lobby's message."""
    seen: Seen = []
    channels = {"bob": ""}
    with ExitStack() as stack:
        clients = {
            user: stack.enter_context(
                connect(
                    f"ws://{HOST}:{service.port}/{way}",
                    additional_headers={"Authorization": user},
                    proxy=None,
                )
            )
            for user in USERS
        }
        for _ in range(ROUNDS):
            for user in ("bob", "carol", "alice"):
                clients[user].send(json.dumps({"bobs": channels["bob"]}))
                channels[user] = take(clients[user], user, seen, "done")["channel"]
                for other, client in clients.items():
                    take(client, other, seen, "joined")
    return seen


def owned(seen: Seen) -> list[Got]:
    return [
        Got(USERS[user], str(message.get("user_id", USERS[user])), message["type"])
        for user, message in seen
    ]


@pytest.mark.parametrize(("server", "way"), WAYS)
def test_a_leak_is_found_as_the_clients_saw_it(tmp_path: Path, server: str, way: str) -> None:
    with serve(tmp_path, "groups:app", server=server, DEFECT="payload") as service:
        seen = drive(service, way)
        got = owned(seen)
        assert sum(one.owner != one.recipient for one in got) == ROUNDS
        assert_counted(service, "asgi", got)
        page = service.metrics()
        assert_reviewed(service, got, "payload_vs_connection")
    # What went to the lobby was for many; what went to somebody's own group is theirs.
    times = Counter(message["type"] for _, message in seen)
    assert times["joined"] == ROUNDS * 9
    assert page.by("ws_audit_unattributed_total", "reason") == {
        "undeclared_broadcast": times["joined"],
        "no_evidence": times["done"],
    }
    assert page.by("ws_audit_events_sent_total", "outcome").keys() == {"ok"}


def test_whoever_is_in_a_users_group_and_is_not_that_user(tmp_path: Path) -> None:
    """The messages name nobody: the group they are sent to says whose they are."""
    with serve(tmp_path, "groups:app", DEFECT="group") as service:
        seen = drive(service, "chat")
        page = service.metrics()
        assert page.balanced() == len(seen)
        wrong = [user for user, message in seen if message["type"] == "ping" and user != "alice"]
        # Of what reaches bob and carol, their own is not alice's.
        assert len(wrong) == ROUNDS * 4
        assert page.by("ws_audit_violations_total", "rule") == {
            "argument_vs_connection": ROUNDS * 2
        }
        service.stop()
        (incident,) = service.review()["incidents"]
    assert [pair["events"] for pair in incident["pairs"]] == [ROUNDS, ROUNDS]
    assert incident["severity"] == "probable"
    assert len({pair["owner"] for pair in incident["pairs"]}) == 1


MEMBERS = """
[[policy]]
kind = "room"
membership = "channels"
reason = "everybody in the lobby"
"""


def test_a_room_policy_is_answered_by_the_layer(tmp_path: Path) -> None:
    with serve(tmp_path, "groups:app", config=MEMBERS) as service:
        seen = drive(service, "chat")
        assert_counted(service, "asgi", owned(seen))
        page = service.metrics()
    assert page.by("ws_audit_excused_total", "policy") == {"room": ROUNDS * 9}


def test_the_clients_notice_nothing(tmp_path: Path) -> None:
    seen = []
    for audited in (True, False):
        with serve(tmp_path, "groups:app", audited=audited) as service:
            texts = drive(service, "chat")
            for _, message in texts:
                message.pop("channel", None)
            seen.append(sorted(map(repr, texts)))
            assert "Traceback" not in service.said()
    assert seen[0] == seen[1]
