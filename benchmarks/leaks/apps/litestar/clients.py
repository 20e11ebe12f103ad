# SPDX-License-Identifier: Apache-2.0
"""People at their boards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from benchmarks.leaks.actors import Connection, Stage
    from benchmarks.leaks.people import Person


def live(stage: Stage, person: Person, more: str = "") -> AbstractAsyncContextManager[Connection]:
    return stage.websocket(person, f"/live?access_token={person.token}{more}")


def event(name: str) -> Any:
    return lambda message: message["event"] == name


async def remind(stage: Stage, person: Person, text: str) -> None:
    headers = {"Authorization": f"Bearer {person.token}"}
    await stage.request("POST", "/reminders", json={"text": text}, headers=headers)


async def join(connection: Connection, board: str, action: str = "join") -> None:
    await connection.send({"action": action, "board": board})
    await connection.until(lambda one: one["event"] == "joined" and one["board"] == board)


async def reminders_while_away(stage: Stage) -> None:
    """Reminders come due while their people are away; then they come back, one by one."""
    await remind(stage, stage.alice, f"call the clinic: {stage.alice.secret}")
    await remind(stage, stage.bob, f"renew the lease: {stage.bob.secret}")
    async with live(stage, stage.bob) as bob:
        await bob.until(event("reminder"))
        async with live(stage, stage.alice) as alice:
            await alice.until(event("hello"))
            await remind(stage, stage.alice, f"second call: {stage.alice.secret}")
            await alice.until(event("reminder"))


async def reminders_at_work(stage: Stage) -> None:
    """Colleagues of one tenant are connected; only one has private reminders."""
    async with live(stage, stage.alice) as alice:
        await alice.until(event("hello"))
        await remind(stage, stage.alice, f"interview elsewhere: {stage.alice.secret}")
        await alice.until(event("reminder"))
        async with live(stage, stage.carol) as carol, live(stage, stage.bob) as bob:
            await carol.until(event("hello"))
            await bob.until(event("hello"))
            await remind(stage, stage.carol, "stand-up at ten")
            await remind(stage, stage.alice, f"salary talk: {stage.alice.secret}")
            await remind(stage, stage.bob, "send the invoice")
            await alice.until(lambda one: "salary" in one["text"])
            await bob.until(event("reminder"))


async def reminders_of_two(stage: Stage) -> None:
    """Two people, the second one's reminders are private."""
    async with live(stage, stage.alice) as alice, live(stage, stage.bob) as bob:
        await alice.until(event("hello"))
        await bob.until(event("hello"))
        await remind(stage, stage.alice, "water the plants")
        await alice.until(event("reminder"))
        for number in range(3):
            await remind(stage, stage.bob, f"pay back {number}: {stage.bob.secret}")


async def drafts(stage: Stage) -> None:
    """A draft, opened again by its author, and by somebody who counts upwards."""
    async with live(stage, stage.alice) as alice, live(stage, stage.bob) as bob:
        await alice.send({"action": "draft.save", "text": f"resignation: {stage.alice.secret}"})
        (saved,) = await alice.until(event("draft.saved"))
        await alice.send({"action": "draft.open", "draft_id": saved["draft_id"]})
        await alice.until(event("draft"))
        await bob.send({"action": "draft.open", "draft_id": saved["draft_id"]})
        await bob.until(lambda one: one["event"] in ("draft", "error"))
        await bob.send({"action": "draft.save", "text": f"reply: {stage.bob.secret}"})
        (saved,) = await bob.until(event("draft.saved"))
        await bob.send({"action": "draft.open", "draft_id": saved["draft_id"]})
        await bob.until(lambda one: one["event"] == "draft" and "reply" in one["text"])


async def digests(stage: Stage) -> None:
    """Two people take notes for boards of the same name and read their digests."""
    for person in (stage.alice, stage.bob, stage.carol):
        path = f"/digest?access_token={person.token}"
        async with stage.websocket(person, path) as connection:
            for number in range(2):
                note = f"thought {number}, not for the team: {person.secret}"
                await connection.send({"board": "roadmap", "note": note})
            await connection.until(event("noted"), 2)
            await connection.send({"board": "roadmap"})
            await connection.until(event("digest"))


async def personal_boards(stage: Stage) -> None:
    """Two people have a personal board called todo."""
    async with live(stage, stage.alice) as alice, live(stage, stage.bob) as bob:
        await join(alice, "todo", "personal")
        await join(bob, "todo", "personal")
        for person, connection in ((stage.alice, alice), (stage.bob, bob)):
            title = f"therapy on Monday: {person.secret}"
            await connection.send({"action": "personal.add", "board": "todo", "title": title})
            await connection.until(lambda one, title=title: one["title"] == title)


async def team_board(stage: Stage) -> None:
    """A team's board: cards name owners, creators and assignees; everybody sees all."""
    async with (
        live(stage, stage.alice) as alice,
        live(stage, stage.carol) as carol,
        live(stage, stage.erin) as erin,
    ):
        everybody = [(stage.alice, alice), (stage.carol, carol), (stage.erin, erin)]
        for _, connection in everybody:
            await join(connection, "roadmap")
        for number in range(6):
            _, connection = everybody[number % 3]
            assignee, _ = everybody[(number + 1) % 3]
            card = {"board": "roadmap", "title": f"task {number}", "assignee_id": assignee.id}
            await connection.send({"action": "card.add", **card})
        for _, connection in everybody:
            await connection.until(event("card.added"), 6)
            await connection.until(event("card.assigned"), 2)


async def feed(stage: Stage) -> None:
    """The team's activity: `user_id` is whoever did it."""
    async with live(stage, stage.alice) as alice, live(stage, stage.carol) as carol:
        for connection in (alice, carol):
            await connection.send({"action": "activity"})
            await connection.until(event("feed"))
        for number, person in enumerate((stage.alice, stage.carol, stage.erin) * 2):
            headers = {"Authorization": f"Bearer {person.token}"}
            card = {"board": "office", "title": f"chair {number}"}
            await stage.request("POST", "/cards", json=card, headers=headers)
        await alice.until(event("activity"), 6)
        await carol.until(event("activity"), 6)
        async with live(stage, stage.erin) as erin:
            await erin.send({"action": "activity"})
            await erin.until(event("feed"))


async def on_behalf(stage: Stage) -> None:
    """An assistant keeps the boards of two managers."""
    async with (
        live(stage, stage.alice) as alice,
        live(stage, stage.carol) as carol,
        live(stage, stage.erin) as assistant,
    ):
        for manager in (alice, carol):
            await manager.send({"action": "delegate", "to": stage.erin.subject})
            await manager.until(event("delegated"))
        for number in range(4):
            manager_ = (stage.alice, stage.carol)[number % 2]
            card = {"board": "travel", "title": f"trip {number}", "on_behalf_of": manager_.subject}
            await assistant.send({"action": "card.add", **card})
        await assistant.until(event("card.saved"), 4)
        await alice.until(event("delegate.acted"), 2)
        await carol.until(event("delegate.acted"), 2)


async def view_as(stage: Stage) -> None:
    """An administrator looks at the product as two members see it."""
    for person in (stage.alice, stage.bob):
        async with (
            live(stage, person) as member,
            live(stage, stage.heidi, f"&view_as={person.subject}") as admin,
        ):
            await member.until(event("hello"))
            await admin.until(event("view_as"))
            await remind(stage, person, "check the printer")
            await member.until(event("reminder"))
            await admin.until(event("reminder"))
            await admin.send({"action": "draft.save", "text": "nothing unusual so far"})
            await admin.until(event("draft.saved"))
