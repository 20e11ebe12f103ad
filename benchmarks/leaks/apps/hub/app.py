# SPDX-License-Identifier: Apache-2.0
"""Trading desk gateway: one socket per browser tab, a few REST routes for the back office."""

import asyncio
import contextlib
import logging

from starlette.applications import Starlette
from starlette.authentication import requires
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocketDisconnect

from desk import Desk, Reminders, Reports, Ticket, account_topic
from hub import Hub, Session
from ledger import LedgerPool
from traders import TokenBackend, current_trader

log = logging.getLogger("desk")

hub = Hub()
desk = Desk(hub)
reminders = Reminders(hub)
reports = Reports(desk)
ledger = LedgerPool(lines=1)


class Tab:
    """Handles what one tab sends."""

    def __init__(self, session: Session):
        self.session = session
        self.trader = session.trader
        self.ticket = Ticket(session.trader)
        self.lookup: asyncio.Task | None = None

    async def handle(self, message: dict) -> None:
        action = str(message.pop("action", "")).replace(".", "_")
        handler = getattr(self, f"on_{action}", None)
        if handler is None:
            self.session.reply("error", reason="unknown action")
        else:
            await handler(message)

    async def on_topic_join(self, message):
        topic = message["topic"]
        if topic.startswith("account."):
            hub.join(self.session, account_topic(self.trader.id, topic.removeprefix("account.")))
        elif topic == "leaderboard" or topic.startswith("trades."):
            hub.join(self.session, topic)
            await hub.publish(
                "feed.demand", "quote.demand", {"topic": topic, "trader": self.trader.id}
            )
        else:
            return self.session.reply("error", reason="no such topic", topic=topic)
        self.session.reply("topic.joined", topic=topic)

    async def on_order_place(self, message):
        order = await desk.place(self.trader, message)
        self.session.reply("order.accepted", **order.view())

    async def on_order_get(self, message):
        order = desk.orders.get(message["order_id"])
        if order is None or order.trader_id != self.trader.id:
            return self.session.reply("error", reason="no such order", re="order.get")
        self.session.reply("order.detail", **order.view())

    async def on_ticket_edit(self, message):
        self.session.reply("ticket", **self.ticket.edit(**message))

    async def on_ticket_show(self, message):
        self.session.reply("ticket", **self.ticket.fields)

    async def on_pause(self, message):
        self.session.paused = True
        self.session.reply("paused")

    async def on_resume(self, message):
        self.session.resume()
        self.session.reply("resumed")

    async def on_reminder_set(self, message):
        reminders.add(self.trader, message["text"], float(message.get("in", 0)))
        self.session.reply("reminder.noted")

    async def on_statement(self, message):
        text = reports.statement(self.trader, message["month"])
        self.session.reply("statement", month=message["month"], text=text)

    async def on_risk(self, message):
        self.session.reply("risk", text=reports.risk(self.trader))

    async def on_backtest(self, message):
        desk.backtest(self.trader, message["strategy"])
        self.session.reply("backtest.started")

    async def on_balance(self, message):
        async def look_up():
            self.session.reply("balance.pending")
            text = await ledger.balance(self.trader.id, bool(message.get("full")))
            self.session.reply("balance", text=text)

        self.lookup = asyncio.create_task(look_up())

    async def on_cancel(self, message):
        if self.lookup is not None:
            self.lookup.cancel()
        self.session.reply("cancelled")

    async def on_tick(self, message):
        if self.trader.role != "service":
            return self.session.reply("error", reason="feed only")
        await desk.tick(message["symbol"], float(message["price"]))
        self.session.reply("tick.ok", symbol=message["symbol"])


async def gateway(websocket):
    if not websocket.user.is_authenticated:
        await websocket.close(4401)
        return
    await websocket.accept()
    trader = websocket.user
    current_trader.set(trader.id)
    session = hub.attach(websocket, trader, websocket.query_params.get("device", "browser"))
    session.reply("ready", trader=trader.id, name=trader.name)
    if trader.role == "service":
        hub.join(session, "feed.demand")
    tab = Tab(session)
    writer = asyncio.create_task(session.write())
    try:
        while True:
            await tab.handle(await websocket.receive_json())
    except WebSocketDisconnect:
        pass
    finally:
        writer.cancel()
        hub.detach(session)


@requires("authenticated")
async def announce(request):
    if not request.user.is_staff:
        return JSONResponse({"error": "staff only"}, status_code=403)
    body = await request.json()
    await hub.announce(
        request.user.tenant,
        "announcement",
        {"text": body["text"], "author_id": request.user.id, "tenant": request.user.tenant},
    )
    return JSONResponse({"ok": True})


@requires("authenticated")
async def orders(request):
    mine = [o.view() for o in desk.orders.values() if o.trader_id == request.user.id]
    return JSONResponse({"orders": mine})


async def health(request):
    return JSONResponse({"sessions": len(hub.sessions), "inbox": hub.inbox.qsize()})


@contextlib.asynccontextmanager
async def lifespan(app):
    ledger.open()
    running = [asyncio.create_task(hub.dispatch()), asyncio.create_task(reminders.run())]
    yield
    for task in running:
        task.cancel()


app = Starlette(
    routes=[
        WebSocketRoute("/ws", gateway),
        Route("/announcements", announce, methods=["POST"]),
        Route("/orders", orders),
        Route("/healthz", health),
    ],
    middleware=[Middleware(AuthenticationMiddleware, backend=TokenBackend())],
    lifespan=lifespan,
)
