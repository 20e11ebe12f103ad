# SPDX-License-Identifier: Apache-2.0
"""The service: one endpoint, one manager.

    cd examples && uvicorn consolidated.app:app

Then connect to /ws?user=ada and send {"type": "ask", "text": "..."}.
"""

import contextlib
import itertools

from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from .realtime import get_manager
from .runs import work

app = FastAPI(title="Agent chat, consolidated")


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "ok"}


@app.post("/notices")
async def notice(text: str) -> dict[str, int]:
    return {"reached": await get_manager().broadcast(text)}


@app.websocket("/ws")
async def chat(websocket: WebSocket, user: str) -> None:
    manager = get_manager()
    await manager.connect(websocket, user)
    numbers = itertools.count(1)
    with contextlib.suppress(WebSocketDisconnect):
        async for _ in websocket.iter_json():
            run_id = f"{user}-{next(numbers)}"
            await work(user, run_id)
            await manager.send_to_user(user, "run_over", run_id)
    manager.disconnect(user)
