# SPDX-License-Identifier: Apache-2.0
"""Planboard: boards of cards for teams, personal boards, drafts, reminders and a daily digest."""

from __future__ import annotations

import contextlib
import itertools
from collections import defaultdict
from typing import Any

from litestar import Litestar, Request, WebSocket, get, post, websocket, websocket_listener
from litestar.exceptions import NotFoundException, PermissionDeniedException
from litestar.middleware import DefineMiddleware
from members import Member, TokenAuthentication, by_id, by_subject, current_member
from realtime import board_channel, channels, notifiers, outbox, personal_channel

_numbers = itertools.count(1)
drafts: dict[int, tuple[Member, str]] = {}
notes: dict[tuple[str, str], list[str]] = defaultdict(list)
digests: dict[Any, list[str]] = {}
delegates: dict[str, set[str]] = defaultdict(set)  # manager's subject -> assistants' subjects
activity: dict[str, list[dict[str, Any]]] = defaultdict(list)


def record(tenant: str, verb: str, **what: Any) -> None:
    """Into the team's feed, under the name of whoever is doing it."""
    author = current_member.get()
    entry = {"user_id": author.id, "author": author.name, "verb": verb, **what}
    activity[tenant].append(entry)
    channels.publish({"event": "activity", **entry}, f"activity:{tenant}")


def add_card(member: Member, data: dict[str, Any]) -> dict[str, Any]:
    """A card on a team's board; an assistant may add it for their manager."""
    owner = member
    if principal := data.get("on_behalf_of"):
        owner = by_subject[principal]
        if member.subject not in delegates[owner.subject]:
            raise PermissionDeniedException("not a delegate")
    card = {
        "card_id": next(_numbers),
        "board": data["board"],
        "title": data["title"],
        "owner_id": owner.id,
        "created_by": member.id,
        "assignee_id": data.get("assignee_id"),
    }
    channels.publish({"event": "card.added", **card}, board_channel(member.tenant, data["board"]))
    if assignee := by_id.get(data.get("assignee_id") or 0):
        notifiers.for_member(assignee).notify("card.assigned", **card)
    record(member.tenant, "added", card_id=card["card_id"])
    if owner is not member:
        notifiers.for_member(owner).notify("delegate.acted", assistant_id=member.id, card=card)
    return card


def digest(member: Member, board: str) -> list[str]:
    """What the member has noted down for this board, summed up once a day."""
    key = (member.subject, board)
    if key not in digests:
        lines = notes[member.subject, board]
        digests[key] = [f"{len(lines)} notes", *(f"- {line}" for line in lines)]
    return digests[key]


@websocket("/live")
async def live(socket: WebSocket) -> None:
    await socket.accept()
    member: Member = socket.user
    shown = member
    if subject := socket.query_params.get("view_as"):
        if member.role != "admin":
            await socket.close(code=4403)
            return
        shown = by_subject[subject]
    notifier = notifiers.for_member(shown)

    async def forward(data: bytes) -> None:
        await socket.send_text(data.decode())

    async with contextlib.AsyncExitStack() as stack:

        async def follow(*names: str) -> None:
            subscriber = await stack.enter_async_context(channels.start_subscription(list(names)))
            await stack.enter_async_context(subscriber.run_in_background(forward))

        await follow(notifier.channel)
        if shown is not member:
            await socket.send_json(
                {"event": "view_as", "member_id": shown.id, "viewer_id": member.id}
            )
        else:
            await socket.send_json(
                {"event": "hello", "member_id": member.id, "sub": member.subject}
            )
        notifier.connected()
        stack.callback(notifier.disconnected)
        async for message in socket.iter_json():
            await act(socket, member, message, follow)


async def act(socket: WebSocket, member: Member, message: dict[str, Any], follow: Any) -> None:
    """One command of the client."""
    match message:
        case {"action": "join", "board": str(board)}:
            await follow(board_channel(member.tenant, board))
            await socket.send_json({"event": "joined", "board": board})
        case {"action": "activity"}:
            await follow(f"activity:{member.tenant}")
            await socket.send_json({"event": "feed", "entries": activity[member.tenant]})
        case {"action": "personal", "board": str(board)}:
            await follow(personal_channel(member, board))
            await socket.send_json({"event": "joined", "board": board})
        case {"action": "personal.add", "board": str(board), "title": str(title)}:
            card = {"card_id": next(_numbers), "board": board, "title": title, "by": member.id}
            channels.publish({"event": "personal.card", **card}, personal_channel(member, board))
        case {"action": "card.add"}:
            await socket.send_json({"event": "card.saved", "card": add_card(member, message)})
        case {"action": "delegate", "to": str(subject)}:
            delegates[member.subject].add(subject)
            await socket.send_json({"event": "delegated", "to": subject})
        case {"action": "draft.save", "text": str(text)}:
            number = next(_numbers)
            drafts[number] = member, text
            await socket.send_json({"event": "draft.saved", "draft_id": number})
        case {"action": "draft.open", "draft_id": int(number)}:
            owner, text = drafts.get(number, (None, ""))
            if owner != member:
                await socket.send_json({"event": "error", "reason": "no such draft"})
            else:
                await socket.send_json({"event": "draft", "draft_id": number, "text": text})
        case _:
            await socket.send_json({"event": "error", "reason": "unknown action"})


@websocket_listener("/digest")
async def digest_stream(data: dict[str, str], socket: WebSocket) -> dict[str, Any]:
    """Notes go in, the digest comes back."""
    member: Member = socket.user
    if note := data.get("note"):
        notes[member.subject, data["board"]].append(note)
        return {"event": "noted", "board": data["board"]}
    return {"event": "digest", "board": data["board"], "lines": digest(member, data["board"])}


@post("/reminders")
async def remind(request: Request, data: dict[str, str]) -> dict[str, int]:
    number = next(_numbers)
    body = {"reminder_id": number, "text": data["text"], "created_by": request.user.id}
    outbox.put(request.user, "reminder", body)
    return {"reminder_id": number}


@post("/cards")
async def create_card(request: Request, data: dict[str, Any]) -> dict[str, Any]:
    return add_card(request.user, data)


@get("/members/{number:int}")
async def profile(request: Request, number: int) -> dict[str, Any]:
    member = by_id.get(number)
    if member is None or member.tenant != request.user.tenant:
        raise NotFoundException()
    return {"id": member.id, "name": member.name}


app = Litestar(
    [live, digest_stream, remind, create_card, profile],
    plugins=[channels],
    middleware=[DefineMiddleware(TokenAuthentication, exclude="schema")],
)
