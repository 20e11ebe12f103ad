# SPDX-License-Identifier: Apache-2.0
"""A real hub and a real broker whose queues make new text of every message, and real clients.

No frame names anybody and no object gets through: what joins a frame to its call is what it says.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from websockets.asyncio.client import connect

from tests.transports.stage import Got, assert_counted, assert_reviewed, serve
from ws_audit.tools.demo_stage import HOST

if TYPE_CHECKING:
    from pathlib import Path

    from tests.real.world import Service

USERS = ("alice", "bob")
EACH = 12


def drive(service: Service, way: str) -> list[Got]:
    """Two clients; every message is told to one of them, by a text that nobody else was told."""
    whose: dict[str, str] = {}

    async def socket(user: str) -> list[dict[str, Any]]:
        url = f"ws://{HOST}:{service.port}/ws"
        told = {"Authorization": f"Bearer {user}"}
        async with connect(url, additional_headers=told, proxy=None) as client:
            return [json.loads(frame)["data"] async for frame in client]

    async def stream(user: str, client: httpx.AsyncClient) -> list[dict[str, Any]]:
        told = {"Authorization": f"Bearer {user}"}
        async with client.stream("GET", "/stream", headers=told) as answer:
            lines = [line async for line in answer.aiter_lines()]
        data = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
        return [json.loads(text)["payload"] for text in data]

    async def main() -> list[Got]:
        base = f"http://{HOST}:{service.port}"
        async with httpx.AsyncClient(base_url=base, timeout=20, trust_env=False) as client:
            readers = {
                user: asyncio.create_task(socket(user) if way == "hub" else stream(user, client))
                for user in USERS
            }
            while (await client.get("/there")).json() < len(USERS):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            for _ in range(EACH):
                for user in USERS:
                    text = f"your code is {uuid.uuid4()}"
                    whose[text] = user
                    await client.post(f"/{way}/{user}", params={"text": text})
            await client.post("/end")
            got = {user: await reader for user, reader in readers.items()}
        return [
            Got(user, whose[body["text"]], "told")
            for user, bodies in got.items()
            for body in bodies
        ]

    return asyncio.run(main())


@pytest.mark.parametrize("way", ["hub", "channel"])
def test_what_goes_astray_behind_a_queue_is_found(tmp_path: Path, way: str) -> None:
    with serve(tmp_path, "queues:app", DEFECT="astray") as service:
        got = drive(service, way)
        assert len(got) == EACH * len(USERS)
        assert 0 < sum(one.owner != one.recipient for one in got) < EACH
        assert_counted(service, "asgi" if way == "hub" else "sse", got)
        # Those that went where they should are known to be right.
        page = service.metrics()
        right = sum(one.owner == one.recipient for one in got)
        assert page.by("ws_audit_verdicts_total", "verdict")["match"] == right
        incident = assert_reviewed(service, got, "argument_vs_connection")
    assert incident["sites"][0].startswith(f"queues:to_{way}:")
    assert len(incident["pairs"]) == 1
