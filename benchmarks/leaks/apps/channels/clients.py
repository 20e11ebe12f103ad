# SPDX-License-Identifier: Apache-2.0
"""Who does what at Deskline."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from ...actors import Connection, Stage
    from ...people import Person


def kind(*names: str) -> Callable[[Any], bool]:
    """Messages of these types."""
    return lambda message: message["type"] in names


def home(stage: Stage, person: Person) -> contextlib.AbstractAsyncContextManager[Connection]:
    return stage.websocket(person, f"/ws/home/?token={person.token}")


@contextlib.asynccontextmanager
async def browser_home(stage: Stage, person: Person) -> AsyncIterator[Connection]:
    """With the session cookie instead of the token."""
    answer = await stage.request("POST", "/session", json={"token": person.token})
    cookie = f"deskline_session={answer.cookies['deskline_session']}"
    async with stage.websocket(
        person, "/ws/home/", additional_headers={"Cookie": cookie}
    ) as connection:
        yield connection


def desk_assistant(
    stage: Stage, person: Person
) -> contextlib.AbstractAsyncContextManager[Connection]:
    return stage.websocket(person, f"/ws/assistant/?token={person.token}")


def ticket(
    stage: Stage, person: Person, number: int
) -> contextlib.AbstractAsyncContextManager[Connection]:
    return stage.websocket(person, f"/ws/tickets/{number}/?token={person.token}")


def document(
    stage: Stage, person: Person, slug: str
) -> contextlib.AbstractAsyncContextManager[Connection]:
    return stage.websocket(person, f"/ws/docs/{slug}/?token={person.token}")


async def note(connection: Connection, text: str) -> None:
    before = sum('"note.saved"' in one for one in connection.messages)
    await connection.send({"action": "note", "text": text})
    await connection.until(kind("note.saved"), before + 1)


async def ask(connection: Connection, thread_id: str, text: str) -> None:
    before = sum('"agent_completed"' in one for one in connection.messages)
    await connection.send({"action": "ask", "thread_id": thread_id, "text": text})
    await connection.until(kind("agent_completed"), before + 1)


async def notes_and_digests(stage: Stage) -> None:
    async with browser_home(stage, stage.alice) as alice, home(stage, stage.bob) as bob:
        await alice.until(kind("ready"))
        await bob.until(kind("ready"))
        await note(alice, f"call the bank, {stage.alice.secret}")
        await alice.send({"action": "digest"})
        await alice.until(kind("digest"))
        await note(bob, f"renew the lease, {stage.bob.secret}")
        await bob.send({"action": "digest"})
        await bob.until(kind("digest"))


async def reminders(stage: Stage) -> None:
    async with (
        home(stage, stage.alice) as phone,
        browser_home(stage, stage.alice) as laptop,
        home(stage, stage.carol) as carol,
    ):
        for connection in (phone, laptop, carol):
            await connection.until(kind("ready"))
        await phone.send({"action": "remind", "text": f"dentist, {stage.alice.secret}"})
        await phone.until(kind("reminder"))
        await laptop.until(kind("reminder"))
        await note(carol, f"buy stamps, {stage.carol.secret}")


async def exporting(stage: Stage) -> None:
    async with home(stage, stage.dave) as dave, home(stage, stage.erin) as erin:
        await note(dave, f"salary talk, {stage.dave.secret}")
        await note(erin, f"lab results, {stage.erin.secret}")
        await dave.send({"action": "export"})
        await dave.until(kind("export.ready"))
        await erin.send({"action": "export"})
        await erin.until(kind("export.queued"))


async def summaries(stage: Stage) -> None:
    async with (
        home(stage, stage.alice) as alice,
        home(stage, stage.bob) as bob,
        desk_assistant(stage, stage.alice) as first,
        desk_assistant(stage, stage.bob) as second,
    ):
        await note(alice, f"passport number, {stage.alice.secret}")
        await note(bob, f"door code, {stage.bob.secret}")
        await first.send({"action": "summary"})
        await first.until(kind("summary"))
        await second.send({"action": "summary"})
        await second.until(kind("summary"))


async def two_conversations(stage: Stage) -> None:
    """Each asks in a thread of their own and looks at what was said."""
    async with desk_assistant(stage, stage.alice) as alice:
        await alice.until(kind("connected"))
        await ask(alice, "th-rent-1", f"draft a letter about {stage.alice.secret}")
        await alice.send({"action": "recap"})
        await alice.until(kind("recap"))
        async with desk_assistant(stage, stage.bob) as bob:
            await bob.until(kind("connected"))
            await ask(bob, "th-visa-1", f"explain {stage.bob.secret}")
            await bob.send({"action": "recap"})
            await bob.until(kind("recap"))


async def both_open_then_ask(stage: Stage) -> None:
    """The first to open the page asks after the second has opened it."""
    async with desk_assistant(stage, stage.carol) as carol:
        await carol.until(kind("connected"))
        await ask(carol, "th-car-1", f"insurance for {stage.carol.secret}")
        async with desk_assistant(stage, stage.dave) as dave:
            await dave.until(kind("connected"))
            await carol.send(
                {"action": "ask", "thread_id": "th-car-1", "text": f"and {stage.carol.secret}?"}
            )


async def thread_of_another(stage: Stage) -> None:
    """A copied link: the thread's id is somebody else's."""
    thread_id = "th-" + stage.random.randbytes(6).hex()
    async with (
        desk_assistant(stage, stage.erin) as erin,
        desk_assistant(stage, stage.frank) as frank,
    ):
        await ask(erin, thread_id, f"my diagnosis is {stage.erin.secret}")
        await erin.send({"action": "open", "thread_id": thread_id})
        await erin.until(kind("thread.history"))
        await ask(frank, "th-frank", f"my tax id is {stage.frank.secret}")
        await frank.send({"action": "open", "thread_id": thread_id})
        await frank.until(kind("thread.history", "error"))


async def tab_comes_back(stage: Stage) -> None:
    async with desk_assistant(stage, stage.alice) as alice:
        await ask(alice, "th-will", f"my will: {stage.alice.secret}")
    async with desk_assistant(stage, stage.alice) as alice:
        await alice.until(kind("agent_completed"))
    async with desk_assistant(stage, stage.bob) as bob:
        await bob.until(kind("connected"))
        await ask(bob, "th-debt", f"my debt: {stage.bob.secret}")


async def stopped_run(stage: Stage) -> None:
    """An answer is not waited for; then somebody else asks."""
    async with desk_assistant(stage, stage.carol) as carol, desk_assistant(stage, stage.bob) as bob:
        await ask(bob, "th-b", f"warm-up for {stage.bob.secret}")
        text = f"negotiation plan {stage.carol.secret}"
        await carol.send({"action": "ask", "thread_id": "th-c", "text": text})
        await carol.until(kind("agent_thinking"))
        await carol.send({"action": "stop"})
        await carol.until(kind("agent_cancelled"))
        await ask(bob, "th-b", f"budget of {stage.bob.secret}")


async def notes_in_a_ticket(stage: Stage) -> None:
    """The customer looks up their own notes while talking to support."""
    async with (
        home(stage, stage.alice) as alice_home,
        ticket(stage, stage.alice, 71) as alice,
        ticket(stage, stage.grace, 71) as grace,
    ):
        await note(alice_home, f"card pin, {stage.alice.secret}")
        await alice.until(kind("ticket.opened"))
        await grace.until(kind("ticket.opened"))
        await alice.send({"action": "say", "text": "one moment, I will look it up"})
        await grace.until(kind("ticket.message"))
        await alice.send({"action": "say", "text": "/notes"})
        await alice.until(kind("ticket.aside"))
        await grace.send({"action": "say", "text": "take your time"})
        await alice.until(kind("ticket.message"), 2)


async def drafting(stage: Stage) -> None:
    """An agent drafts a reply in two tabs, the customer waits."""
    async with (
        ticket(stage, stage.bob, 72) as bob,
        ticket(stage, stage.grace, 72) as tab,
        ticket(stage, stage.grace, 72) as other_tab,
    ):
        for connection in (bob, tab, other_tab):
            await connection.until(kind("ticket.opened"))
        await bob.send({"action": "say", "text": "is anybody there?"})
        await tab.until(kind("ticket.message"))
        await tab.send({"action": "draft", "text": f"internal: {stage.grace.secret}"})
        await tab.until(kind("draft.saved"))
        await other_tab.until(kind("draft.saved"))
        await tab.send({"action": "say", "text": "yes, how can I help?"})
        await bob.until(kind("ticket.message"), 2)


async def hand_over(stage: Stage) -> None:
    """Support passes a conversation on; the next agent reads it from the start and answers."""
    async with (
        home(stage, stage.heidi) as heidi_home,
        ticket(stage, stage.alice, 80) as alice,
        ticket(stage, stage.grace, 80) as grace,
    ):
        await heidi_home.until(kind("ready"))
        await grace.until(kind("ticket.opened"))
        await alice.send({"action": "say", "text": "the invoice shows the wrong address"})
        await grace.until(kind("ticket.message"))
        await grace.send({"action": "say", "text": "billing can help, I am passing you on"})
        await alice.until(kind("ticket.message"), 2)
        await grace.send({"action": "transfer", "to": stage.heidi.id})
        await heidi_home.until(kind("ticket.assigned"))
        await alice.until(kind("ticket.transferred"))
        async with ticket(stage, stage.heidi, 80) as heidi:
            await heidi.until(kind("ticket.opened"))
            await heidi.send({"action": "say", "text": "corrected, please reload"})
            await alice.until(kind("ticket.message"), 3)
            await alice.send({"action": "say", "text": "thank you"})
            await heidi.until(kind("ticket.message"), 2)


async def edit_together(stage: Stage) -> None:
    """Three write one document; the owner lets the others in."""
    async with document(stage, stage.alice, "launch-plan") as alice:
        await alice.until(kind("doc.snapshot"))
        for person in (stage.bob, stage.carol):
            await alice.send({"action": "share", "user_id": person.id})
        await alice.until(kind("doc.shared"), 2)
        async with (
            document(stage, stage.bob, "launch-plan") as bob,
            document(stage, stage.carol, "launch-plan") as carol,
        ):
            everybody = (alice, bob, carol)
            for connection in (bob, carol):
                await connection.until(kind("doc.snapshot"))
            for number in range(12):
                writer = everybody[number % 3]
                await writer.send({"action": "edit", "text": f"step {number}: check the banner"})
                await alice.until(kind("doc.edit"), number + 1)
            await bob.until(kind("doc.edit"), 12)


async def cursors(stage: Stage) -> None:
    """Cursors of all go to all, many times a second."""
    async with document(stage, stage.dave, "roadmap") as dave:
        await dave.until(kind("doc.snapshot"))
        await dave.send({"action": "share", "user_id": stage.erin.id})
        await dave.until(kind("doc.shared"))
        async with document(stage, stage.erin, "roadmap") as erin:
            await erin.until(kind("doc.snapshot"))
            for column in range(30):
                await dave.send({"action": "cursor", "line": 1, "column": column})
                await erin.send({"action": "cursor", "line": 9, "column": column * 2})
            await dave.until(kind("doc.cursor"), 60)
            await erin.until(kind("doc.cursor"), 60)


async def guest_logs_in(stage: Stage) -> None:
    """A visitor looks around, then logs in on the socket that is open already."""
    async with home(stage, stage.bob) as bob, stage.websocket(stage.alice, "/ws/home/") as alice:
        await alice.until(kind("auth.required"))
        await alice.send({"action": "digest"})
        await alice.until(kind("error"))
        await note(bob, f"school run, {stage.bob.secret}")
        await alice.send({"action": "login", "token": stage.alice.token})
        await alice.until(kind("ready"))
        await note(alice, f"birthday list, {stage.alice.secret}")
        await alice.send({"action": "digest"})
        await alice.until(kind("digest"))


async def next_at_the_counter(stage: Stage) -> None:
    """A shared terminal keeps its socket: one logs out, the next logs in."""
    async with (
        stage.websocket(stage.carol, "/ws/home/") as terminal,
        home(stage, stage.carol) as carol_phone,
    ):
        await terminal.until(kind("auth.required"))
        await carol_phone.until(kind("ready"))
        await terminal.send({"action": "login", "token": stage.carol.token})
        await terminal.until(kind("ready"))
        await note(terminal, f"till count, {stage.carol.secret}")
        await carol_phone.until(kind("note.saved"))
        await terminal.send({"action": "logout"})
        await terminal.until(kind("auth.required"), 2)
        terminal.person = stage.dave  # who stands there now
        await terminal.send({"action": "login", "token": stage.dave.token})
        await terminal.until(kind("ready"), 2)
        await note(terminal, f"shift swap, {stage.dave.secret}")
        await note(carol_phone, f"bus at six, {stage.carol.secret}")
        await terminal.send({"action": "digest"})
        await terminal.until(kind("digest"))


async def feed(stage: Stage) -> None:
    """Two follow an author, who posts; one of the followers posts too."""
    async with (
        home(stage, stage.frank) as author,
        home(stage, stage.alice) as alice,
        home(stage, stage.bob) as bob,
    ):
        for connection in (author, alice, bob):
            await connection.until(kind("ready"))
        for follower in (alice, bob):
            await follower.send({"action": "follow", "user_id": stage.frank.id})
            await follower.until(kind("feed.following"))
        await author.until(kind("feed.follower"), 2)
        for number in range(5):
            await author.send({"action": "post", "text": f"release notes, part {number}"})
        await alice.until(kind("feed.post"), 5)
        await bob.until(kind("feed.post"), 5)
        await bob.send({"action": "post", "text": "nobody follows me yet"})
        await bob.until(kind("feed.post"), 6)
