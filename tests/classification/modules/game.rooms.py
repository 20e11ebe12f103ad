import random
import string
from dataclasses import dataclass, field

from fastapi import FastAPI, WebSocket

app = FastAPI()


@dataclass
class Player:  # manager
    """A seat and the socket of who sits there."""

    name: str
    ws: WebSocket
    hand: list = field(default_factory=list)

    async def send(self, message: dict):
        await self.ws.send_json(message)


class GameRoom:  # manager
    def __init__(self, code: str):
        self.code = code
        self.players: dict[str, Player] = {}

    async def join(self, name: str, ws: WebSocket):
        self.players[name] = Player(name, ws)
        await self.broadcast_state()

    async def leave(self, name: str):
        self.players.pop(name, None)
        await self.broadcast_state()

    async def broadcast_state(self):
        for player in self.players.values():
            await player.send({"type": "state", "players": list(self.players)})


class RoomRegistry:  # other
    """Codes of rooms; who sits in them is the rooms' business."""

    def __init__(self):
        self.rooms: dict[str, GameRoom] = {}

    def create(self) -> GameRoom:
        code = "".join(random.choices(string.ascii_uppercase, k=4))
        self.rooms[code] = GameRoom(code)
        return self.rooms[code]

    def get(self, code: str):
        return self.rooms.get(code)


class Deck:  # other
    def __init__(self):
        self.cards = list(range(52))

    def shuffle(self):
        random.shuffle(self.cards)

    def deal(self, count: int):
        return [self.cards.pop() for _ in range(count)]
