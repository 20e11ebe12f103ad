# SPDX-License-Identifier: Apache-2.0
# lobby - chat, notes, calls, games.  uvicorn app:app
import asyncio
import itertools
import time
from contextvars import ContextVar

import socketio

import crm
import store
import users
from agent import AgentNamespace
from game import GameNamespace

BOT = "deskbot"

sio = socketio.AsyncServer(async_mode="asgi", cors_allowed_origins="*")
app = socketio.ASGIApp(sio)

DEFAULT_SESSION = {"name": "", "role": "user", "client": "web", "room": None}

reply_to = ContextVar("reply_to", default=None)  # set by @event, see reply()
jobs = asyncio.Queue()
job_ids = itertools.count(1)
background = {}


def start_once(name, target):
    if name not in background:
        background[name] = sio.start_background_task(target)


def event(name, staff=False):
    """Registers a handler(sid, session, data) and remembers whom it answers."""

    def decorate(handler):
        async def wrapper(sid, data=None):
            session = await sio.get_session(sid)
            reply_to.set(sid)
            if staff and not users.is_staff(session["name"]):
                await reply("failed", {"event": name, "detail": "forbidden"})
                return
            await handler(sid, session, data or {})

        sio.on(name, wrapper)
        return handler

    return decorate


async def reply(name, data):
    """To the socket whose event is being handled."""
    await sio.emit(name, data, to=reply_to.get())


async def notify(name, event_name, data):
    """To all sockets of one user."""
    await sio.emit(event_name, data, room=f"user:{name}")


@sio.event
async def connect(sid, environ, auth):
    user = users.by_token((auth or {}).get("token"))
    if user is None:
        raise socketio.exceptions.ConnectionRefusedError("bad token")
    start_once("exports", run_exports)
    session = dict(DEFAULT_SESSION)
    session.update(name=user["name"], role=user["role"], client=auth.get("client", "web"))
    await sio.save_session(sid, session)
    await sio.enter_room(sid, f"user:{user['name']}")
    await sio.emit("welcome", {"name": user["name"]}, to=sid)


@sio.event
async def disconnect(sid):
    session = await sio.get_session(sid)
    if session.get("room"):
        await sio.emit(
            "room:left",
            {"room": session["room"], "name": session["name"]},
            room=session["room"],
            skip_sid=sid,
        )


# --- rooms ---


@event("join")
async def join(sid, session, data):
    session["room"] = data["room"]
    await sio.enter_room(sid, data["room"])
    await sio.emit(
        "room:joined", {"room": data["room"], "name": session["name"]}, room=data["room"]
    )


@event("leave")
async def leave(sid, session, data):
    session["room"] = None
    await sio.emit("room:left", {"room": data["room"], "name": session["name"]}, room=data["room"])
    await sio.leave_room(sid, data["room"])


@event("say")
async def say(sid, session, data):
    room, text = data["room"], data["text"]
    message = store.add_message(room, session["name"], text)
    await sio.emit("room:message", message, room=room)
    if text.startswith("@" + BOT):
        answer = store.add_message(room, BOT, f"on it, {session['name']}")
        await sio.emit("room:message", answer, room=room)


@event("read")
async def read(sid, session, data):
    await sio.emit(
        "room:read",
        {"room": data["room"], "user": session["name"], "upto": data["upto"], "at": time.time()},
        room=data["room"],
    )


# --- calls: WebRTC offers, answers and candidates are only passed on ---


@event("signal")
async def signal(sid, session, data):
    body = {"kind": data["kind"], "body": data["body"], "from": session["name"], "to": data["to"]}
    await notify(data["to"], "call:signal", body)


# --- clock ---


@event("clock")
async def clock(sid, session, data):
    start_once("clock", run_clock)
    await sio.enter_room(sid, "clock")


async def run_clock():
    while True:
        await sio.sleep(0.35)
        await sio.emit("server:time", {"now": time.time()}, room="clock")
        await sio.emit("heartbeat", room="clock")


# --- notes, reminders, exports ---


@event("note:add")
async def note_add(sid, session, data):
    note = store.add_note(session["name"], data["text"])
    await reply("note:ok", {"id": note["id"]})
    # the user's other devices
    await sio.emit("note:synced", note, room=f"user:{session['name']}", skip_sid=sid)


@event("note:list")
async def note_list(sid, session, data):
    name = session["name"]
    await reply("note:list", {"owner": name, "notes": store.notes[name]})


@event("remind")
async def remind(sid, session, data):
    await notify(session["name"], "reminder", {"user": session["name"], "text": data["text"]})


@event("export")
async def export(sid, session, data):
    job = {"job_id": next(job_ids), "sid": sid, "name": session["name"]}
    await reply("export:queued", {"job_id": job["job_id"]})
    await jobs.put(job)


async def run_exports():
    while True:
        job = await jobs.get()
        lines = [note["text"] for note in store.notes[job["name"]]]
        done = {"job_id": job["job_id"], "csv": "\r\n".join(lines)}
        await sio.emit("export:done", done, to=job["sid"])


@event("account")
async def account(sid, session, data):
    client = crm.client_for(session["name"])
    card = await client.card(users.get(session["name"])["token"])
    await reply("account:card", {"text": card})


# --- staff ---


@event("staff:notes", staff=True)
async def staff_notes(sid, session, data):
    await reply("note:list", {"owner": data["name"], "notes": store.notes[data["name"]]})


@event("staff:role", staff=True)
async def staff_role(sid, session, data):
    users.set_role(data["name"], data["role"])
    await reply("staff:role", data)


sio.register_namespace(AgentNamespace("/agent"))
sio.register_namespace(GameNamespace("/game"))
