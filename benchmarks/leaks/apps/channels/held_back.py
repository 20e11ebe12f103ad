# SPDX-License-Identifier: Apache-2.0
"""Defects of Deskline that are run once, at the end."""

from __future__ import annotations

from ...case import Defect, Swap
from . import clients

DEFECTS = [
    Defect(
        "default_list_grows",
        "shared_state",
        "a mutable default argument collects the notes of all who ask for their digest",
        "mem0ai/mem0#5301",
        "identity",
        (
            Swap(
                "desk.py",
                "def digest(user_id, limit=20, entries=None):",
                "def digest(user_id, limit=20, entries=[]):",
            ),
            Swap("desk.py", "    entries = [] if entries is None else entries\n", ""),
        ),
        clients.notes_and_digests,
    ),
    Defect(
        "summary_cached_by_day",
        "content",
        "the cache key of the daily summary lost the user",
        "BerriAI/litellm PR#36149, Klarna 2021-05-27 (cache without the user)",
        "content",
        (
            Swap(
                "assistant.py", 'f"{user.id}:{datetime.date.today()}"', "str(datetime.date.today())"
            ),
        ),
        clients.summaries,
    ),
    Defect(
        "signal_reaches_all_tabs",
        "emitter",
        "a signal's receivers no longer ask whose draft it is: every consumer on the ticket sends it",
        "zauberzeug/nicegui#3219",
        "identity",
        (
            Swap(
                "consumers.py",
                'if draft["ticket"] == self.ticket_id and draft["user_id"] == self.user.id:',
                'if draft["ticket"] == self.ticket_id:',
            ),
        ),
        clients.drafting,
    ),
]
