# SPDX-License-Identifier: Apache-2.0
"""What people do with their notes, the assistant and each other's boards."""

from __future__ import annotations

from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from benchmarks.leaks.actors import Connection, Stage
    from benchmarks.leaks.people import Person


def bearer(person: Person, **more: str) -> dict[str, str]:
    """The headers of this person's requests."""
    return {"Authorization": f"Bearer {person.token}", **more}


def typed(*names: str) -> Callable[[Any], bool]:
    """Messages of these types."""
    return lambda message: message["type"] in names


def stream(
    stage: Stage, person: Person, path: str, **more: str
) -> AbstractAsyncContextManager[Connection]:
    """A stream of events this person listens to."""
    return stage.events(person, path, headers=bearer(person, **more))


def asked(
    stage: Stage, person: Person, text: str, **more: Any
) -> AbstractAsyncContextManager[Connection]:
    """A question, and its answer as it comes."""
    return stage.events(person, "/ask", "POST", headers=bearer(person), json={"text": text, **more})


async def post(stage: Stage, person: Person, path: str, **body: Any) -> Any:
    """A request of this person."""
    answer = await stage.request("POST", path, headers=bearer(person), json=body)
    return answer.json()


async def attempt(
    opened: AbstractAsyncContextManager[Connection], wanted: Callable[[Any], bool]
) -> None:
    """A stream that may be refused; if it is not, until `wanted` has come."""
    with suppress(httpx.HTTPStatusError):
        async with opened as connection:
            await connection.until(wanted)


async def answered(stage: Stage, person: Person, text: str, **more: Any) -> dict[str, Any]:
    """Ask, read the answer to its end; the last event."""
    async with asked(stage, person, text, **more) as one:
        (done,) = await one.until(typed("answer.done"))
    result: dict[str, Any] = done
    return result


async def questions(stage: Stage) -> None:
    """Several people ask, one of them twice in one thread."""
    alice, bob, carol = stage.alice, stage.bob, stage.carol
    first = await answered(stage, alice, f"my lawyer is {alice.secret}")
    await answered(stage, bob, f"my rent is {bob.secret}")
    await answered(stage, carol, f"my doctor is {carol.secret}")
    await answered(stage, alice, "what did I say", thread_id=first["thread_id"])


async def approvals(stage: Stage) -> None:
    """One question waits for its asker's approval while somebody else asks theirs."""
    alice, bob = stage.alice, stage.bob
    await answered(stage, alice, f"before {alice.secret}")
    async with asked(stage, alice, f"delete {alice.secret}", review=True) as first:
        (waiting,) = await first.until(typed("answer.approval"))
        async with asked(stage, bob, f"rename {bob.secret}") as second:
            await second.until(typed("answer.done"))
        await post(stage, alice, f"/questions/{waiting['question_id']}/approve")
        await first.until(typed("answer.done"))


async def thread_links(stage: Stage) -> None:
    """Somebody opens the link of another's thread; its owner watches it, too."""
    alice, bob = stage.alice, stage.bob
    thread = (await answered(stage, alice, f"diary {alice.secret}"))["thread_id"]
    own = (await answered(stage, bob, f"list {bob.secret}"))["thread_id"]
    path = f"/threads/{thread}/stream"
    async with stream(stage, alice, path) as watching:
        await watching.until(typed("thread"))
        await answered(stage, alice, f"more {alice.secret}", thread_id=thread)
        await watching.until(typed("thread.message"))
        await attempt(stream(stage, bob, path), typed("thread"))
    async with stream(stage, bob, f"/threads/{own}/stream") as fine:
        await fine.until(typed("thread"))


async def thread_in_body(stage: Stage) -> None:
    """Somebody goes on in a thread that is not theirs."""
    alice, bob = stage.alice, stage.bob
    thread = (await answered(stage, alice, f"symptoms {alice.secret}"))["thread_id"]
    own = (await answered(stage, bob, f"recipe {bob.secret}"))["thread_id"]
    await attempt(asked(stage, bob, "go on", thread_id=thread), typed("answer.done"))
    await answered(stage, bob, "go on", thread_id=own)
    await answered(stage, alice, "go on", thread_id=thread)


async def exports(stage: Stage) -> None:
    """Exports, watched by who started them and by a colleague with the link."""
    alice, bob, carol = stage.alice, stage.bob, stage.carol
    async with stream(stage, alice, "/notifications") as told:
        job = await post(stage, alice, "/exports", title=f"taxes {alice.secret}")
        path = f"/jobs/{job['job_id']}/events"
        async with stream(stage, alice, path) as watching:
            await watching.until(typed("job.done"))
            for other in (bob, carol):
                await attempt(stream(stage, other, path), typed("job.done"))
        await told.until(typed("job.done"))


async def quick_answers(stage: Stage) -> None:
    """The same quick question from several people."""
    alice, bob = stage.alice, stage.bob
    for person in (alice, bob):
        await post(stage, person, "/notes", text=f"landlord {person.secret}")
    for person in (alice, bob, alice):
        path = f"/quick?q={quote('Who is my landlord?')}"
        async with stream(stage, person, path) as one:
            await one.until(typed("quick.answer"))


async def summaries(stage: Stage) -> None:
    """A long and a short text are summarised in one batch."""
    alice, bob = stage.alice, stage.bob

    def summarised(
        person: Person, words: int, about: Person
    ) -> AbstractAsyncContextManager[Connection]:
        text = f"letter {about.secret}\n" + "and so on " * words
        return stage.events(person, "/summary", "POST", headers=bearer(person), json={"text": text})

    async with summarised(alice, 10, alice) as alone:
        await alone.until(typed("summary"))
    async with summarised(alice, 200, alice) as first:
        await first.until(typed("summary.queued"))
        async with summarised(bob, 5, bob) as second:
            await second.until(typed("summary"))
            await first.until(typed("summary"))


async def notes(stage: Stage) -> None:
    """Everybody is told of their own notes; two are of one tenant."""
    people = [stage.alice, stage.bob, stage.carol]
    async with AsyncExitStack() as stack:
        for person in people:
            await stack.enter_async_context(stream(stage, person, "/notifications"))
        for number in (1, 2):
            for person in people:
                await post(stage, person, "/notes", text=f"note {number} {person.secret}")


async def digests(stage: Stage) -> None:
    """Staff send out the digests of their tenant, and have their own notifications open."""
    people = [stage.alice, stage.carol, stage.erin]
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(stream(stage, stage.grace, "/notifications"))
        for person in people:
            one = await stack.enter_async_context(stream(stage, person, "/notifications"))
            await post(stage, person, "/notes", text=f"week {person.secret}")
            await one.until(typed("note.saved"))
        await post(stage, stage.grace, "/digests")


# -- nobody is wronged by these ------------------------------------------------------------------


async def team_activity(stage: Stage) -> None:
    """A message that lists everybody of the team goes to everybody of the team."""
    people = [stage.alice, stage.carol, stage.erin, stage.bob, stage.dave]
    async with AsyncExitStack() as stack:
        told = [
            await stack.enter_async_context(stream(stage, one, "/notifications")) for one in people
        ]
        for person in people:
            await post(stage, person, "/notes", text=f"mine {person.secret}")
        for staff in (stage.grace, stage.heidi):
            await post(stage, staff, "/team-activity")
        for one in told:
            await one.until(typed("team.activity"))


async def support_exports(stage: Stage) -> None:
    """Support exports other people's accounts and follows the progress; people export theirs."""
    grace, alice, bob = stage.grace, stage.alice, stage.bob
    async with (
        stream(stage, grace, "/notifications") as desk,
        stream(stage, alice, "/notifications") as mine,
    ):
        for subject in (alice, bob):
            job = await post(
                stage, grace, "/exports", title="request under article 15", subject=subject.email
            )
            async with stream(stage, grace, f"/jobs/{job['job_id']}/events") as one:
                await one.until(typed("job.done"))
        await post(stage, alice, "/exports", title=f"mine {alice.secret}")
        await mine.until(typed("job.done"))
        await desk.until(typed("job.done"), 2)


async def replays(stage: Stage) -> None:
    """Browsers lose the stream, come back with Last-Event-ID and get what they missed."""
    alice, bob = stage.alice, stage.bob
    seen = {}
    for person in (alice, bob):
        async with stream(stage, person, "/notifications") as one:
            await post(stage, person, "/notes", text=f"online {person.secret}")
            (saved,) = await one.until(typed("note.saved"))
            seen[person.name] = str(saved["id"])
    for number in (1, 2, 3):
        for person in (bob, alice):
            await post(stage, person, "/notes", text=f"offline {number} {person.secret}")
    async with (
        stream(stage, alice, "/notifications", **{"Last-Event-ID": seen[alice.name]}) as first,
        stream(stage, bob, "/notifications", **{"Last-Event-ID": seen[bob.name]}) as second,
    ):
        await first.until(typed("note.saved"), 3)
        await second.until(typed("note.saved"), 3)


async def typed_addresses(stage: Stage) -> None:
    """Tasks are assigned to addresses as people type them."""
    alice, bob, dave = stage.alice, stage.bob, stage.dave
    async with (
        stream(stage, alice, "/notifications") as first,
        stream(stage, bob, "/notifications") as second,
    ):
        for person in (alice, bob):
            for written in (person.email, person.email.upper(), person.email.title()):
                await post(stage, dave, "/tasks", assignee=written, title="water the plants")
        await first.until(typed("task"), 3)
        await second.until(typed("task"), 3)


async def boards(stage: Stage) -> None:
    """A dashboard its owner shares with a few people, who all change it."""
    owner, others = stage.alice, [stage.bob, stage.carol]
    board = (
        await post(stage, owner, "/boards", name="house", members=[one.email for one in others])
    )["board_id"]
    own = (await post(stage, stage.dave, "/boards", name="alone", members=[]))["board_id"]
    async with AsyncExitStack() as stack:
        shown = [
            await stack.enter_async_context(stream(stage, one, f"/boards/{board}/stream"))
            for one in (owner, *others)
        ]
        alone = await stack.enter_async_context(stream(stage, stage.dave, f"/boards/{own}/stream"))
        for value, person in enumerate((owner, *others, owner)):
            await post(stage, person, f"/boards/{board}/widgets", label="chores", value=value)
        await post(stage, stage.dave, f"/boards/{own}/widgets", label="books", value=7)
        await alone.until(typed("board.widget"))
        for one in shown:
            await one.until(typed("board.widget"), 4)
