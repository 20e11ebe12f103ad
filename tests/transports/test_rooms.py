# SPDX-License-Identifier: Apache-2.0
"""python-socketio on a real server, with its own clients over both transports."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import socketio

from tests.transports.stage import Got, assert_counted, assert_reviewed, serve
from ws_audit.tools.demo_stage import HOST

if TYPE_CHECKING:
    from pathlib import Path

    from tests.real.world import Service

USERS = ("alice", "bob", "carol")
TRANSPORTS = (["websocket"], ["polling"], ["polling", "websocket"])
Seen = list[tuple[str, str, Any]]  # user, event, arguments


class Client:
    """One user's client, and every event it is given."""

    def __init__(self, user: str, seen: Seen) -> None:
        self.user = user
        self.io = socketio.AsyncClient(reconnection=False)
        self.ended = asyncio.Event()
        self.io.on("disconnect", lambda *_: self.ended.set())
        for namespace in ("/", "/work"):

            async def take(event: str, *arguments: Any) -> str:
                if event not in ("connect", "disconnect"):
                    seen.append((user, event, arguments))
                return "of " + user

            self.io.on("*", take, namespace=namespace)

    async def begin(self, service: Service, transports: list[str]) -> None:
        await self.io.connect(
            f"http://{HOST}:{service.port}",
            auth={"token": f"token-of-{self.user}"},
            transports=transports,
            namespaces=["/", "/work"],
        )

    async def end(self) -> None:
        """Leave: the server closes, or a poll that is under way would wait for the next ping."""
        await self.io.emit("bye")
        await asyncio.wait_for(self.ended.wait(), 10)


def drive(service: Service, transports: list[str]) -> Seen:
    seen: Seen = []

    async def main() -> None:
        clients = [Client(user, seen) for user in USERS]
        for client in clients:
            await client.begin(service, transports)
        for number in range(3):
            for client in clients:
                assert await client.io.call("ask", f"question {number}", timeout=10) == "done"
            await clients[1].io.emit("shout", "hello")
            await clients[2].io.call("poll", timeout=10)
            for client in clients:
                await client.io.call("job", client.user, namespace="/work", timeout=10)
        if "websocket" in transports:
            refused = socketio.AsyncClient(reconnection=False)
            with pytest.raises(socketio.exceptions.ConnectionError):
                await refused.connect(f"http://{HOST}:{service.port}", transports=transports)
        await asyncio.sleep(0.3)  # what is under way arrives
        await asyncio.gather(*(client.end() for client in clients))

    asyncio.run(main())
    return seen


def owned(seen: Seen, victim: str = "") -> list[Got]:
    """Whose each message is: named in it, or `victim`'s if it says that somebody thinks."""
    found = []
    for user, event, arguments in seen:
        fields = next((one for one in arguments if isinstance(one, dict)), {})
        owner = fields.get("user_id", user)
        if victim and event == "agent_thinking":
            owner = victim
        found.append(Got(user, owner, event))
    return found


@pytest.mark.parametrize("transports", TRANSPORTS, ids="+".join)
def test_a_leak_is_found_as_the_clients_saw_it(tmp_path: Path, transports: list[str]) -> None:
    with serve(tmp_path, "rooms:app", DEFECT="payload") as service:
        seen = drive(service, transports)
        got = owned(seen)
        assert sum(one.owner != one.recipient for one in got) == 3
        assert_counted(service, "socketio", got)
        page = service.metrics()
        incident = assert_reviewed(service, got, "payload_vs_connection")
    assert incident["sites"][0].startswith("rooms:ask:")
    assert incident["severity"] == "probable"
    assert incident["managers"] == ["socketio.async_server:AsyncServer"]
    # Rooms and broadcasts are told apart from what is sent to one client.
    times = Counter(event for _, event, _ in seen)
    assert page.by("ws_audit_unattributed_total", "reason") == {
        # To the lobby without its author, to everybody, and to the desk.
        "undeclared_broadcast": 6 + times["notification"] + 27,
        "no_evidence": times["answer"],
    }


def test_whoever_is_in_a_users_room_and_is_not_that_user(tmp_path: Path) -> None:
    """The messages name nobody: the room they are sent to says whose they are."""
    with serve(tmp_path, "rooms:app", DEFECT="room") as service:
        seen = drive(service, ["websocket"])
        extra = [one for one in seen if one[1] == "agent_thinking" and one[0] != "alice"]
        assert len(extra) == 3 + 3 + 3  # bob's own ones reach him, too
        got = [Got(user, user, event) for user, event, _ in seen]
        page = service.metrics()
        assert page.balanced() == len(got)
        assert page.by("ws_audit_violations_total", "rule") == {"argument_vs_connection": 6}
        service.stop()
        (incident,) = service.review()["incidents"]
    assert [pair["events"] for pair in incident["pairs"]] == [3, 3]
    assert len({pair["owner"] for pair in incident["pairs"]}) == 1


def test_a_job_that_one_was_told_of_and_everybody_hears_the_end_of(tmp_path: Path) -> None:
    """Nothing names a user: a number, first sent to one client, is what there is."""

    async def main(service: Service) -> None:
        seen: Seen = []
        clients = [Client(user, seen) for user in ("alice", "bob")]
        for client in clients:
            await client.begin(service, ["websocket"])
        for client in clients:
            await client.io.call("export", 7 if client.user == "alice" else 8, timeout=10)
        await asyncio.gather(*(client.end() for client in clients))
        assert sum("job_id" in arguments[0] for _, _, arguments in seen) == 6

    config = '[payload]\nresources = ["job_id"]\n'
    with serve(tmp_path, "rooms:app", config=config) as service:
        asyncio.run(main(service))
        service.stop()
        (incident,) = service.review()["incidents"]
    assert (incident["rule"], incident["severity"]) == ("resource_vs_connection", "suspected")
    assert incident["sites"][0].startswith("rooms:export:")
    pairs = [(pair["recipient"], pair["owner"]) for pair in incident["pairs"]]
    assert sorted(pairs) == sorted(pair[::-1] for pair in pairs)
    assert [pair["events"] for pair in incident["pairs"]] == [1, 1]


MEMBERS = """
[[policy]]
kind = "room"
membership = "socketio"
reason = "everybody in the lobby"
"""


def test_a_room_policy_is_answered_by_the_framework(tmp_path: Path) -> None:
    with serve(tmp_path, "rooms:app", config=MEMBERS) as service:
        got = owned(drive(service, ["websocket"]))
        assert_counted(service, "socketio", got)
        page = service.metrics()
    # The lobby and the desk are rooms; to everybody is none.
    assert page.by("ws_audit_excused_total", "policy") == {"room": 6 + 27}
    assert page.by("ws_audit_unattributed_total", "reason")["undeclared_broadcast"] == 9


def test_in_mode_block_no_client_sees_what_is_not_theirs(tmp_path: Path) -> None:
    with serve(tmp_path, "rooms:app", DEFECT="payload", WS_AUDIT_MODE="block") as service:
        got = owned(drive(service, ["websocket"]))
        assert [one for one in got if one.owner != one.recipient] == []
        page = service.metrics()
        assert page.by("ws_audit_violations_total", "rule") == {"payload_vs_connection": 3}
        assert page.by("ws_audit_events_sent_total", "outcome")["refused"] == 3
        assert page.balanced() == len(got) + 3
        # The framework sends in tasks of its own: the emit does not raise.
        assert "exception was never retrieved" in service.said()


def test_a_session_that_changes_hands_is_told(tmp_path: Path) -> None:
    async def main(service: Service) -> None:
        client = Client("alice", [])
        await client.begin(service, ["websocket"])
        await client.io.call("become", "alice", timeout=10)
        await client.io.call("become", "mallory", timeout=10)
        await client.end()

    with serve(tmp_path, "rooms:app") as service:
        asyncio.run(main(service))
        assert service.metrics().by("ws_audit_violations_total", "rule") == {
            "rebound_connection": 1
        }


def test_the_clients_notice_nothing(tmp_path: Path) -> None:
    seen = []
    for audited in (True, False):
        with serve(tmp_path, "rooms:app", audited=audited) as service:
            seen.append(sorted(map(repr, drive(service, ["polling"]))))
            assert "Traceback" not in service.said()
    assert seen[0] == seen[1]
