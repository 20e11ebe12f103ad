# SPDX-License-Identifier: Apache-2.0
import itertools
import logging
import re
from typing import Dict, List

from fastapi import Depends, FastAPI, WebSocket, WebSocketDisconnect
from pydantic import BaseModel

from manager import manager, room_members
from notes import NOTES, add_note, digests, get_workspace, search
from notifications import inbox, notify, schedule_reminder
from users import User, current_user_var, fake_users_db, find_by_name, get_current_user, get_staff

app = FastAPI(title="Chat")
logger = logging.getLogger("chat")

message_ids = itertools.count(1)
messages: Dict[int, dict] = {}


class NotificationIn(BaseModel):
    user_id: int
    title: str
    body: str


@app.post("/notifications", status_code=202)
async def create_notification(item: NotificationIn, staff: User = Depends(get_staff)):
    logger.info("notification for %s by %s", item.user_id, staff.name)
    await notify(item.user_id, item.title, item.body)
    return {"ok": True}


def participants(conversation_id: str) -> List[int]:
    """dm:17:42 -> [17, 42]"""
    return [int(part) for part in conversation_id.split(":")[1:]]


async def room_message(user: User, data: dict):
    room = data["room"]
    if user.id not in room_members(room):
        await manager.send_personal_message({"type": "error", "detail": "Join first"}, user.id)
        return
    message = {
        "type": "room_message",
        "message_id": next(message_ids),
        "room": room,
        "user_id": user.id,
        "sender": user.name,
        "text": data["text"],
    }
    messages[message["message_id"]] = message
    await manager.broadcast_to_room(room, message)
    for name in re.findall(r"@(\w+)", data["text"]):
        mentioned = find_by_name(name)
        if mentioned and mentioned.id in room_members(room):
            mention = {
                "type": "mention",
                "room": room,
                "message_id": message["message_id"],
                "by": {"user_id": user.id, "name": user.name},
                "text": data["text"],
            }
            await manager.send_personal_message(mention, mentioned.id)


async def direct_message(user: User, data: dict):
    to = data["to"]
    if to not in fake_users_db:
        return
    message = {
        "type": "direct_message",
        "conversation_id": "dm:{}:{}".format(*sorted([user.id, to])),
        "sender_id": user.id,
        "recipient_id": to,
        "text": data["text"],
    }
    await manager.send_personal_message(message, to)
    if to != user.id:
        # the other tabs of the author show it too
        await manager.send_personal_message(message, user.id)


async def invite(user: User, data: dict):
    invitation = {
        "type": "invitation",
        "room": data["room"],
        "inviter": {"user_id": user.id, "name": user.name, "email": user.email},
    }
    await manager.send_personal_message(invitation, data["user_id"])
    sent = {"type": "invitation_sent", "room": data["room"], "invitee_id": data["user_id"]}
    await manager.send_personal_message(sent, user.id)


async def remove_message(user: User, data: dict):
    message = messages.get(data["message_id"])
    if not user.is_moderator or message is None:
        return
    author = message["user_id"]
    notice = {
        "type": "message_removed",
        "room": message["room"],
        "message_id": message["message_id"],
        "user_id": author,
        "moderator_id": user.id,
    }
    await manager.broadcast_to_room(message["room"], notice)
    warning = {"type": "warning", "user_id": author, "moderator_id": user.id, "rule": data["rule"]}
    await manager.send_personal_message(warning, author)
    for moderator in fake_users_db.values():
        if moderator.is_moderator:
            entry = {"type": "moderation_log", "user_id": author, "moderator": user.name}
            await manager.send_personal_message(entry, moderator.id)


async def handle(user: User, data: dict):
    kind = data["type"]
    if kind == "join":
        manager.join(data["room"], user.id)
        joined = {"type": "joined", "room": data["room"], "user_id": user.id, "name": user.name}
        await manager.broadcast_to_room(data["room"], joined)
    elif kind == "leave":
        manager.leave(data["room"], user.id)
    elif kind == "room_message":
        await room_message(user, data)
    elif kind == "typing":
        typing = {"type": "typing", "room": data["room"], "user_id": user.id}
        await manager.broadcast_to_room(data["room"], typing, exclude=user.id)
    elif kind == "direct_message":
        await direct_message(user, data)
    elif kind == "invite":
        await invite(user, data)
    elif kind == "remove_message":
        await remove_message(user, data)
    elif kind == "save_draft":
        workspace = get_workspace(user)
        workspace.save_draft(data["room"], data["text"])
        drafts = {"type": "drafts", "drafts": workspace.drafts}
        await manager.send_personal_message(drafts, user.id)
    elif kind == "add_note":
        note = add_note(user, data["title"], data["text"])
        saved = {
            "type": "note_saved",
            "note_id": note["note_id"],
            "title": note["title"],
            "text": note["text"],
        }
        await manager.send_personal_message(saved, user.id)
    elif kind == "open_note":
        note = NOTES.get(data["note_id"])
        if note is None or note["owner_id"] != user.id:
            await manager.send_personal_message(
                {"type": "error", "detail": "No such note"}, user.id
            )
            return
        opened = {
            "type": "note",
            "note_id": note["note_id"],
            "title": note["title"],
            "text": note["text"],
        }
        await manager.send_personal_message(opened, user.id)
    elif kind == "search_notes":
        hits = search.find(user, data["query"])
        results = {"type": "search_results", "query": data["query"], "hits": hits}
        await manager.send_personal_message(results, user.id)
    elif kind == "digest":
        await manager.send_personal_message(await digests.build(user), user.id)
    elif kind == "remind_me":
        reminder_id = schedule_reminder(user, data["text"], data.get("delay", 0))
        scheduled = {"type": "reminder_set", "reminder_id": reminder_id}
        await manager.send_personal_message(scheduled, user.id)
    elif kind == "mark_read":
        inbox.mark_read(user.id)
        await manager.send_personal_message({"type": "all_read"}, user.id)


@app.websocket("/ws")
async def websocket_endpoint(websocket: WebSocket, current_user: User = Depends(get_current_user)):
    current_user_var.set(current_user)
    await manager.connect(websocket, current_user.id)
    online = {"type": "presence", "user_id": current_user.id, "status": "online"}
    await manager.broadcast(online, exclude=current_user.id)
    await websocket.send_json(
        {
            "type": "welcome",
            "user_id": current_user.id,
            "online": sorted(manager.active_connections),
            "unread": list(inbox.unread[current_user.id]),
        }
    )
    try:
        while True:
            await handle(current_user, await websocket.receive_json())
    except WebSocketDisconnect:
        pass
    finally:
        manager.disconnect(websocket, current_user.id)
        if not manager.is_online(current_user.id):
            offline = {"type": "presence", "user_id": current_user.id, "status": "offline"}
            await manager.broadcast(offline)
