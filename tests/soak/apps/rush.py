# SPDX-License-Identifier: Apache-2.0
# The switchboard is on the path of these processes, but of no type checker.
# mypy: disable-error-code="import-not-found,untyped-decorator"
"""The switchboard for a crowd: sends are cancelled half way, and each worker can be looked into.

A worker answers a file `ask-N` in its working directory with `state-N-PID.json`: what its ledger
says, and what the agent holds at that moment.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import threading
import time
from pathlib import Path
from typing import Any

import switchboard
from fastapi import Depends, FastAPI, WebSocket, WebSocketDisconnect
from switchboard import Outbox, current_user, deliver, ledger, manager, pause

app = FastAPI()
tasks: set[asyncio.Task[None]] = set()
connections = 0


@app.get("/health")
async def health() -> str:
    return "ok"


async def run(user: str, command: dict[str, Any]) -> None:
    way, wrong = command["way"], bool(command.get("wrong"))
    message = {"type": "note", "text": command["text"]}
    try:
        if way == "nested":
            await manager.notify_user(user, message, wrong)
        elif way == "task":
            begin(manager.send_to_user(user, message, wrong), 0)
        elif way == "queue":
            users = [each for each in outboxes if (each != user) == wrong and outboxes[each]]
            await random.choice(outboxes[random.choice(users)]).enqueue(user, message)
        elif way == "plain":
            await pause()
            served, websocket = manager.pick(user, wrong)
            await deliver(websocket, user, served, {**message, "user_id": user})
        else:
            await manager.send_to_user(user, message, wrong)
    except IndexError:
        pass  # nobody there


def begin(work: Any, cancelled: float) -> None:
    task = asyncio.create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    if cancelled:
        asyncio.get_running_loop().call_later(cancelled, task.cancel)


outboxes = switchboard.outboxes


@app.websocket("/ws")
async def rush(websocket: WebSocket, current_user: str = Depends(current_user)) -> None:
    global connections
    await manager.connect(websocket, current_user)
    connections += 1
    outbox = Outbox(websocket, current_user)
    outboxes[current_user].append(outbox)
    try:
        await websocket.send_json({"type": "welcome", "user_id": current_user})
        async for command in websocket.iter_json():
            begin(run(current_user, command), command.get("cancel", 0))
    except (WebSocketDisconnect, RuntimeError):
        pass
    finally:
        outbox.writer.cancel()
        manager.disconnect(websocket, current_user)
        outboxes[current_user].remove(outbox)


# --- looking into a worker ------------------------------------------------------------------------


def state() -> dict[str, Any]:
    from ws_audit.agent import agent
    from ws_audit.messages.intents import Frame, Intent
    from ws_audit.principals.identity import Cell

    gc.collect()
    found = {"cells": 0, "intents": 0, "frames": 0}
    names = {Cell: "cells", Intent: "intents", Frame: "frames"}
    for each in gc.get_objects():
        name = names.get(type(each))
        if name:
            found[name] += 1
    runtime = agent().runtime
    assert runtime is not None
    assert runtime.outputs is not None
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "pid": os.getpid(),
        "connections": connections,
        "rss": pages * os.sysconf("SC_PAGE_SIZE"),
        "held": {
            **found,
            "pending payloads": len(runtime.intents.pending),
            "pending bytes": runtime.intents.pending._bytes,
            "intents waiting": len(runtime.intents._waiting),
            "connections open": runtime.sink._open,
            "outcomes awaited": len(runtime.outputs.violations._open),
            "records waiting": len(runtime.drain),
            "tasks": len(tasks),
        },
        "ledger": [
            [owner, recipient, line.attempted, line.sent, line.failures]
            for (owner, recipient), line in list(ledger.items())
        ],
    }


def answer() -> None:
    """Answer each question once, for as long as the worker lives."""
    seen: set[str] = set()
    while True:
        for path in Path().glob("ask-*"):
            if path.name not in seen:
                seen.add(path.name)
                written = Path(f"{path.name.replace('ask', 'state')}-{os.getpid()}.part")
                written.write_text(json.dumps(state()))
                written.rename(written.with_suffix(".json"))
        time.sleep(0.1)


threading.Thread(target=answer, daemon=True).start()
