from collections import namedtuple
from typing import Optional

from fastapi import WebSocket

Entry = namedtuple("Entry", "conn_id ws user_id since")  # no class statement


class TeamConnectionManager:  # manager
    def __init__(self):
        self.entries: list[Entry] = []

    def register(self, entry: Entry):
        self.entries.append(entry)

    def unregister(self, conn_id: str):
        self.entries = [entry for entry in self.entries if entry.conn_id != conn_id]

    async def broadcast_to_team(self, members: set[str], message: dict):
        for entry in self.entries:
            if entry.user_id in members:
                await entry.ws.send_json(message)

    async def broadcast_to_user(self, user_id: str, message: dict):
        for entry in self.entries:
            if entry.user_id == user_id:
                await entry.ws.send_json(message)


class AdminConnectionManager(TeamConnectionManager):  # manager
    async def broadcast_to_company(self, company: str, message: dict):
        for entry in self.entries:
            await entry.ws.send_json({**message, "company": company})


class PersonalChannel:  # manager
    """One user's sockets, however many tabs."""

    def __init__(self, user_id: str):
        self.user_id = user_id
        self.tabs: set[WebSocket] = set()

    def open(self, websocket: WebSocket):
        self.tabs.add(websocket)

    async def send(self, message: dict, skip: Optional[WebSocket] = None):
        for tab in self.tabs:
            if tab is not skip:
                await tab.send_json(message)


class MembershipCache:  # other
    def __init__(self):
        self.members: dict[str, set[str]] = {}

    def add(self, team: str, user_id: str):
        self.members.setdefault(team, set()).add(user_id)
