"""An endpoint module with its own small manager, and a dependency."""
from fastapi import APIRouter, Depends, WebSocket, status

from app_core import get_current_user

router = APIRouter(prefix="/live")


class LiveFeed:  # manager
    def __init__(self):
        self.watchers: dict[int, WebSocket] = {}

    async def watch(self, user_id: int, websocket: WebSocket):
        await websocket.accept()
        self.watchers[user_id] = websocket

    async def update(self, user_id: int, row: dict):
        await self.watchers[user_id].send_json(row)

    async def update_all(self, row: dict):
        for websocket in self.watchers.values():
            await websocket.send_json(row)


class ConnectionGuard:  # other
    """Refuses who may not watch."""

    def __init__(self, user=Depends(get_current_user)):
        self.user = user

    async def check(self, websocket: WebSocket) -> bool:
        if self.user is None:
            await websocket.close(status.WS_1008_POLICY_VIOLATION)
        return self.user is not None


class AuctionHouse:  # manager
    def __init__(self):
        self.bidders = []
        self.highest = 0

    async def enter(self, websocket: WebSocket):
        self.bidders.append(websocket)

    async def bid(self, amount: int):
        self.highest = max(self.highest, amount)
        await self.announce_bid(amount)

    async def announce_bid(self, amount: int):
        for bidder in self.bidders:
            await bidder.send_json({"highest": self.highest})


feed = LiveFeed()
