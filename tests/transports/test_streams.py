# SPDX-License-Identifier: Apache-2.0
"""Server-sent events on a real server, read by real clients."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.transports.stage import Got, assert_counted, assert_reviewed, serve
from ws_audit.tools.demo_stage import HOST

if TYPE_CHECKING:
    from pathlib import Path

    from tests.real.world import Service

USERS = ("alice", "bob", "carol")
KINDS = ("agent_started", "agent_thinking", "agent_completed")


async def read(client: httpx.AsyncClient, user: str, path: str) -> tuple[bytes, list[Got]]:
    """The whole stream of one user: the bytes, and the events as a client takes them."""
    raw = b""
    async with client.stream(
        "GET", path.format(user), headers={"Authorization": f"Bearer {user}"}
    ) as answer:
        assert answer.status_code == 200
        async for chunk in answer.aiter_raw():
            raw += chunk
    got = []
    for block in raw.replace(b"\r\n", b"\n").split(b"\n\n"):
        fields = dict(line.partition(b": ")[::2] for line in block.split(b"\n") if line[:1] != b":")
        if b"data" in fields:
            data = json.loads(fields[b"data"])
            owner = data.get("user_id") or data["text"].removeprefix("for ")
            got.append(Got(user, owner, fields[b"event"].decode()))
    return raw, got


def drive(
    service: Service, path: str, tell: str = "/tell/{}/{}"
) -> tuple[dict[str, bytes], list[Got]]:
    async def main() -> tuple[dict[str, bytes], list[Got]]:
        base = f"http://{HOST}:{service.port}"
        async with httpx.AsyncClient(base_url=base, timeout=20, trust_env=False) as client:
            readers = {user: asyncio.create_task(read(client, user, path)) for user in USERS}
            await client.get("/everybody", params={"number": len(USERS)})
            for _ in range(5):
                for user in USERS:
                    for kind in KINDS:
                        await client.post(tell.format(user, kind))
            await client.post("/end")
            done = {user: await reader for user, reader in readers.items()}
        return {user: raw for user, (raw, _) in done.items()}, [
            one for _, got in done.values() for one in got
        ]

    return asyncio.run(main())


@pytest.mark.parametrize("path", ["/stream", "/events/{}"])
def test_a_leak_is_found_as_the_clients_saw_it(tmp_path: Path, path: str) -> None:
    with serve(tmp_path, "streams:app", DEFECT="copy") as service:
        _, got = drive(service, path)
        assert len(got) == 5 * (9 + 2)
        assert_counted(service, "sse", got)
        assert_reviewed(service, got, "payload_vs_connection")


def test_a_queued_event_that_names_nobody_is_its_callers(tmp_path: Path) -> None:
    """The object that comes out of the queue says for whom it was put in."""
    with serve(tmp_path, "streams:app", DEFECT="queue") as service:
        _, got = drive(service, "/feed/{}", "/feed/{}/{}")
        assert len(got) == 5 * (9 + 2 * 3)
        assert_counted(service, "sse", got)
        incident = assert_reviewed(service, got, "argument_vs_connection")
    assert incident["sites"][0].startswith("streams:into_feed:")
    assert incident["managers"] == ["streams:StreamHub"]


def test_clean_streams_are_all_judged_and_the_same_bytes_as_without_the_agent(
    tmp_path: Path,
) -> None:
    streams = []
    for audited in (True, False):
        with serve(tmp_path, "streams:app", audited=audited) as service:
            raw, got = drive(service, "/stream")
            streams.append(raw)
            if audited:
                assert_counted(service, "sse", got)
                page = service.metrics()
                assert page.by("ws_audit_verdicts_total", "verdict") == {"match": 45}
    assert streams[0] == streams[1]
