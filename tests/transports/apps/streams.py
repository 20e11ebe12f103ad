# SPDX-License-Identifier: Apache-2.0
"""Server-sent events as teams write them: a hub with queues, and generators that format.

`DEFECT`: `copy` sends every third message of alice's to everybody else as well, `queue` puts
hers into everybody's queue.
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
        for name, queue in self.queues.items():
            if name == user_id or (DEFECT == "queue" and user_id == "alice"):
                await queue.put(message)


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


@app.get("/feed/{name}")
async def feed(name: str) -> EventSourceResponse:
    """The events as they came out of the queue."""
    queue = hub.connect(name)

    async def messages() -> Any:
        while (message := await queue.get()) is not None:
            yield message

    return EventSourceResponse(messages())


@app.post("/feed/{name}/{kind}")
async def into_feed(name: str, kind: str) -> None:
    text = {"data": json.dumps({"text": f"for {name}"}), "event": kind}
    await hub.send_to_user(name, text)


@app.post("/tell/{name}/{kind}")
async def tell(name: str, kind: str) -> dict[str, bool]:
    message = {"type": kind, "user_id": name, "text": "Grüße"}
    await hub.send_to_user(name, message)
    if DEFECT == "copy" and name == "alice" and kind == "agent_thinking":
        for other in hub.queues:
            if other != name:
                await hub.send_to_user(other, dict(message))
    return {"told": True}


@app.post("/end")
async def end() -> None:
    for queue in hub.queues.values():
        await queue.put(None)
