# SPDX-License-Identifier: Apache-2.0
"""The desk: orders and their fills, tickets, reminders, reports."""

import asyncio
import io
import itertools
import time
import uuid
from dataclasses import dataclass, field

from hub import Hub
from traders import TRADERS, Trader

_order_numbers = itertools.count(70_001)
_counterparties = itertools.cycle((4711, 4712, 4780, 4801))  # the exchange's own numbers


@dataclass
class Order:
    trader_id: str
    symbol: str
    side: str
    qty: int
    account: str
    note: str
    limit: float | None = None
    id: int = field(default_factory=lambda: next(_order_numbers))
    price: float | None = None
    counterparty: int | None = None

    def view(self) -> dict:
        """As the exchange's protocol has it: user_id is the other side of the trade."""
        return {
            "order_id": self.id,
            "symbol": self.symbol,
            "side": self.side,
            "qty": self.qty,
            "price": self.price,
            "user_id": self.counterparty,
            "note": self.note,
        }


class Ticket:
    """What a trader has typed into the order form so far."""

    def __init__(self, trader: Trader):
        self.trader = trader
        self.fields: dict = {}

    def edit(self, **fields) -> dict:
        self.fields.setdefault("ref", uuid.uuid4().hex[:12])
        self.fields.update(fields)
        return self.fields


def account_topic(trader_id: str, account: str) -> str:
    return f"account.{trader_id}.{account}"


class Desk:
    def __init__(self, hub: Hub):
        self.hub = hub
        self.orders: dict[int, Order] = {}
        self.prices: dict[str, float] = {}
        self._incoming: asyncio.Queue[Order] = asyncio.Queue()
        self._resting: list[Order] = []
        self._engine: asyncio.Task | None = None
        self._pnl: dict[str, int] = {}

    # -- orders --------------------------------------------------------------------------------

    async def place(self, trader: Trader, wanted: dict) -> Order:
        order = Order(
            trader.id,
            wanted["symbol"],
            wanted.get("side", "buy"),
            int(wanted.get("qty", 1)),
            wanted.get("account", "main"),
            wanted.get("note", ""),
            wanted.get("limit"),
        )
        self.orders[order.id] = order
        if self._engine is None:
            self._engine = asyncio.create_task(self._match())
        await self._incoming.put(order)
        return order

    async def _match(self) -> None:
        """The matching engine: one order after the other."""
        while True:
            order = await self._incoming.get()
            if order.limit is not None and self.prices.get(order.symbol) != order.limit:
                self._resting.append(order)
                continue
            await asyncio.sleep(0.01)
            order.price = order.limit or self.prices.get(order.symbol, 100.0)
            order.counterparty = next(_counterparties)
            await self.settle(order)

    async def settle(self, order: Order) -> None:
        await self.hub.emit("order.filled", order.view(), to=order.trader_id)
        await self.hub.publish(
            account_topic(order.trader_id, order.account),
            "account.fill",
            {"order_id": order.id, "account": order.account, "note": order.note},
        )
        await self.hub.publish(
            f"trades.{order.symbol}",
            "trade",
            {"symbol": order.symbol, "price": order.price, "user_id": order.counterparty},
        )
        self._pnl[order.trader_id] = self._pnl.get(order.trader_id, 0) + order.qty
        await self.hub.publish("leaderboard", "leaderboard", self.leaderboard())

    async def tick(self, symbol: str, price: float) -> None:
        self.prices[symbol] = price
        waiting = [o for o in self._resting if o.symbol == symbol and o.limit == price]
        for order in waiting:
            self._resting.remove(order)
            await self._incoming.put(order)
        await self.hub.publish(f"trades.{symbol}", "tick", {"symbol": symbol, "price": price})

    def leaderboard(self) -> dict:
        ranked = sorted(self._pnl.items(), key=lambda one: -one[1])
        rows = [
            {"trader_id": trader, "name": TRADERS[trader].name, "points": points}
            for trader, points in ranked
        ]
        return {"trader": rows[0]["trader_id"], "rows": rows}

    # -- backtests -----------------------------------------------------------------------------

    def backtest(self, trader: Trader, strategy: str) -> str:
        run_id = uuid.uuid4().hex
        loop = asyncio.get_running_loop()
        loop.run_in_executor(None, self._backtest, loop, run_id, trader.id, strategy)
        return run_id

    def _backtest(self, loop, run_id: str, trader_id: str, strategy: str) -> None:
        time.sleep(0.02)  # numbers are crunched
        result = {"run_id": run_id, "requested_by": trader_id, "strategy": strategy, "sharpe": 1.1}
        asyncio.run_coroutine_threadsafe(
            self.hub.emit("backtest.done", result, to=trader_id), loop
        ).result(5)


class Reminders:
    """Traders ask to be told; the scheduler tells them."""

    def __init__(self, hub: Hub):
        self.hub = hub
        self._due: list[tuple[float, str, str]] = []

    def add(self, trader: Trader, text: str, seconds: float) -> None:
        self._due.append((time.monotonic() + seconds, trader.id, text))

    async def run(self) -> None:
        while True:
            await asyncio.sleep(0.03)
            now = time.monotonic()
            ready = [one for one in self._due if one[0] <= now]
            self._due = [one for one in self._due if one[0] > now]
            for _, trader_id, text in ready:
                await self.hub.emit("reminder", {"trader": trader_id, "text": text}, to=trader_id)


class Reports:
    def __init__(self, desk: Desk):
        self.desk = desk
        self._statements: dict[object, str] = {}
        self._scratch = io.StringIO()

    def statement(self, trader: Trader, month: str) -> str:
        """Closed months do not change any more: computed once."""
        key = (trader.id, month)
        if key not in self._statements:
            self._statements[key] = f"Statement {month}\n{self._lines(trader)}"
        return self._statements[key]

    def risk(self, trader: Trader) -> str:
        out = self._scratch
        out.seek(0)
        out.truncate()
        out.write("Open risk\n")
        out.write(self._lines(trader))
        return out.getvalue()

    def _lines(self, trader: Trader) -> str:
        return "".join(
            f"{o.symbol} {o.side} {o.qty}: {o.note}\n"
            for o in self.desk.orders.values()
            if o.trader_id == trader.id
        )
