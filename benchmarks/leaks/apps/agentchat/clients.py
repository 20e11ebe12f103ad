# SPDX-License-Identifier: Apache-2.0
"""Who asks the agents what; every scenario works with and without any of the defects."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from benchmarks.leaks.actors import Connection, Stage
    from benchmarks.leaks.people import Person


@asynccontextmanager
async def session(stage: Stage, person: Person, version: int = 1) -> AsyncIterator[Connection]:
    """Log in, as a browser (version 2) or as the CLI does, and wait until the server is ready."""
    options: dict[str, Any] = (
        {"subprotocols": ["jwt", person.token]}
        if version == 2
        else {"additional_headers": {"Authorization": f"Bearer {person.token}"}}
    )
    async with stage.websocket(person, f"/ws/chat?v={version}", **options) as connection:
        await connection.until(named("session_ready"))
        yield connection


async def open_all(
    stack: AsyncExitStack, stage: Stage, *people: Person, version: int = 1
) -> list[Connection]:
    """Several people come online, one after another."""
    return [await stack.enter_async_context(session(stage, one, version)) for one in people]


def named(*names: str) -> Callable[[Any], bool]:
    """A predicate for until(): the event's name, in either generation's field."""
    return lambda m: (m.get("type") or m.get("event")) in names


def done(run_id: str) -> Callable[[Any], bool]:
    """The run's agent_completed."""

    def wanted(message: Any) -> bool:
        run = message.get("run_id") or message.get("runId")
        return bool(run == run_id and named("agent_completed")(message))

    return wanted


async def anywhere(wanted: Callable[[Any], bool], *connections: Connection) -> None:
    """Until one of them has it, whichever."""
    waiting = [asyncio.create_task(one.until(wanted)) for one in connections]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def chat(
    connection: Connection, text: str, run_id: str, *others: Connection, **more: Any
) -> None:
    """One run to its end, wherever its end is shown."""
    await connection.send({"type": "chat", "text": text, "run_id": run_id, **more})
    await anywhere(done(run_id), connection, *others)


async def two_chats(stage: Stage, version: int) -> None:
    """Three people talk with their assistants, then the first two once more."""
    async with AsyncExitStack() as stack:
        people = (stage.alice, stage.bob, stage.carol)
        everybody = await open_all(stack, stage, *people, version=version)
        for number, (one, person) in enumerate(zip(everybody, people, strict=True)):
            await chat(one, f"my plan is {person.secret}", f"plan-{number}", *everybody)
        for number, (one, person) in enumerate(zip(everybody[:2], people, strict=False)):
            await chat(one, f"is {person.secret} wise?", f"again-{number}", *everybody)


async def web_chats(stage: Stage) -> None:
    """In the browser."""
    await two_chats(stage, 2)


async def cli_chats(stage: Stage) -> None:
    """On the command line."""
    await two_chats(stage, 1)


async def same_run_name(stage: Stage) -> None:
    """Alice and Bob both call their first run run-1, and both reload the page."""
    async with AsyncExitStack() as stack:
        (alice,) = await open_all(stack, stage, stage.alice, version=2)
        await chat(alice, f"write to {stage.alice.secret}", "run-1")
        async with session(stage, stage.bob, 2) as bob:
            await chat(bob, f"translate {stage.bob.secret}", "run-1", alice)
        async with session(stage, stage.bob, 2) as bob:
            await bob.send({"type": "resume_run", "run_id": "run-1"})
            await bob.until(named("agent_completed"))
        await alice.send({"type": "resume_run", "run_id": "run-1", "after": 1})
        await alice.until(lambda m: m.get("replayed") and done("run-1")(m))


async def foreign_thread(stage: Stage) -> None:
    """Bob reads his own history, then asks for that of Alice's thread."""
    async with AsyncExitStack() as stack:
        alice, bob = await open_all(stack, stage, stage.alice, stage.bob)
        (hers,) = await alice.until(named("session_ready"))
        (his,) = await bob.until(named("session_ready"))
        await chat(alice, f"a letter to {stage.alice.secret}", "letter")
        await chat(bob, f"a poem for {stage.bob.secret}", "poem")
        for ready in (his, hers):
            await bob.send({"type": "get_history", "thread_id": ready["thread_id"]})
        await bob.until(named("thread_history", "error"), 2)
        await alice.send({"type": "get_history", "thread_id": hers["thread_id"]})
        await alice.until(named("thread_history"))


async def foreign_run(stage: Stage) -> None:
    """Bob watches a run of his own from a second tab, then tries one of Alice's."""
    async with AsyncExitStack() as stack:
        alice, bob = await open_all(stack, stage, stage.alice, stage.bob)
        await chat(alice, f"divorce and {stage.alice.secret}", "run-a7")
        await chat(bob, f"gardening with {stage.bob.secret}", "run-b3")
        for person, run_id in ((stage.bob, "run-b3"), (stage.alice, "run-a7")):
            watch = {"type": "watch_run", "user_id": person.subject, "run_id": run_id}
            await bob.send(watch)
        await bob.until(lambda m: named("error")(m) or m.get("run_id") == "run-a7")
        await chat(alice, "thank you", "run-a8")


async def same_question(stage: Stage) -> None:
    """Both have documents about the same thing and look for it."""
    async with AsyncExitStack() as stack:
        people = (stage.alice, stage.bob)
        both = await open_all(stack, stage, *people)
        for one, person in zip(both, people, strict=True):
            await one.send({"type": "upload", "text": f"Contract: {person.secret}"})
            await one.until(named("uploaded"))
        for one, run_id in zip(both, ("find-a", "find-b"), strict=True):
            await chat(one, "find contract", run_id)


async def stopped_run(stage: Stage) -> None:
    """Alice stops a long run; Bob and she ask something else."""
    async with AsyncExitStack() as stack:
        alice, bob = await open_all(stack, stage, stage.alice, stage.bob)
        text = f"please summarise {stage.alice.secret} " + "and so on " * 15
        await alice.send({"type": "chat", "text": text, "run_id": "long"})
        await alice.until(named("agent_thinking"))
        await alice.send({"type": "stop_run", "run_id": "long"})
        await alice.until(named("agent_cancelled"))
        await chat(bob, f"weather for {stage.bob.secret}", "weather")
        await chat(bob, "and tomorrow?", "tomorrow")


async def documents(stage: Stage) -> None:
    """In the browser: each looks something up in their own documents, one after another."""
    async with AsyncExitStack() as stack:
        people = (stage.alice, stage.bob, stage.carol)
        everybody = await open_all(stack, stage, *people, version=2)
        for number, (one, person) in enumerate(zip(everybody, people, strict=True)):
            text = f"Insurance {number}: {person.secret}"
            await one.send({"type": "upload", "text": text})
            await one.until(named("uploaded"))
            await chat(one, f"find insurance {number}", f"look-{number}", *everybody)


async def approvals(stage: Stage) -> None:
    """Alice's run waits for her approval while Bob asks something."""
    async with AsyncExitStack() as stack:
        alice, bob = await open_all(stack, stage, stage.alice, stage.bob)
        draft = {"type": "chat", "text": f"draft {stage.alice.secret}", "run_id": "draft-1"}
        await alice.send(draft)
        await alice.until(named("tool_executing"))
        await chat(bob, f"a cake with {stage.bob.secret}", "cake", alice)
        await alice.send({"type": "approve", "run_id": "draft-1"})
        await anywhere(done("draft-1"), alice, bob)
        await chat(bob, "with less sugar", "cake-2", alice)


async def exports(stage: Stage) -> None:
    """Alice and Bob export their threads; Carol is online."""
    async with AsyncExitStack() as stack:
        people = (stage.alice, stage.bob, stage.carol)
        alice, bob, carol = await open_all(stack, stage, *people)
        await chat(alice, f"dear diary {stage.alice.secret}", "diary-a")
        await chat(bob, f"dear diary {stage.bob.secret}", "diary-b")
        for one in (alice, bob):
            await one.send({"type": "export"})
        for one in (alice, bob):
            await one.until(named("job_done"))
        await chat(carol, f"hello, I am {stage.carol.secret}", "hello-c")


async def team(alice: Connection, *others: Person) -> str:
    """Alice opens a thread for a team; its id."""
    members = [person.subject for person in others]
    await alice.send({"type": "create_thread", "title": "Launch", "members": members})
    (created,) = await alice.until(named("thread_created"))
    return str(created["thread_id"])


async def team_suggestions(stage: Stage) -> None:
    """Alice and Carol share a thread; each is given hints from what they had remembered."""
    async with AsyncExitStack() as stack:
        people = (stage.alice, stage.carol)
        alice, carol = await open_all(stack, stage, *people)
        for one, person in ((alice, stage.alice), (carol, stage.carol)):
            await one.send({"type": "remember", "text": f"I earn {person.secret}"})
            await one.until(named("remembered"))
        thread_id = await team(alice, stage.carol)
        for one, run_id in ((alice, "team-a"), (carol, "team-c")):
            await chat(one, "what is left before the launch?", run_id, thread_id=thread_id)
            await one.until(named("suggestion"))


# --- traffic nobody is wronged by -----------------------------------------------------------


async def assistant(stage: Stage) -> None:
    """Two private conversations in which the assistant is the author of every second line."""
    async with AsyncExitStack() as stack:
        people = (stage.alice, stage.bob)
        both = await open_all(stack, stage, *people)
        for turn in ("first", "second"):
            for one, person in zip(both, people, strict=True):
                await chat(one, f"{turn} of {person.secret}", f"{turn}-{person.name}")
        for one in both:
            await one.until(lambda m: m["author"]["role"] == "assistant", 2)


async def resumed(stage: Stage) -> None:
    """Alice loses her connection while a run waits for her, comes back twice and resumes it."""
    async with AsyncExitStack() as stack:
        (bob,) = await open_all(stack, stage, stage.bob)
        async with session(stage, stage.alice) as alice:
            text = f"draft a mail about {stage.alice.secret}"
            await alice.send({"type": "chat", "text": text, "run_id": "mail"})
            await alice.until(named("tool_executing"))
        await chat(bob, f"meanwhile {stage.bob.secret}", "meanwhile")
        async with session(stage, stage.alice) as alice:
            await alice.send({"type": "resume_run", "run_id": "mail"})
            await alice.until(named("tool_executing"))
            await alice.send({"type": "approve", "run_id": "mail"})
            await alice.until(done("mail"))
        async with session(stage, stage.alice, 2) as alice:
            await alice.send({"type": "resume_run", "run_id": "mail"})
            await alice.until(done("mail"))


async def team_thread(stage: Stage) -> None:
    """Alice and Carol see each other's lines and runs in their thread, in both generations."""
    async with AsyncExitStack() as stack:
        alice, bob = await open_all(stack, stage, stage.alice, stage.bob)
        (carol,) = await open_all(stack, stage, stage.carol, version=2)
        thread_id = await team(alice, stage.carol)
        await chat(alice, "what do we launch?", "team-1", thread_id=thread_id)
        await carol.until(done("team-1"))
        await chat(carol, "and when?", "team-2", thread_id=thread_id)
        await alice.until(done("team-2"))
        await chat(carol, f"only for me: {stage.carol.secret}", "mine-c")
        await chat(bob, f"and for me: {stage.bob.secret}", "mine-b")


async def support(stage: Stage) -> None:
    """The support desk watches Alice's run, first what has been, then live."""
    async with AsyncExitStack() as stack:
        people = (stage.alice, stage.bob, stage.grace)
        alice, bob, grace = await open_all(stack, stage, *people)
        await alice.send({"type": "chat", "text": "draft it, please", "run_id": "stuck"})
        await alice.until(named("tool_executing"))
        watch = {"type": "watch_run", "user_id": stage.alice.subject, "run_id": "stuck"}
        await grace.send(watch)
        await grace.until(named("tool_executing"))
        await alice.send({"type": "approve", "run_id": "stuck"})
        await grace.until(done("stuck"))
        await chat(bob, f"private: {stage.bob.secret}", "private")
