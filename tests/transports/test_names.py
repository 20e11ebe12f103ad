# SPDX-License-Identifier: Apache-2.0
"""People of whom only a name is known: python-socketio on a real server, two real clients."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from tests.transports.stage import serve
from tests.transports.test_rooms import Client, Seen
from ws_audit.tools.demo_stage import HOST

if TYPE_CHECKING:
    from pathlib import Path

    from tests.real.world import Service

OWNERS = 'payload.owner = ["owner", "notes[].owner"]\n'
ASKED = ("room", "to", "sid", "list", "told", "chat", "sold")  # what each question is answered by
# Of each client's seven messages five are theirs; what is one's own words, and what belongs to
# nobody that is known, stays unjudged.
RIGHT = {"match": 10, "no_evidence": 2, "incomparable": 2}
# What is done wrong, the events bob gets for it, and what is said of them.
WRONG = {
    "": ([], {}),
    "owner": (["list"], {"payload_vs_connection": 1, "probable": 1}),
    # The room is his, and so is he: what he is sent says that it is Alice's.
    "room": (["to"], {"payload_vs_connection": 1, "probable": 1}),
    # He sits in her room, and gets both messages that go there; one names her as well.
    "seat": (["room", "to"], {"argument_vs_connection": 2, "probable": 1, "confirmed": 1}),
}


def counted(service: Service) -> Counter[str]:
    page = service.metrics()
    assert page.troubles() == {"dropped": {}, "errors": {}}
    found: Counter[str] = Counter({"frames": page.balanced()})
    found["match"] = page.by("ws_audit_verdicts_total", "verdict").get("match", 0)
    found.update(page.by("ws_audit_unattributed_total", "reason"))
    for label in ("rule", "severity"):
        found.update(page.by("ws_audit_violations_total", label))
    return found


async def drive(service: Service) -> None:
    """All that is right, then one thing after the other that is wrong."""
    seen: Seen = []
    alice, bob = Client("alice", seen), Client("bob", seen)
    for client in (alice, bob):
        await client.io.connect(
            f"http://{HOST}:{service.port}",
            auth={"token": f"token-of-{client.user}"},
            transports=["websocket"],
            namespaces=["/"],
        )
    for what, (events, told) in WRONG.items():
        before = counted(service)
        seen.clear()
        assert await alice.io.call("do", what, timeout=10) == "done"
        for client in (alice, bob):
            assert await client.io.call("ask", "a question", timeout=10) == "done"
        await asyncio.sleep(0.1)
        got = Counter((user, event) for user, event, _ in seen)
        assert got == Counter(
            [(user, one) for user in ("alice", "bob") for one in ASKED]
        ) + Counter(("bob", event) for event in events)
        frames = {"frames": 2 * len(ASKED) + len(events)}
        assert counted(service) - before == Counter(RIGHT | told | frames), what
    await asyncio.gather(alice.end(), bob.end())


def test_each_wrong_emit_is_found_and_the_right_ones_match(tmp_path: Path) -> None:
    with serve(tmp_path, "nicknames:app", config=OWNERS) as service:
        asyncio.run(drive(service))
        service.stop()
        incidents = service.review()["incidents"]
    pairs = [pair for incident in incidents for pair in incident["pairs"]]
    assert sum(pair["events"] for pair in pairs) == 4
    assert len({(pair["recipient"], pair["owner"]) for pair in pairs}) == 1
    assert {incident["sites"][0].rpartition(":")[0] for incident in incidents} == {"nicknames:ask"}
