# SPDX-License-Identifier: Apache-2.0
"""Who does what in the chat; every scenario works with and without any of the defects."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from benchmarks.leaks.actors import Connection, Stage
    from benchmarks.leaks.people import Person


@asynccontextmanager
async def chat(stage: Stage, person: Person) -> AsyncIterator[Connection]:
    """Log in and wait for the welcome."""
    async with stage.websocket(person, f"/ws?token={person.token}") as connection:
        await connection.until(lambda m: m["type"] == "welcome")
        yield connection


async def open_all(stack: AsyncExitStack, stage: Stage, *people: Person) -> list[Connection]:
    """Several people come online, one after another."""
    return [await stack.enter_async_context(chat(stage, person)) for person in people]


def kind(*names: str) -> Any:
    """A predicate for until()."""
    return lambda message: message["type"] in names


async def join(room: str, *members: Connection) -> None:
    """Everybody joins; done when the last one has seen themselves in the room."""
    for member in members:
        await member.send({"type": "join", "room": room})
        person = member.person
        assert person is not None
        await member.until(_joined(person))


async def note(connection: Connection, title: str, text: str) -> dict[str, Any]:
    """Save a note; the server's answer."""
    await connection.send({"type": "add_note", "title": title, "text": text})
    (saved,) = await connection.until(lambda m: m["type"] == "note_saved" and m["text"] == text)
    return dict(saved)


async def small_talk(room: str, *members: Connection) -> None:
    """One line of each in a room they are in; everybody has read everything."""
    for number, member in enumerate(members):
        await member.send({"type": "typing", "room": room})
        line = f"line {number} in {room}"
        await member.send({"type": "room_message", "room": room, "text": line})
    for member in members:
        await member.until(kind("room_message"), len(members))


async def notes_of_everybody(stage: Stage) -> None:
    """Three people work on notes of their own while they talk in a room."""
    async with AsyncExitStack() as stack:
        people = (stage.alice, stage.bob, stage.carol)
        alice, bob, carol = await open_all(stack, stage, *people)
        await join("lobby", alice, bob)
        await small_talk("lobby", alice, bob)
        await note(alice, "Doctor", f"appointment about {stage.alice.secret}")
        await note(bob, "Groceries", f"milk, bread, {stage.bob.secret}")
        await note(carol, "Ideas", f"a book on {stage.carol.secret}")
        await small_talk("lobby", alice, bob)


async def notifications(stage: Stage) -> None:
    """The back office notifies two people; a third is online."""
    async with AsyncExitStack() as stack:
        people = (stage.alice, stage.bob, stage.carol)
        alice, bob, _ = await open_all(stack, stage, *people)
        for connection, person in ((alice, stage.alice), (bob, stage.bob)):
            await notify(stage, person, "Invoice", f"Your invoice {person.secret} is ready")
            await connection.until(kind("notification"))


async def notify(stage: Stage, person: Person, title: str, body: str) -> None:
    """What the back office calls."""
    await stage.request(
        "POST",
        "/notifications",
        headers={"Authorization": f"Bearer {stage.heidi.token}"},
        json={"user_id": person.id, "title": title, "body": body},
    )


async def read_and_come_back(stage: Stage) -> None:
    """Both have read everything, one is notified, the other one reconnects."""
    async with AsyncExitStack() as stack:
        (alice,) = await open_all(stack, stage, stage.alice)
        async with chat(stage, stage.bob) as bob:
            for connection in (alice, bob):
                await connection.send({"type": "mark_read"})
                await connection.until(kind("all_read"))
        await notify(stage, stage.alice, "Payslip", f"November: {stage.alice.secret}")
        await alice.until(kind("notification"))
        async with chat(stage, stage.bob) as bob:
            await note(bob, "Todo", f"call {stage.bob.secret}")


async def drafts(stage: Stage) -> None:
    """Two people write drafts for rooms."""
    async with AsyncExitStack() as stack:
        alice, bob = await open_all(stack, stage, stage.alice, stage.bob)
        for connection, person, room in ((alice, stage.alice, "hr"), (bob, stage.bob, "sales")):
            text = f"I would rather not say that {person.secret}"
            await connection.send({"type": "save_draft", "room": room, "text": text})
            await connection.until(kind("drafts"))
        await alice.send({"type": "save_draft", "room": "lobby", "text": "hello"})
        await alice.until(kind("drafts"), 2)


async def digests(stage: Stage) -> None:
    """Two people ask for their digest at the same time, then one alone."""
    async with AsyncExitStack() as stack:
        alice, bob = await open_all(stack, stage, stage.alice, stage.bob)
        await note(alice, "Diary", f"dear diary {stage.alice.secret}")
        await note(bob, "Diary", f"today {stage.bob.secret}")
        await alice.send({"type": "digest"})
        await bob.send({"type": "digest"})
        await alice.until(kind("digest"))
        await bob.until(kind("digest"))
        await alice.send({"type": "digest"})
        await alice.until(kind("digest"), 2)


async def open_by_number(stage: Stage) -> None:
    """Bob opens his note, and then tries the number before it."""
    async with AsyncExitStack() as stack:
        alice, bob = await open_all(stack, stage, stage.alice, stage.bob)
        theirs = await note(alice, "Passwords", f"the safe: {stage.alice.secret}")
        his = await note(bob, "Recipe", f"grandma's {stage.bob.secret}")
        for number in (his["note_id"], theirs["note_id"]):
            await bob.send({"type": "open_note", "note_id": number})
        await bob.until(kind("note", "error"), 2)
        await alice.send({"type": "open_note", "note_id": theirs["note_id"]})
        await alice.until(kind("note"))


async def same_search(stage: Stage) -> None:
    """Both search their notes for the same word."""
    async with AsyncExitStack() as stack:
        alice, bob = await open_all(stack, stage, stage.alice, stage.bob)
        await note(alice, "Salary talk", f"ask for {stage.alice.secret}")
        await note(bob, "Salary", f"now {stage.bob.secret}")
        for connection in (alice, bob):
            await connection.send({"type": "search_notes", "query": "salary"})
            await connection.until(kind("search_results"))


async def reminders(stage: Stage) -> None:
    """Alice is the first to set a reminder, Bob and Carol set theirs later."""
    async with AsyncExitStack() as stack:
        people = (stage.alice, stage.bob, stage.carol)
        everybody = await open_all(stack, stage, *people)
        for connection, person in zip(everybody, people, strict=True):
            await connection.send({"type": "remind_me", "text": f"take {person.secret}"})
            await connection.until(kind("reminder_set"))
            reminded = [asyncio.create_task(one.until(_about(person))) for one in everybody]
            await asyncio.wait(reminded, return_when=asyncio.FIRST_COMPLETED)
            for task in reminded:
                task.cancel()


def _joined(person: Person) -> Any:
    return lambda m: m["type"] == "joined" and m["user_id"] == person.id


def _about(person: Person) -> Any:
    return lambda m: m["type"] == "reminder" and person.secret in m["text"]


# --- traffic nobody is wronged by -----------------------------------------------------------


async def presence(stage: Stage) -> None:
    """People come, go and come again while others work on notes."""
    async with AsyncExitStack() as stack:
        alice, bob = await open_all(stack, stage, stage.alice, stage.bob)
        for person in (stage.carol, stage.dave, stage.carol):
            async with chat(stage, person) as guest:
                await note(guest, "Visit", f"was here {person.secret}")
        await alice.until(lambda m: m["type"] == "presence" and m["status"] == "offline", 3)
        await note(bob, "Mine", f"still here {stage.bob.secret}")


async def typing(stage: Stage) -> None:
    """Three people in a room type, only one writes."""
    async with AsyncExitStack() as stack:
        people = (stage.alice, stage.bob, stage.carol)
        everybody = await open_all(stack, stage, *people)
        await join("design", *everybody)
        for connection in (*everybody, *everybody):
            await connection.send({"type": "typing", "room": "design"})
        for connection in everybody:
            await connection.until(kind("typing"), 4)
        await note(everybody[0], "Sketch", f"draft of {stage.alice.secret}")


async def room_chat(stage: Stage) -> None:
    """A room of three that talks, one leaves, one outside never sees it."""
    async with AsyncExitStack() as stack:
        people = (stage.alice, stage.bob, stage.carol, stage.dave)
        alice, bob, carol, dave = await open_all(stack, stage, *people)
        await join("team", alice, bob, carol)
        await small_talk("team", alice, bob, carol)
        await carol.send({"type": "leave", "room": "team"})
        await carol.send({"type": "mark_read"})
        await carol.until(kind("all_read"))
        await alice.send({"type": "room_message", "room": "team", "text": "has carol left?"})
        await bob.until(kind("room_message"), 4)
        await note(dave, "Outside", f"what are they doing {stage.dave.secret}")


async def mentions(stage: Stage) -> None:
    """Alice mentions Bob and Carol in a room; both are told who did."""
    async with AsyncExitStack() as stack:
        people = (stage.alice, stage.bob, stage.carol)
        alice, bob, carol = await open_all(stack, stage, *people)
        await join("planning", alice, bob, carol)
        text = f"@{stage.bob.name} and @{stage.carol.name}: please look at the plan"
        await alice.send({"type": "room_message", "room": "planning", "text": text})
        await bob.until(kind("mention"))
        await carol.until(kind("mention"))
        text = f"done, @{stage.alice.name}"
        await bob.send({"type": "room_message", "room": "planning", "text": text})
        await alice.until(kind("mention"))
        await note(bob, "Plan", f"what I think of it: {stage.bob.secret}")


async def direct_messages(stage: Stage) -> None:
    """Alice, on two devices, and Bob write to each other; both of hers show her own lines."""
    async with AsyncExitStack() as stack:
        people = (stage.alice, stage.alice, stage.bob, stage.carol)
        laptop, phone, bob, carol = await open_all(stack, stage, *people)
        await laptop.send({"type": "direct_message", "to": stage.bob.id, "text": "lunch?"})
        await bob.until(kind("direct_message"))
        await bob.send({"type": "direct_message", "to": stage.alice.id, "text": "at one"})
        await phone.until(kind("direct_message"), 2)
        await phone.send({"type": "direct_message", "to": stage.bob.id, "text": "fine"})
        await laptop.until(kind("direct_message"), 3)
        mine = f"saved for later: {stage.carol.secret}"
        await carol.send({"type": "direct_message", "to": stage.carol.id, "text": mine})
        await carol.until(kind("direct_message"))


async def devices(stage: Stage) -> None:
    """Alice has three devices, closes one, opens another; all show the same."""
    async with AsyncExitStack() as stack:
        laptop, phone, bob = await open_all(stack, stage, stage.alice, stage.alice, stage.bob)
        async with chat(stage, stage.alice) as tablet:
            await note(tablet, "From the tablet", f"one {stage.alice.secret}")
            await laptop.until(kind("note_saved"))
        await note(phone, "From the phone", f"two {stage.alice.secret}")
        await laptop.until(kind("note_saved"), 2)
        await notify(stage, stage.alice, "Parcel", f"Code {stage.alice.secret}")
        for device in (laptop, phone):
            await device.until(kind("notification"))
        await note(bob, "Alone", f"one device, {stage.bob.secret}")
        async with chat(stage, stage.alice) as again:
            await again.send({"type": "mark_read"})
            await laptop.until(kind("all_read"))


async def moderation(stage: Stage) -> None:
    """A moderator removes Bob's message: the room, Bob and the moderators are told."""
    async with AsyncExitStack() as stack:
        people = (stage.alice, stage.bob, stage.grace, stage.heidi)
        alice, bob, grace, heidi = await open_all(stack, stage, *people)
        await join("market", alice, bob, grace)
        await bob.send({"type": "room_message", "room": "market", "text": "buy my watches"})
        (spam,) = await grace.until(kind("room_message"))
        removal = {"type": "remove_message", "message_id": spam["message_id"], "rule": "no ads"}
        await grace.send(removal)
        await alice.until(kind("message_removed"))
        await bob.until(kind("warning"))
        await heidi.until(kind("moderation_log"))
        await note(alice, "Market", f"never buy {stage.alice.secret}")


async def invitations(stage: Stage) -> None:
    """Alice invites Bob and Carol to a room; Bob comes."""
    async with AsyncExitStack() as stack:
        people = (stage.alice, stage.bob, stage.carol)
        alice, bob, carol = await open_all(stack, stage, *people)
        await join("book club", alice)
        for guest in (stage.bob, stage.carol):
            await alice.send({"type": "invite", "room": "book club", "user_id": guest.id})
        await bob.until(kind("invitation"))
        await carol.until(kind("invitation"))
        await alice.until(kind("invitation_sent"), 2)
        await join("book club", bob)
        await small_talk("book club", alice, bob)
        await note(carol, "No", f"cannot come because {stage.carol.secret}")
