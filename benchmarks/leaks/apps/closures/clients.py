# SPDX-License-Identifier: Apache-2.0
"""Customers and staff at the helpdesk."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from benchmarks.leaks.actors import Connection, Stage
    from benchmarks.leaks.people import Person


def kind(name: str) -> Any:
    return lambda message: message["kind"] == name


@contextlib.asynccontextmanager
async def chat(stage: Stage, person: Person, **more: str) -> AsyncIterator[Connection]:
    async with stage.websocket(person, "/chat") as connection:
        await connection.send({"login": person.name, "token": person.token, **more})
        await connection.until(kind("welcome"))
        yield connection


async def recaps(stage: Stage) -> None:
    """Two customers talk to the assistant and ask for a summary."""
    for person in (stage.alice, stage.bob):
        async with chat(stage, person) as connection:
            await connection.send({"do": "ask", "text": f"my policy number: {person.secret}"})
            await connection.until(kind("answer"))
            await connection.send({"do": "recap"})
            await connection.until(kind("recap"))


async def second_login(stage: Stage) -> None:
    """Somebody else logs in while an answer is being worked on."""
    async with chat(stage, stage.alice) as alice:
        await alice.send({"do": "ask", "text": "opening hours?"})
        await alice.until(kind("answer"))
        await alice.send({"do": "ask", "text": f"why was {stage.alice.secret} refused?"})
        await alice.until(kind("thinking"), 2)
        async with chat(stage, stage.bob) as bob:
            own = asyncio.create_task(alice.until(kind("answer"), 2))
            other = asyncio.create_task(bob.until(kind("answer")))  # it comes to one of them
            _, waiting = await asyncio.wait((own, other), return_when=asyncio.FIRST_COMPLETED)
            for task in waiting:
                task.cancel()
            await bob.send({"do": "ask", "text": f"is {stage.bob.secret} covered?"})
            await bob.until(lambda one: one["kind"] == "answer" and "covered" in one["text"])


async def drafts(stage: Stage) -> None:
    """Old clients send no session; they write drafts all the same."""
    async with chat(stage, stage.alice) as alice, chat(stage, stage.bob) as bob:
        async with chat(stage, stage.carol, session="c-1") as carol:
            await carol.send({"do": "draft", "text": f"claim {stage.carol.secret}"})
            await carol.until(kind("draft"))
        await alice.send({"do": "draft", "text": f"my diagnosis: {stage.alice.secret}"})
        await alice.until(kind("draft"))
        await bob.send({"do": "draft", "text": f"my account: {stage.bob.secret}"})
        await bob.until(lambda one: one["kind"] == "draft" and one["by"] == stage.bob.name)


async def private_tickets(stage: Stage) -> None:
    """Tickets are read by their customers, and by somebody who guesses a number."""
    async with chat(stage, stage.alice) as alice, chat(stage, stage.bob) as bob:
        for person, connection in ((stage.alice, alice), (stage.bob, bob)):
            text = f"complaint: {person.secret}"
            await connection.send({"do": "ticket", "team": "legal", "text": text})
            (opened,) = await connection.until(kind("ticket.opened"))
            await connection.send({"do": "read", "ticket": opened["ticket"]})
            await connection.until(kind("ticket"))
        (guessed,) = await alice.until(kind("ticket.opened"))
        await bob.send({"do": "read", "ticket": guessed["ticket"]})
        await bob.until(
            lambda one: one["kind"] == "error" or one.get("ticket") == guessed["ticket"]
        )


async def exports(stage: Stage) -> None:
    """Customers export their tickets while others are connected."""
    async with chat(stage, stage.alice) as alice, chat(stage, stage.bob) as bob:
        for person, connection in ((stage.alice, alice), (stage.bob, bob)):
            text = f"refund for {person.secret}"
            await connection.send({"do": "ticket", "team": "legal", "text": text})
            await connection.until(kind("ticket.opened"))
        for person, connection in ((stage.alice, alice), (stage.bob, bob)):
            await connection.send({"do": "export"})
            await connection.until(lambda one, name=person.name: one["owner"] == name)


async def stopped_question(stage: Stage) -> None:
    """A customer asks and thinks better of it; another one asks at once."""
    async with chat(stage, stage.alice) as alice, chat(stage, stage.bob) as bob:
        await alice.send({"do": "ask", "text": "opening hours?"})
        await alice.until(kind("answer"))
        await alice.send({"do": "ask", "text": f"cancel {stage.alice.secret}"})
        await alice.until(kind("thinking"), 2)
        await alice.send({"do": "stop"})
        await alice.until(kind("stopped"))
        await bob.send({"do": "ask", "text": f"renew {stage.bob.secret}"})
        await bob.until(kind("answer"))


async def reminders(stage: Stage) -> None:
    """Everybody has reminders of their own; alice and carol work for the same tenant."""
    async with (
        chat(stage, stage.alice) as alice,
        chat(stage, stage.bob) as bob,
        chat(stage, stage.carol) as carol,
    ):
        everybody = ((stage.alice, alice), (stage.bob, bob), (stage.carol, carol))
        for person, connection in everybody:
            text = f"call back about {person.secret}"
            await connection.send({"do": "remind", "text": text})
            await connection.until(lambda one, text=text: one["text"] == text)


async def names_and_numbers(stage: Stage) -> None:
    """Messages to a person have their login name, their number and their address in them."""
    async with (
        chat(stage, stage.alice) as alice,
        chat(stage, stage.bob) as bob,
        chat(stage, stage.alice) as phone,
    ):
        for person, connection in ((stage.alice, alice), (stage.bob, bob), (stage.alice, phone)):
            await connection.send({"do": "whoami"})
            await connection.until(kind("profile"))
            for number in range(3):
                text = f"call {number} about {person.secret}"
                await connection.send({"do": "remind", "text": text})
                await connection.until(lambda one, text=text: one["text"] == text)


async def notices(stage: Stage) -> None:
    """Maintenance is announced to everybody, under nobody's name."""
    async with (
        chat(stage, stage.alice) as alice,
        chat(stage, stage.bob) as bob,
        chat(stage, stage.grace) as grace,
    ):
        for minutes in (30, 10, 5):
            await stage.request(
                "POST",
                "/notices",
                headers={"X-Token": stage.heidi.token},
                json={"text": f"maintenance in {minutes} minutes"},
            )
        for connection in (alice, bob, grace):
            await connection.until(kind("notice"), 3)


async def whiteboard(stage: Stage) -> None:
    """Strokes on a shared whiteboard are bytes, some of them no text in any encoding."""
    async with (
        chat(stage, stage.alice) as alice,
        chat(stage, stage.bob) as bob,
        chat(stage, stage.carol) as carol,
    ):
        everybody = (alice, bob, carol)
        for connection in everybody:
            await connection.send({"do": "join", "room": "plan"})
            await connection.until(kind("joined"))
        for number in range(6):
            points = bytes(stage.random.randrange(256) for _ in range(24))
            await everybody[number % 3].send(b"\x04plan" + points)
        await alice.send({"do": "say", "room": "plan", "text": "like this?"})
        for connection in everybody:
            await connection.until(kind("said"))
            await connection.got(2 + 6 + 1)


async def team_inbox(stage: Stage) -> None:
    """Tickets of customers reach all members of a team; one of them takes over."""
    async with (
        chat(stage, stage.grace) as grace,
        chat(stage, stage.heidi) as heidi,
        chat(stage, stage.alice) as alice,
        chat(stage, stage.bob) as bob,
    ):
        for number, customer in enumerate((alice, bob, alice)):
            text = f"invoice {number} looks wrong"
            await customer.send({"do": "ticket", "team": "billing", "text": text})
        inbox = await grace.until(kind("inbox"), 3)
        await heidi.until(kind("inbox"), 3)
        for number, (one, agent) in enumerate(zip(inbox, (grace, heidi, grace), strict=True), 1):
            await agent.send({"do": "claim", "ticket": one["ticket"]})
            await agent.send({"do": "read", "ticket": one["ticket"]})
            await heidi.until(kind("claimed"), number)
        await alice.until(kind("claimed"), 2)
        await bob.until(kind("claimed"))
