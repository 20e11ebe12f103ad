# SPDX-License-Identifier: Apache-2.0
"""What traders, staff and the price feed do on the desk."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from benchmarks.leaks.actors import Connection, Stage
    from benchmarks.leaks.people import Person

FEED = "/ws?token=feed-7f3a-internal"


def tab(
    stage: Stage, person: Person, device: str = "browser"
) -> AbstractAsyncContextManager[Connection]:
    """One browser tab."""
    return stage.websocket(person, f"/ws?token={person.token}&device={device}")


def typed(*names: str) -> Callable[[Any], bool]:
    """Messages of these types."""
    return lambda message: message["type"] in names


def about(kind: str, person: Person) -> Callable[[Any], bool]:
    """Messages of this type with this person's data."""
    return lambda message: message["type"] == kind and person.secret in str(message)


async def order(connection: Connection, note: str, number: int = 1, **more: Any) -> None:
    """Place an order; it is the `number`-th of this tab."""
    await connection.send(
        {"action": "order.place", "symbol": "ACME", "qty": 3, "note": note, **more}
    )
    await connection.until(typed("order.accepted"), number)


async def join(connection: Connection, *topics: str) -> None:
    """Subscribe, and wait for the acknowledgements."""
    for topic in topics:
        await connection.send({"action": "topic.join", "topic": topic})
    await connection.until(typed("topic.joined"), len(topics))


async def paused_tabs(stage: Stage) -> None:
    """Two traders have tabs in the background while reminders come."""
    alice, bob = stage.alice, stage.bob
    async with (
        tab(stage, alice) as front,
        tab(stage, alice) as back,
        tab(stage, bob) as other,
    ):
        await other.send({"action": "reminder.set", "text": f"lunch {bob.secret}"})
        await other.until(typed("reminder"))
        for one in (back, other):
            await one.send({"action": "pause"})
            await one.until(typed("paused"))
        await front.send({"action": "reminder.set", "text": f"call the bank {alice.secret}"})
        await front.until(typed("reminder"))
        await other.send({"action": "resume"})
        await other.until(typed("resumed"))
        await back.send({"action": "resume"})
        await back.until(typed("resumed"))


async def tickets(stage: Stage) -> None:
    """Two traders fill in order forms."""
    alice, bob = stage.alice, stage.bob
    async with tab(stage, alice) as first, tab(stage, bob) as second:
        await first.send({"action": "ticket.edit", "symbol": "ACME", "note": f"for {alice.secret}"})
        await first.until(typed("ticket"))
        await second.send({"action": "ticket.show"})
        await second.until(typed("ticket"))
        await second.send({"action": "ticket.edit", "symbol": "GLBX", "note": f"by {bob.secret}"})
        await second.until(typed("ticket"), 2)
        await first.send({"action": "ticket.show"})
        await first.until(typed("ticket"), 2)


async def away(stage: Stage) -> None:
    """A limit order fills while its trader's train is in a tunnel; others come and go."""
    alice, bob, dave = stage.alice, stage.bob, stage.dave
    async with (
        tab(stage, dave, "phone") as watcher,
        stage.websocket(None, FEED) as feed,
    ):
        await join(watcher, "trades.ACME")
        async with tab(stage, alice, "desktop") as first:
            await order(first, f"client {alice.secret}", limit=90.0)
        while (await stage.request("GET", "/healthz")).json()["sessions"] > 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await feed.send({"action": "tick", "symbol": "ACME", "price": 90.0})
        await watcher.until(typed("trade"))
        async with tab(stage, bob, "desktop") as second:
            await second.until(typed("ready"))
            await order(second, f"own {bob.secret}", symbol="GLBX")
            await second.until(about("order.filled", bob))
        async with tab(stage, alice, "desktop") as again:
            await again.until(typed("ready"))


async def order_details(stage: Stage) -> None:
    """Order numbers are consecutive; somebody looks at the one before theirs."""
    alice, bob = stage.alice, stage.bob
    async with tab(stage, alice) as first, tab(stage, bob) as second:
        await order(first, f"block trade {alice.secret}")
        await order(second, f"hedge {bob.secret}")
        (accepted,) = await second.until(typed("order.accepted"))
        number = accepted["data"]["order_id"]
        for which in (number, number - 1):
            await second.send({"action": "order.get", "order_id": which})
        await second.until(typed("order.detail", "error"), 2)
        await first.send({"action": "order.get", "order_id": number - 1})
        await first.until(typed("order.detail"))


async def accounts(stage: Stage) -> None:
    """Everybody's first account is called main; they watch it."""
    alice, bob = stage.alice, stage.bob
    async with tab(stage, alice) as first, tab(stage, bob) as second:
        await join(first, "account.main", "trades.ACME")
        await join(second, "account.main")
        await order(first, f"pension {alice.secret}")
        await first.until(typed("account.fill"))
        await order(second, f"savings {bob.secret}")
        await second.until(about("account.fill", bob))


async def balances(stage: Stage) -> None:
    """A full balance takes long: its trader gives up, others ask theirs."""
    alice, bob, carol = stage.alice, stage.bob, stage.carol
    async with (
        tab(stage, alice) as first,
        tab(stage, bob) as second,
        tab(stage, carol) as third,
    ):
        await third.send({"action": "balance"})
        await third.until(typed("balance"))
        await first.send({"action": "balance", "full": True})
        await first.until(typed("balance.pending"))
        await first.send({"action": "cancel"})
        await first.until(typed("cancelled"))
        await second.send({"action": "balance"})
        await second.until(typed("balance"))


async def statements(stage: Stage) -> None:
    """Statements of the month, by several traders and twice by one."""
    alice, bob = stage.alice, stage.bob
    async with tab(stage, alice) as first, tab(stage, bob) as second:
        await order(first, f"dowry {alice.secret}")
        await order(second, f"boat {bob.secret}")
        for one, times in ((first, 1), (second, 1), (first, 2)):
            await one.send({"action": "statement", "month": "2026-10"})
            await one.until(typed("statement"), times)


async def risk_reports(stage: Stage) -> None:
    """Reports of different lengths, one after the other."""
    alice, bob = stage.alice, stage.bob
    async with tab(stage, alice) as first, tab(stage, bob) as second:
        for number in (1, 2, 3):
            await order(first, f"leg {number} {alice.secret}", number)
        await order(second, f"leg 1 {bob.secret}")
        for one, times in ((first, 1), (second, 1), (first, 2)):
            await one.send({"action": "risk"})
            await one.until(typed("risk"), times)


async def fills(stage: Stage) -> None:
    """Three traders trade; each is told of their own fills."""
    alice, bob, carol = stage.alice, stage.bob, stage.carol
    async with (
        tab(stage, alice) as first,
        tab(stage, bob) as second,
        tab(stage, carol) as third,
    ):
        await order(first, f"opening {alice.secret}")
        await first.until(typed("order.filled"))
        await order(second, f"quietly {bob.secret}")
        await order(third, f"client {carol.secret}", side="sell")
        await order(first, f"closing {alice.secret}", 2)


async def backtests(stage: Stage) -> None:
    """Backtests run in threads; the one who asked gets the result."""
    alice, bob = stage.alice, stage.bob
    async with tab(stage, alice) as first, tab(stage, bob) as second:
        for one, person in ((first, alice), (second, bob)):
            await one.send({"action": "backtest", "strategy": f"momentum {person.secret}"})
            await one.until(about("backtest.done", person))


async def desk_day(stage: Stage) -> None:
    """Two of one firm and one of another, reminders and fills."""
    alice, bob, carol = stage.alice, stage.bob, stage.carol
    async with (
        tab(stage, alice) as first,
        tab(stage, bob) as second,
        tab(stage, carol) as third,
    ):
        for one, person in ((first, alice), (second, bob), (third, carol)):
            await one.send({"action": "reminder.set", "text": f"doctor {person.secret}"})
            await one.until(about("reminder", person))
            await order(one, f"for {person.secret}")
            await one.until(about("order.filled", person))


# -- nobody is wronged by these ------------------------------------------------------------------


async def announcements(stage: Stage) -> None:
    """Staff of each firm announce things to everybody of that firm."""
    people = [stage.alice, stage.bob, stage.carol, stage.dave, stage.grace, stage.heidi]
    async with AsyncExitStack() as stack:
        tabs = [await stack.enter_async_context(tab(stage, one)) for one in people]
        for number in (1, 2, 3):
            for staff in (stage.grace, stage.heidi):
                await stage.request(
                    "POST",
                    "/announcements",
                    json={"text": f"fire drill number {number}"},
                    headers={"Authorization": f"Bearer {staff.token}"},
                )
        for one in tabs:
            await one.until(typed("announcement"), 3)


async def counterparties(stage: Stage) -> None:
    """Orders and trades name the other side under user_id, as the exchange does."""
    people = [stage.alice, stage.bob, stage.carol]
    async with AsyncExitStack() as stack:
        tabs = [await stack.enter_async_context(tab(stage, one)) for one in people]
        for number in (1, 2, 3):
            for one, person in zip(tabs, people, strict=True):
                await order(one, f"note {person.secret}", number)
        for one in tabs:
            await one.until(typed("order.filled"), 3)
            (accepted,) = await one.until(typed("order.accepted"))
            await one.send({"action": "order.get", "order_id": accepted["data"]["order_id"]})
            await one.until(typed("order.detail"))


async def tape(stage: Stage) -> None:
    """Several watch the public tape of a symbol while others trade it."""
    async with (
        tab(stage, stage.alice) as first,
        tab(stage, stage.bob) as second,
        tab(stage, stage.dave) as third,
    ):
        await join(first, "trades.ACME", "trades.GLBX")
        await join(second, "trades.ACME")
        for number in (1, 2):
            await order(third, "plain", number)
            await order(second, "plain", number, symbol="GLBX")
        await first.until(typed("trade"), 4)
        await second.until(typed("trade"), 2)


async def price_feed(stage: Stage) -> None:
    """The feed's service account sends prices and hears which trader wants which symbol."""
    async with (
        stage.websocket(None, FEED) as feed,
        tab(stage, stage.alice) as first,
        tab(stage, stage.bob) as second,
    ):
        await join(first, "trades.ACME")
        await join(second, "trades.ACME", "trades.GLBX")
        await feed.until(typed("quote.demand"), 3)
        for price in (101.0, 102.5, 99.0):
            await feed.send({"action": "tick", "symbol": "ACME", "price": price})
        await first.until(typed("tick"), 3)
        await second.until(typed("tick"), 3)


async def leaders(stage: Stage) -> None:
    """A leaderboard names the leader and everybody who trades."""
    people = [stage.alice, stage.bob, stage.carol, stage.dave]
    async with AsyncExitStack() as stack:
        tabs = [await stack.enter_async_context(tab(stage, one)) for one in people]
        for one in tabs:
            await join(one, "leaderboard")
        for number, one in enumerate(tabs, 1):
            await order(one, "contest", qty=number)
            for each in tabs:
                await each.until(typed("leaderboard"), number)


async def scheduled(stage: Stage) -> None:
    """Reminders come from the scheduler, long after the request that asked for them."""
    people = [stage.alice, stage.bob, stage.carol]
    async with AsyncExitStack() as stack:
        tabs = [await stack.enter_async_context(tab(stage, one)) for one in people]
        for one, person in zip(tabs, people, strict=True):
            for seconds in (0.2, 0.05):
                await one.send(
                    {
                        "action": "reminder.set",
                        "text": f"in {seconds}: {person.secret}",
                        "in": seconds,
                    }
                )
        for one in tabs:
            await one.until(typed("reminder"), 2)


async def storm(stage: Stage) -> None:
    """The proxy restarts: everybody's tabs come back at once, some on the same device."""
    people = [stage.alice, stage.bob, stage.carol, stage.dave, stage.erin]

    async def one_tab(person: Person, number: int) -> None:
        async with tab(stage, person, f"tab{number % 2}") as one:
            await one.until(typed("ready"))
            await order(one, f"again {person.secret}")
            await one.until(typed("order.filled"))

    for _ in range(3):
        await asyncio.gather(*(one_tab(person, number) for person in people for number in range(3)))
