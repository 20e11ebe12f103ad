# SPDX-License-Identifier: Apache-2.0
"""The service: one endpoint, six places that have to hear of each connection.

    cd examples && uvicorn fragmented.app:app

Then connect to /ws?user=ada and send {"type": "ask", "text": "..."}.
"""

import contextlib
import itertools

from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from . import admin, compat
from .agents.bridge import get_bridge
from .agents.emitter import pool
from .legacy.factory import get_websocket_manager as get_legacy_manager
from .notices import broadcaster
from .realtime.manager import manager
from .realtime.unified import unified_manager
from .runs import work

app = FastAPI(title="Agent chat, fragmented")


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "ok", "manager": compat.Manager.__name__}


@app.post("/notices")
async def notice(text: str) -> dict[str, int]:
    await broadcaster.broadcast(text)
    return {"reached": await admin.notify_all(text)}


@app.websocket("/ws")
async def chat(websocket: WebSocket, user: str) -> None:
    await websocket.accept()
    manager.connect(user, websocket)
    await unified_manager.connect(websocket, user)
    get_legacy_manager().connect(websocket, user)
    get_bridge().register(user, websocket)
    pool.acquire(user, websocket)
    broadcaster.subscribe(websocket)
    numbers = itertools.count(1)
    with contextlib.suppress(WebSocketDisconnect):
        async for _ in websocket.iter_json():
            run_id = f"{user}-{next(numbers)}"
            await work(user, run_id)
            await websocket.send_json({"type": "run_over", "run_id": run_id})
    broadcaster.unsubscribe(websocket)
    pool.release(user)
    get_bridge().unregister(user)
    get_legacy_manager().disconnect(user)
    await unified_manager.disconnect(user)
    manager.disconnect(user)
