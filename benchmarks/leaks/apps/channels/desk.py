# SPDX-License-Identifier: Apache-2.0
"""Notes, tickets, documents and the feed, all in memory."""

import itertools
from collections import defaultdict
from dataclasses import dataclass, field

from channels.layers import get_channel_layer
from django.dispatch import Signal

from accounts import current_user

_ids = itertools.count(1)

# sent with draft={"ticket", "user_id", "text"} whenever somebody's draft reply is autosaved
draft_saved = Signal()


@dataclass
class Ticket:
    id: int
    customer: int
    agent: int | None = None
    messages: list = field(default_factory=list)


@dataclass
class Document:
    slug: str
    owner: int
    members: set = field(default_factory=set)
    lines: list = field(default_factory=list)
    rev: int = 0


notes = defaultdict(list)
tickets = {}
documents = {}
followers = defaultdict(set)


def add_note(text):
    user = current_user.get()
    note = {"id": next(_ids), "owner_id": user.id, "text": text}
    notes[user.id].append(note)
    return note


def digest(user_id, limit=20, entries=None):
    """Newest first, as shown on the start page."""
    entries = [] if entries is None else entries
    for note in notes[user_id]:
        entries.insert(0, {"note": note["id"], "owner_id": user_id, "text": note["text"]})
    return entries[:limit]


async def notify(user_id, event):
    """To every device of one user."""
    await get_channel_layer().group_send(
        f"user_{user_id}", {"type": "push", "event": {**event, "user_id": user_id}}
    )


async def announce(text):
    event = {"type": "announcement", "text": text}
    await get_channel_layer().group_send("announcements", {"type": "push", "event": event})


def open_ticket(ticket_id, user):
    """The ticket if this user takes part in it, else None. The first agent to look takes it."""
    ticket = tickets.get(ticket_id)
    if ticket is None:
        if user.is_staff:
            return None
        ticket = tickets[ticket_id] = Ticket(ticket_id, customer=user.id)
    if user.is_staff and ticket.agent is None:
        ticket.agent = user.id
    return ticket if user.id in (ticket.customer, ticket.agent) else None


def ticket_members(ticket_id):
    ticket = tickets[int(ticket_id)]
    return [member for member in (ticket.customer, ticket.agent) if member is not None]


def open_document(slug, user):
    document = documents.setdefault(slug, Document(slug, owner=user.id, members={user.id}))
    return document if user.id in document.members else None


def document_members(slug):
    return sorted(documents[slug].members)


def feed_readers(author_id):
    return sorted({int(author_id)} | followers[int(author_id)])
