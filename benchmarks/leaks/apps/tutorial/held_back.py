# SPDX-License-Identifier: Apache-2.0
"""Defects of the chat that are run once, at the end."""

from __future__ import annotations

from benchmarks.leaks.case import Defect, Swap

from . import clients

DEFECTS = [
    Defect(
        name="personal_to_the_rooms",
        category="recipient",
        what="a personal message goes to all members of the rooms the user is in",
        source="Abbah77/Here_web-backend send_personal_message (leaks.md)",
        carries="routing",
        swaps=(
            Swap(
                "manager.py",
                """        for connection in list(self.active_connections.get(user_id, [])):
            await self._send(connection, message)

    async def broadcast(""",
                """        targets = {user_id}
        for members in self.rooms.values():
            if user_id in members:
                targets |= members
        for target in targets:
            for connection in list(self.active_connections.get(target, [])):
                await self._send(connection, message)

    async def broadcast(""",
            ),
        ),
        scenario=clients.notes_of_everybody,
    ),
    Defect(
        name="search_cache_without_user",
        category="content",
        what="search results are cached by the words alone",
        source="caches keyed without the user (managers_in_the_wild.md); Klarna 2021 (evidence.md)",
        carries="content",
        swaps=(Swap("notes.py", "        key = (user.id, query)\n", "        key = query\n"),),
        scenario=clients.same_search,
    ),
]
