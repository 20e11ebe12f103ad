# SPDX-License-Identifier: Apache-2.0
"""Server-sent events as teams write them: a hub with queues, and generators that format.

`DEFECT` routes every third message of alice's to everybody else's queue as well.
"""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

from fastapi import Depends, FastAPI, Header, Request
from fastapi.responses import StreamingResponse
from sse_starlette.sse import EventSourceResponse

DEFECT = os.environ.get("DEFECT", "")
app = FastAPI()


class StreamHub:
    """Each user's queue, and whose turn it is."""

    def __init__(self) -> None:
        self.queues: dict[str, asyncio.Queue[Any]] = {}

    def connect(self, user_id: str) -> asyncio.Queue[Any]:
        return self.queues.setdefault(user_id, asyncio.Queue())

    async def send_to_user(self, user_id: str, message: Any) -> None:
        await self.queues[user_id].put(message)


hub = StreamHub()


def current_user(authorization: str = Header()) -> dict[str, str]:
    return {"user_id": authorization.removeprefix("Bearer ")}


USER = Depends(current_user)


@app.get("/health")
async def health() -> dict[str, bool]:
    return {"ready": True}


@app.get("/everybody")
async def everybody(number: int) -> None:
    """Answers when so many are there."""
    while len(hub.queues) < number:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


@app.get("/stream")
async def stream(user: dict[str, str] = USER) -> StreamingResponse:
    """Authenticated by a dependency; chunks that are cut in the middle of an event."""
    queue = hub.queues.setdefault(user["user_id"], asyncio.Queue())

    async def chunks() -> Any:
        yield b": hello\n\n"
        while (message := await queue.get()) is not None:
            text = f"event: {message['type']}\r\ndata: {json.dumps(message)}\r\n\r\n"
            yield text[:17]
            yield text[17:] + ": still here\r\n\r\n"

    return StreamingResponse(chunks(), media_type="text/event-stream")


@app.get("/events/{name}")
async def events(name: str, request: Request) -> EventSourceResponse:
    """Registered with the hub under the name in the path; sse-starlette formats."""
    queue = hub.connect(name)

    async def messages() -> Any:
        while (message := await queue.get()) is not None:
            yield {"event": message["type"], "data": json.dumps(message)}

    return EventSourceResponse(messages(), ping=1)


@app.post("/tell/{name}/{kind}")
async def tell(name: str, kind: str) -> dict[str, bool]:
    message = {"type": kind, "user_id": name, "text": "Grüße"}
    await hub.send_to_user(name, message)
    if DEFECT and name == "alice" and kind == "agent_thinking":
        for other in hub.queues:
            if other != name:
                await hub.send_to_user(other, dict(message))
    return {"told": True}


@app.post("/end")
async def end() -> None:
    for queue in hub.queues.values():
        await queue.put(None)
