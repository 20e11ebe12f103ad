# SPDX-License-Identifier: Apache-2.0
# Helpdesk chat. One process, one event loop, everything in memory.
import asyncio
import itertools
import json
from collections import deque
from contextvars import ContextVar
from functools import partial
from pathlib import Path

from quart import Quart, abort, request, websocket

app = Quart(__name__)

people = {row["name"]: row for row in json.loads(Path("people.json").read_text())}
staff = {name for name, row in people.items() if row["role"] in ("support", "admin")}
teams = {"billing": staff, "legal": set()}

sockets = {}  # name -> the send functions of their connections
sessions = {}
rooms = {}  # room -> {send function: name}
tickets = {}
running = {}  # name -> the answer being worked on
background = set()
numbers = itertools.count(1)
upstream = {}
current_name = ContextVar("current_name", default=None)


def make_upstream(seconds=0.7):
    """One connection to the language model: answers come back in the order of the questions."""
    waiting = deque()
    lines = asyncio.Queue()

    async def pump():
        while True:
            prompt = await lines.get()
            await asyncio.sleep(seconds)
            if waiting:
                future = waiting.popleft()
                if not future.done():
                    future.set_result(f"About '{prompt}': have you tried turning it off and on?")

    async def complete(prompt):
        future = asyncio.get_running_loop().create_future()
        waiting.append(future)
        lines.put_nowait(prompt)
        return await future

    return pump, complete


async def send_json(socket, message):
    await socket.send(json.dumps(message))


async def tell(name, message):
    for send in list(sockets.get(name, ())):
        await send(message)


async def push(message):
    """To the one it is being done for, or to everybody if it is for nobody in particular."""
    name = current_name.get()
    for other in [name] if name else list(sockets):
        for send in list(sockets.get(other, ())):
            await send(message)


def later(job):
    task = asyncio.create_task(job)
    background.add(task)
    task.add_done_callback(background.discard)
    return task


def make_answerer(name, send, history=None):
    """What the assistant does for one connection: answer, and sum up what was said."""
    history = [] if history is None else history

    async def answer(prompt):
        await send({"kind": "thinking", "for": name})
        text = await upstream["complete"](prompt)
        history.append(f"Q: {prompt}")
        history.append(f"A: {text}")
        await send({"kind": "answer", "for": name, "text": text})

    async def recap():
        await send({"kind": "recap", "lines": list(history)})

    return answer, recap


def open_session(name, session, send):
    """Tabs of one session see each other's draft."""
    key = name, session
    tabs = sessions.setdefault(key, {"text": "", "senders": []})
    tabs["senders"].append(send)

    async def draft(text):
        tabs["text"] = text
        for other in list(tabs["senders"]):
            await other({"kind": "draft", "session": session, "by": name, "text": text})

    def leave():
        tabs["senders"].remove(send)
        if not tabs["senders"]:
            sessions.pop(key, None)

    return draft, leave


def make_tickets(name, send):
    async def opened(team, text):
        number = next(numbers)
        ticket = {"ticket": number, "team": team, "customer": name, "text": text}
        tickets[number] = ticket
        await send({"kind": "ticket.opened", "ticket": number})
        for member in teams[team]:
            await tell(member, {"kind": "inbox", **ticket})

    async def read(number):
        ticket = tickets.get(number)
        if ticket is None or (name != ticket["customer"] and name not in teams[ticket["team"]]):
            await send({"kind": "error", "error": "no such ticket"})
            return
        await send({"kind": "ticket", "ticket": number, "text": ticket["text"]})

    async def claim(number):
        ticket = tickets[number]
        if name in teams[ticket["team"]]:
            claimed = {"kind": "claimed", "ticket": number, "by": name}
            for member in teams[ticket["team"]]:
                await tell(member, claimed)
            await tell(ticket["customer"], claimed)

    async def export():
        await asyncio.sleep(0.02)
        rows = [one["text"] for one in tickets.values() if one["customer"] == name]
        await push({"kind": "export", "owner": name, "rows": rows})

    return opened, read, claim, export


def make_room(name, send, raw_send):
    def join(room):
        rooms.setdefault(room, {})[raw_send] = name
        return send({"kind": "joined", "room": room, "members": list(rooms[room].values())})

    async def say(room, text):
        line = {"kind": "said", "room": room, "login": name, "user_id": people[name]["id"]}
        for other in list(rooms.get(room, ())):
            await other(json.dumps({**line, "text": text}))

    async def sketch(data):
        """Strokes on the whiteboard: one length byte, the room, then whatever it is."""
        room = data[1 : 1 + data[0]].decode()
        frame = name.encode() + b"\0" + data[1 + data[0] :]
        for other in list(rooms.get(room, ())):
            await other(frame)

    def leave():
        for members in rooms.values():
            members.pop(raw_send, None)

    return join, say, sketch, leave


async def remind(name, text):
    await asyncio.sleep(0.02)
    row = people[name]
    await tell(name, {"kind": "reminder", "for": name, "user_id": row["id"], "text": text})


@app.websocket("/chat")
async def chat():
    hello = json.loads(await websocket.receive())
    name = hello.get("login")
    if name not in people or people[name]["token"] != hello.get("token"):
        await websocket.send(json.dumps({"kind": "error", "error": "login failed"}))
        await websocket.close(4401)
        return
    current_name.set(name)
    socket = websocket._get_current_object()
    send = partial(send_json, socket)
    sockets.setdefault(name, []).append(send)
    answer, recap = make_answerer(name, send)
    draft, leave_session = open_session(name, hello.get("session"), send)
    opened, read, claim, export = make_tickets(name, send)
    join, say, sketch, leave_rooms = make_room(name, send, socket.send)

    async def ask(text):
        running[name] = later(answer(text))

    async def stop():
        if task := running.pop(name, None):
            task.cancel()
        await send({"kind": "stopped"})

    async def whoami():
        row = people[name]
        profile = {key: row[key] for key in ("name", "email", "uuid", "role")}
        await send({"kind": "profile", "login": name, "user_id": row["id"], "profile": profile})

    commands = {
        "ask": lambda message: ask(message["text"]),
        "stop": lambda _: stop(),
        "recap": lambda _: recap(),
        "draft": lambda message: draft(message["text"]),
        "ticket": lambda message: opened(message["team"], message["text"]),
        "read": lambda message: read(message["ticket"]),
        "claim": lambda message: claim(message["ticket"]),
        "join": lambda message: join(message["room"]),
        "say": lambda message: say(message["room"], message["text"]),
        "whoami": lambda _: whoami(),
    }
    try:
        await send({"kind": "welcome", "login": name, "user_id": people[name]["id"]})
        while True:
            data = await websocket.receive()
            if isinstance(data, bytes):
                await sketch(data)
                continue
            message = json.loads(data)
            if message["do"] == "export":
                later(export())
            elif message["do"] == "remind":
                later(remind(name, message["text"]))
            else:
                await commands[message["do"]](message)
    finally:
        sockets[name].remove(send)
        if not sockets[name]:
            del sockets[name]
        leave_session()
        leave_rooms()


@app.post("/notices")
async def notice():
    token = request.headers.get("X-Token", "")
    if not any(row["token"] == token and row["role"] == "admin" for row in people.values()):
        abort(403)
    body = await request.get_json()
    await push({"kind": "notice", "from": "system", "user_id": 0, "text": body["text"]})
    return {"told": len(sockets)}


@app.before_serving
async def connect_upstream():
    pump, upstream["complete"] = make_upstream()
    later(pump())


@app.after_serving
async def disconnect_upstream():
    for task in list(background):
        task.cancel()


def same_person(principal):
    """Names, numbers and addresses of whoever `principal` is."""
    for row in people.values():
        known = [row["name"], str(row["id"]), row["uuid"], row["email"]]
        if str(principal) in known:
            return known
    return []


def room_members(room):
    return list(rooms.get(room, {}).values())


def ticket_readers(number):
    ticket = tickets.get(int(number))
    return [ticket["customer"], *teams[ticket["team"]]] if ticket else []
