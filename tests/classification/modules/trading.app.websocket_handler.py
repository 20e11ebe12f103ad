"""Prices to subscribers, by symbol."""
import logging
from collections import defaultdict

from fastapi import WebSocket
from redis.asyncio import Redis

log = logging.getLogger(__name__)


class PriceStreamManager:  # manager
    def __init__(self, redis: Redis):
        self.redis = redis
        self.subscriptions = defaultdict(set)

    async def subscribe(self, websocket: WebSocket, symbol: str):
        self.subscriptions[symbol].add(websocket)

    async def unsubscribe(self, websocket: WebSocket, symbol: str):
        self.subscriptions[symbol].discard(websocket)

    async def broadcast_price(self, symbol: str, price: float):
        for websocket in self.subscriptions[symbol]:
            await websocket.send_json({"symbol": symbol, "price": price})


class RedisFanout:  # manager
    """From the channel of a worker to the sockets of this process."""

    def __init__(self, redis: Redis, manager: PriceStreamManager):
        self.redis = redis
        self.manager = manager

    async def listen(self):
        async for message in self.redis.pubsub().listen():
            await self.dispatch(message)

    async def dispatch(self, message):
        await self.manager.broadcast_price(message["channel"], float(message["data"]))


class OrderBook:  # other
    def __init__(self):
        self.bids, self.asks = [], []

    def add(self, side, price, size):
        (self.bids if side == "buy" else self.asks).append((price, size))


class PriceCache:  # other
    def __init__(self, redis: Redis):
        self.redis = redis

    async def push(self, symbol: str, price: float):
        await self.redis.lpush(symbol, price)

    async def last(self, symbol: str):
        return await self.redis.lindex(symbol, 0)
