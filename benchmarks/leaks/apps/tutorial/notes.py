# SPDX-License-Identifier: Apache-2.0
"""Notes, drafts, the search over them and the weekly digest."""

import asyncio
import itertools
from typing import Dict, List

from users import User

note_ids = itertools.count(1)
NOTES: Dict[int, dict] = {}


class Workspace:
    """What somebody is working on, kept in sync between their devices."""

    def __init__(self, user_id: int):
        self.user_id = user_id
        self.drafts: List[dict] = []

    def save_draft(self, room: str, text: str):
        for draft in self.drafts:
            if draft["room"] == room:
                draft["text"] = text
                return
        self.drafts.append({"room": room, "text": text})


workspaces: Dict[int, Workspace] = {}


def get_workspace(user: User) -> Workspace:
    if user.id not in workspaces:
        workspaces[user.id] = Workspace(user.id)
    return workspaces[user.id]


class NoteSearch:
    def __init__(self):
        self._cache: Dict[object, List[str]] = {}

    def invalidate(self):
        self._cache.clear()

    def find(self, user: User, query: str) -> List[str]:
        key = (user.id, query)
        if key not in self._cache:
            self._cache[key] = [
                note["text"]
                for note in NOTES.values()
                if note["owner_id"] == user.id and query.lower() in note["title"].lower()
            ]
        return self._cache[key]


class DigestService:
    async def _template(self) -> str:
        await asyncio.sleep(0.1)  # fetched from the CMS
        return "Your week, {name}: {count} notes"

    async def build(self, user: User) -> dict:
        template = await self._template()
        items = [note["text"] for note in NOTES.values() if note["owner_id"] == user.id]
        return {
            "type": "digest",
            "user_id": user.id,
            "headline": template.format(name=user.name, count=len(items)),
            "items": items,
        }


search = NoteSearch()
digests = DigestService()


def add_note(user: User, title: str, text: str) -> dict:
    note = {"note_id": next(note_ids), "owner_id": user.id, "title": title, "text": text}
    NOTES[note["note_id"]] = note
    search.invalidate()
    return note
