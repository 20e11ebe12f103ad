# SPDX-License-Identifier: Apache-2.0
"""People with documents, the billing service, and a proxy in front of them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from benchmarks.leaks.actors import Connection, Stage
    from benchmarks.leaks.people import Person

LONG = "All work and no play makes a long document. " * 40000


def kind(name: str) -> Any:
    return lambda message: message["kind"] == name


def bearer(person: Person) -> dict[str, str]:
    return {"Authorization": f"Bearer {person.token}"}


@contextlib.asynccontextmanager
async def live(stage: Stage, person: Person, **options: Any) -> AsyncIterator[Connection]:
    async with stage.websocket(person, f"/live?token={person.token}", **options) as connection:
        await connection.until(lambda one: person.uuid in one["online"])
        yield connection


def feed(stage: Stage, person: Person) -> AbstractAsyncContextManager[Connection]:
    return stage.events(person, "/events", headers=bearer(person))


async def hook(stage: Stage, person: Person, event: str, text: str) -> None:
    body = {"customer": person.uuid, "event": event, "text": text}
    headers = {"X-Hook-Key": "billing-to-briefcase"}
    await stage.request("POST", "/hooks/billing", json=body, headers=headers)


def proxy(stage: Stage) -> httpx.AsyncClient:
    """All requests over one kept connection, as a reverse proxy sends them."""
    return httpx.AsyncClient(
        base_url=stage.http, trust_env=False, limits=httpx.Limits(max_connections=1)
    )


async def left_inbox(stage: Stage) -> None:
    """Somebody leaves; there is news for them while others are there."""
    async with live(stage, stage.carol) as carol:
        async with live(stage, stage.alice) as alice:
            await hook(stage, stage.alice, "invoice.created", f"1.00 for {stage.alice.secret}")
            await alice.until(kind("news"))
        await carol.until(
            lambda one: stage.carol.uuid in one["online"] and stage.alice.uuid not in one["online"],
            2,
        )
        async with live(stage, stage.bob) as bob:
            await pings(bob)
            await hook(stage, stage.alice, "invoice.paid", f"2.00 for {stage.alice.secret}")
            await hook(stage, stage.bob, "invoice.paid", f"3.00 for {stage.bob.secret}")
            await bob.until(lambda one: "3.00" in one["text"])


async def pings(connection: Connection, count: int = 3) -> None:
    """The server has certainly come to whatever was asked of it before."""
    before = len([one for one in connection.messages if "pong" in one])
    for number in range(1, count + 1):
        await connection.send({"do": "ping"})
        await connection.until(kind("pong"), before + number)


async def stopped_history(stage: Stage) -> None:
    """While the store holds writes, somebody stops loading and somebody else starts."""
    async with (
        live(stage, stage.alice) as alice,
        live(stage, stage.bob) as bob,
        live(stage, stage.heidi) as admin,
    ):
        for person, connection in ((stage.alice, alice), (stage.bob, bob)):
            await connection.send({"do": "note", "text": f"looked at {person.secret}"})
            await connection.until(kind("noted"))
            await connection.send({"do": "history"})
            await connection.until(kind("history"))
        await admin.send({"do": "switch", "phase": "begin"})
        await admin.until(lambda one: one["phase"] == "begin")
        await alice.send({"do": "history"})
        await alice.until(kind("loading"), 2)
        await pings(alice)
        await alice.send({"do": "stop"})
        await alice.until(kind("stopped"))
        await bob.send({"do": "history"})
        await bob.until(kind("loading"), 2)
        await pings(bob)
        await admin.send({"do": "switch", "phase": "end"})
        await admin.until(lambda one: one["phase"] == "end")
        await bob.until(kind("history"), 2)


async def behind_a_proxy(stage: Stage) -> None:
    """One person uploads, the next one asks, over the same connection of the proxy."""
    async with feed(stage, stage.alice) as alice, feed(stage, stage.bob) as bob:
        await alice.until(kind("open"))
        await bob.until(kind("open"))
        async with proxy(stage) as through:
            text = f"when does {stage.alice.secret} end?"
            await through.post("/questions", json={"text": text}, headers=bearer(stage.alice))
            await alice.until(kind("answer"))
            uploaded = await through.post(
                "/documents", content=LONG.encode(), headers=bearer(stage.alice)
            )
            uploaded.raise_for_status()
            text = f"what of {stage.bob.secret}?"
            asked = await through.post("/questions", json={"text": text}, headers=bearer(stage.bob))
            asked.raise_for_status()


async def upgraded_connection(stage: Stage) -> None:
    """A proxy uses the connection of somebody's upload for somebody else's WebSocket."""
    async with feed(stage, stage.alice) as alice:
        await alice.until(kind("open"))
        address = urlsplit(stage.http)
        kept = await asyncio.to_thread(
            socket.create_connection, (address.hostname or "", address.port or 0)
        )
        await asyncio.to_thread(_upload, kept, stage.alice)
        path = f"/live?token={stage.bob.token}"
        kept.setblocking(False)
        async with stage.websocket(stage.bob, path, sock=kept) as bob:
            await bob.until(kind("presence"))
            for person in (stage.alice, stage.bob):
                text = f"where is {person.secret}?"
                await stage.request(
                    "POST", "/questions", json={"text": text}, headers=bearer(person)
                )
            await alice.until(kind("answer"))


def _upload(kept: socket.socket, person: Person) -> None:
    body = LONG.encode()
    head = (
        "POST /documents HTTP/1.1\r\nHost: briefcase\r\nConnection: keep-alive\r\n"
        f"Authorization: Bearer {person.token}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    kept.sendall(head.encode() + body)
    answer = b""
    while b"}" not in answer:
        answer += kept.recv(65536)
    if b" 200 " not in answer:
        raise RuntimeError(answer)


async def billing(stage: Stage) -> None:
    """The billing service has news for several customers, in any order."""
    async with (
        live(stage, stage.alice) as alice,
        live(stage, stage.bob) as bob,
        live(stage, stage.alice) as phone,
    ):
        for number in range(4):
            for person in (stage.alice, stage.bob):
                await hook(stage, person, "invoice.paid", f"{number}.00 for {person.secret}")
        await bob.until(kind("news"), 4)
        while len([one for one in alice.messages + phone.messages if '"news"' in one]) < 4:
            await stage.quiet(0.05)


async def spellings(stage: Stage) -> None:
    """Documents of the old system know their owner by number, or by a uuid in capitals."""
    async with live(stage, stage.alice) as alice, live(stage, stage.bob) as bob:
        for person, connection in ((stage.alice, alice), (stage.bob, bob)):
            for count, owner in enumerate((person.uuid, person.uuid.upper(), str(person.id)), 1):
                answer = await stage.request(
                    "POST",
                    "/documents",
                    params={"owner": owner},
                    content=f"will of {person.secret}",
                    headers=bearer(person),
                )
                await connection.send({"do": "open", "document": answer.json()["document"]})
                await connection.until(kind("document"), count)
