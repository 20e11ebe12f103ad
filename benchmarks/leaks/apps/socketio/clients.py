# SPDX-License-Identifier: Apache-2.0
"""Who does what in the lobby."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import socketio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from ...actors import Connection, Stage
    from ...people import Person


class Client:
    """One Socket.IO connection; what comes is written down as [event, data]."""

    def __init__(self, journal: Connection, namespace: str) -> None:
        self.journal = journal
        self.namespace = namespace
        self.sio = socketio.AsyncClient(reconnection=False)
        self.sio.on("*", self._came, namespace=namespace)

    async def _came(self, event: str, *data: Any) -> None:
        self.journal.took(json.dumps([event, data[0] if data else None]))

    async def emit(self, event: str, **data: Any) -> None:
        await self.sio.emit(event, data, namespace=self.namespace)

    async def until(self, event: str, count: int = 1) -> Any:
        """The data of the last of the first so many such events."""
        found = await self.journal.until(named(event), count)
        return found[-1][1]

    def count(self, event: str) -> int:
        return sum(json.loads(one)[0] == event for one in self.journal.messages)

    async def ask(self, event: str, answer: str, **data: Any) -> Any:
        """Emit, and wait for the next such answer."""
        before = self.count(answer)
        await self.emit(event, **data)
        return await self.until(answer, before + 1)


def named(*events: str) -> Callable[[Any], bool]:
    return lambda message: message[0] in events


@contextlib.asynccontextmanager
async def online(
    stage: Stage, person: Person, namespace: str = "/", program: str = "web"
) -> AsyncIterator[Client]:
    client = Client(stage.connection(person), namespace)
    await client.sio.connect(
        stage.http,
        auth={"token": person.token, "client": program},
        transports=["websocket"],
        namespaces=[namespace],
    )
    if namespace == "/":
        await client.until("welcome")
    try:
        yield client
        await stage.quiet()
    finally:
        await client.sio.disconnect()


async def later_login(stage: Stage) -> None:
    """One has been online for a while when another comes; both look at their notes."""
    async with online(stage, stage.alice) as alice:
        await alice.ask("note:add", "note:ok", text=f"safe: {stage.alice.secret}")
        await alice.ask("note:list", "note:list")
        async with online(stage, stage.bob) as bob:
            await bob.ask("note:add", "note:ok", text=f"gate: {stage.bob.secret}")
            await bob.ask("note:list", "note:list")
            await alice.ask("note:list", "note:list")


async def devices(stage: Stage) -> None:
    """A note written on one device appears on the other."""
    async with (
        online(stage, stage.carol) as phone,
        online(stage, stage.carol, program="desktop") as desktop,
        online(stage, stage.dave) as dave,
    ):
        await dave.ask("join", "room:joined", room="kitchen")
        await phone.ask("note:add", "note:ok", text=f"therapy at nine, {stage.carol.secret}")
        await desktop.until("note:synced")
        await dave.ask("note:add", "note:ok", text=f"bonus talk, {stage.dave.secret}")
        await dave.ask("note:list", "note:list")


async def reminded(stage: Stage) -> None:
    async with (
        online(stage, stage.alice) as alice,
        online(stage, stage.erin) as erin,
        online(stage, stage.frank) as frank,
    ):
        await erin.ask("join", "room:joined", room="garden")
        await frank.ask("join", "room:joined", room="garden")
        await alice.ask("remind", "reminder", text=f"take the pills, {stage.alice.secret}")
        await frank.ask("say", "room:message", room="garden", text="who waters the plants?")


async def exports(stage: Stage) -> None:
    async with online(stage, stage.bob) as bob, online(stage, stage.carol) as carol:
        await bob.ask("note:add", "note:ok", text=f"offer of a competitor, {stage.bob.secret}")
        await carol.ask("note:add", "note:ok", text=f"scan result, {stage.carol.secret}")
        await bob.ask("export", "export:done")
        await carol.ask("note:list", "note:list")


async def accounts(stage: Stage) -> None:
    async with online(stage, stage.dave) as dave, online(stage, stage.erin) as erin:
        await dave.ask("account", "account:card")
        await erin.ask("account", "account:card")
        await dave.ask("account", "account:card")


async def demoted(stage: Stage) -> None:
    """A supporter changes jobs and stays connected."""
    async with (
        online(stage, stage.alice) as alice,
        online(stage, stage.heidi) as heidi,
        online(stage, stage.grace) as grace,
    ):
        await alice.ask("note:add", "note:ok", text=f"complaint, {stage.alice.secret}")
        await heidi.ask("staff:role", "staff:role", name=stage.grace.name, role="user")
        await grace.emit("staff:notes", name=stage.alice.name)
        await grace.journal.until(named("note:list", "failed"))
        await grace.ask("note:add", "note:ok", text=f"new desk, {stage.grace.secret}")


async def both_ask(stage: Stage) -> None:
    """One asks while the other's answer is under way."""
    async with (
        online(stage, stage.alice, "/agent") as alice,
        online(stage, stage.bob, "/agent") as bob,
    ):
        await alice.until("ready")
        await bob.until("ready")
        long = f"please look very carefully into the whole matter of {stage.alice.secret}"
        await alice.emit("ask", thread_id="a-1", text=long)
        await alice.until("agent_thinking")
        await bob.emit("ask", thread_id="b-1", text=f"and {stage.bob.secret}")
        await bob.journal.until(named("agent_completed"))


async def resumed_by_another(stage: Stage) -> None:
    async with (
        online(stage, stage.carol, "/agent") as carol,
        online(stage, stage.dave, "/agent") as dave,
    ):
        done = await carol.ask(
            "ask", "agent_completed", thread_id="c-1", text=f"claim {stage.carol.secret}"
        )
        await carol.emit("resume", run_id=done["run_id"])
        await carol.until("agent_completed", 2)
        await dave.ask("ask", "agent_completed", thread_id="d-1", text=f"visa {stage.dave.secret}")
        await dave.emit("resume", run_id=done["run_id"])
        await dave.journal.until(lambda one: one[0] == "failed" or one[1]["thread_id"] == "c-1")


async def lists_of_runs(stage: Stage) -> None:
    async with (
        online(stage, stage.erin, "/agent") as erin,
        online(stage, stage.frank, "/agent") as frank,
    ):
        await erin.ask("ask", "agent_completed", thread_id="e-1", text=f"loan {stage.erin.secret}")
        await erin.ask("runs", "runs")
        await frank.ask("ask", "agent_completed", thread_id="f-1", text=f"car {stage.frank.secret}")
        await frank.ask("runs", "runs")


async def receipts(stage: Stage) -> None:
    async with (
        online(stage, stage.alice) as alice,
        online(stage, stage.bob) as bob,
        online(stage, stage.carol) as carol,
    ):
        everybody = (alice, bob, carol)
        for client in everybody:
            await client.ask("join", "room:joined", room="team")
        for number in range(5):
            writer = everybody[number % 3]
            said = await writer.ask("say", "room:message", room="team", text=f"point {number}")
            for reader in everybody:
                await reader.until("room:message", number + 1)
                if reader is not writer:
                    await reader.emit("read", room="team", upto=said["id"])
        for client in everybody:
            await client.until("room:read", 10)


async def comings_and_goings(stage: Stage) -> None:
    """People come and leave, one by closing the window."""
    async with online(stage, stage.dave) as dave:
        await dave.ask("join", "room:joined", room="lounge")
        async with online(stage, stage.erin) as erin:
            await erin.ask("join", "room:joined", room="lounge")
            await dave.until("room:joined", 2)
            async with online(stage, stage.frank) as frank:
                await frank.ask("join", "room:joined", room="lounge")
                await dave.until("room:joined", 3)
            await dave.until("room:left")
            await erin.ask("leave", "room:left", room="lounge")
        await dave.until("room:left", 2)
        await dave.ask("say", "room:message", room="lounge", text="quiet here")


async def group_call(stage: Stage) -> None:
    """A mesh of three: everybody offers to everybody."""
    async with (
        online(stage, stage.alice) as alice,
        online(stage, stage.dave) as dave,
        online(stage, stage.erin) as erin,
    ):
        mesh = {stage.alice.name: alice, stage.dave.name: dave, stage.erin.name: erin}
        for caller in mesh:
            for callee in mesh:
                if caller < callee:
                    await mesh[caller].emit("signal", to=callee, kind="offer", body="v=0 o=- sdp")
                    await mesh[callee].emit("signal", to=caller, kind="answer", body="v=0 o=- sdp")
        for caller in mesh:
            for callee in mesh:
                if caller != callee:
                    await mesh[caller].emit("signal", to=callee, kind="candidate", body="udp 1 x")
        for client in mesh.values():
            await client.until("call:signal", 4)


async def bot_in_room(stage: Stage) -> None:
    async with online(stage, stage.bob) as bob, online(stage, stage.frank) as frank:
        await bob.ask("join", "room:joined", room="ops")
        await frank.ask("join", "room:joined", room="ops")
        for number in range(3):
            await bob.emit("say", room="ops", text=f"@deskbot restart worker {number}")
            await frank.until("room:message", 2 * number + 2)
        await bob.until("room:message", 6)


async def clock(stage: Stage) -> None:
    """The server's time, and messages with nothing in them."""
    async with online(stage, stage.alice) as alice, online(stage, stage.bob) as bob:
        await alice.emit("clock")
        await bob.emit("clock")
        await alice.until("heartbeat", 3)
        await bob.until("heartbeat", 3)
        await alice.ask("note:add", "note:ok", text=f"meter reading, {stage.alice.secret}")


async def game(stage: Stage) -> None:
    """Three players, sealed orders, whose turn it is told to all."""
    async with (
        online(stage, stage.carol, "/game") as carol,
        online(stage, stage.dave, "/game") as dave,
        online(stage, stage.frank, "/game") as frank,
    ):
        seats = [(stage.carol, carol), (stage.dave, dave), (stage.frank, frank)]
        for _, client in seats:
            await client.ask("sit", "game:players", table="7")
        for turn in range(6):
            person, client = seats[turn % 3]
            await client.emit("orders", table="7", orders=f"fleet to {person.secret}")
            for _, other in seats:
                await other.until("game:turn", turn + 1)
        await dave.ask("orders", "game:refused", table="7", orders="not yet")
