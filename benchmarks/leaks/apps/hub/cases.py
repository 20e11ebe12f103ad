# SPDX-License-Identifier: Apache-2.0
"""The trading desk's cases."""

from __future__ import annotations

from benchmarks.leaks.case import Benign, Defect, Swap

from . import clients

USERS_BY = "uuid"

DEFECTS = [
    Defect(
        "held-frames-default",
        "shared_state",
        "the list of frames held for a background tab is a mutable default argument",
        "mem0ai/mem0#5301",
        "routing",
        (
            Swap("hub.py", "held: list[str] | None = None,", "held: list[str] = [],"),
            Swap("hub.py", "self.held = held if held is not None else []", "self.held = held"),
        ),
        clients.paused_tabs,
    ),
    Defect(
        "ticket-class-attribute",
        "shared_state",
        "the fields of the order form are an attribute of the class",
        "langchain-ai/langchain#10764",
        "identity",
        (
            Swap(
                "desk.py",
                "    def __init__(self, trader: Trader):\n"
                "        self.trader = trader\n        self.fields: dict = {}\n",
                "    fields: dict = {}\n\n"
                "    def __init__(self, trader: Trader):\n        self.trader = trader\n",
            ),
        ),
        clients.tickets,
    ),
    Defect(
        "order-not-checked",
        "ownership",
        "an order is looked up by its number, whoever asks",
        "open-webui CVE-2026-45349: chat_id ownership not checked",
        "identity",
        (
            Swap(
                "app.py",
                "if order is None or order.trader_id != self.trader.id:",
                "if order is None:",
            ),
        ),
        clients.order_details,
    ),
    Defect(
        "account-topic-by-name",
        "ownership",
        "account topics are keyed by the account's name alone",
        "Senthil455/Atlas-Workforce-System#196",
        "identity",
        (
            Swap(
                "desk.py", 'return f"account.{trader_id}.{account}"', 'return f"account.{account}"'
            ),
        ),
        clients.accounts,
    ),
    Defect(
        "ledger-line-reused",
        "content",
        "a line with a reply still under way goes back to the pool when the request is cancelled",
        "redis/redis-py#2624, openai.com/blog/march-20-chatgpt-outage",
        "content",
        (
            Swap(
                "ledger.py",
                "            reply = await line.ask(account, full)\n"
                "        except BaseException:\n"
                "            # whatever is still under way on this line is not for the next one\n"
                "            line.close()\n"
                "            self._free.put_nowait(LedgerLine())\n"
                "            raise\n"
                "        self._free.put_nowait(line)\n"
                "        return reply\n",
                "            return await line.ask(account, full)\n"
                "        finally:\n"
                "            self._free.put_nowait(line)\n",
            ),
        ),
        clients.balances,
    ),
    Defect(
        "statement-cache-key",
        "content",
        "statements are cached by month, without the trader",
        "Klarna 2021-05-27, Railway 2026-03-30: cached answers of other users",
        "content",
        (Swap("desk.py", "key = (trader.id, month)", "key = month"),),
        clients.statements,
    ),
    Defect(
        "engine-context",
        "emitter",
        "the engine's task, started by the first order, emits to whoever its context names",
        "ogx-ai/ogx#5221: create_task copies the first request's variable into a worker",
        "identity",
        (
            Swap(
                "desk.py",
                'await self.hub.emit("order.filled", order.view(), to=order.trader_id)',
                'await self.hub.emit("order.filled", order.view())',
            ),
        ),
        clients.fills,
    ),
    Defect(
        "thread-broadcasts",
        "emitter",
        "a thread without context emits to nobody in particular, which means everybody",
        "miguelgrinberg/Flask-SocketIO#1289, python-socketio#1074",
        "routing",
        (
            Swap(
                "desk.py",
                'self.hub.emit("backtest.done", result, to=trader_id), loop',
                'self.hub.emit("backtest.done", result), loop',
            ),
        ),
        clients.backtests,
    ),
]

BENIGN = [
    Benign(
        "announcements",
        "tenant-wide announcements",
        "staff announce to everybody of their firm; the author's id is in it",
        "Slack workspace and Mattermost system-wide announcements",
        clients.announcements,
    ),
    Benign(
        "counterparties",
        "ids in other namespaces",
        "user_id in orders and trades is the exchange's number of the other side",
        "FIX party ids; crypto exchanges' user data streams (Binance, Kraken)",
        clients.counterparties,
    ),
    Benign(
        "tape",
        "topic subscriptions",
        "several people subscribe to the same public topic",
        "market data gateways; Phoenix channels, encode/broadcaster",
        clients.tape,
    ),
    Benign(
        "price-feed",
        "service account connection",
        "a machine is connected as no person and is told which traders want what",
        "market data adapters; Home Assistant and Mattermost bot accounts",
        clients.price_feed,
    ),
    Benign(
        "leaders",
        "leaderboards",
        "a board names its leader and lists everybody, to everybody",
        "trading contests, Duolingo leagues, Kahoot",
        clients.leaders,
    ),
    Benign(
        "scheduled",
        "scheduled reminders from a worker",
        "the scheduler's own task pushes what people asked for earlier",
        "Slack /remind, Celery beat and APScheduler pushing to sockets",
        clients.scheduled,
    ),
    Benign(
        "storm",
        "reconnect storm",
        "all tabs come back at once after a restart, undelivered frames with them",
        "Socket.IO and SignalR clients after a rolling deployment",
        clients.storm,
    ),
]
