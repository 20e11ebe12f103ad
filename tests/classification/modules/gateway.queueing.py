import asyncio
from collections import defaultdict

from starlette.requests import Request
from starlette.responses import StreamingResponse


class EventQueue:  # manager
    """Each browser session reads its messages as an event stream."""

    def __init__(self):
        self.pending_messages_per_session = defaultdict(asyncio.Queue)

    def send_message(self, event, message):
        self.pending_messages_per_session[event.session_hash].put_nowait(message)

    async def stream(self, request: Request):
        queue = self.pending_messages_per_session[request.query_params["session_hash"]]

        async def lines():
            while True:
                yield f"data: {await queue.get()}\n\n"

        return StreamingResponse(lines(), media_type="text/event-stream")


class JobEstimator:  # other
    def __init__(self):
        self.durations = []

    def estimate(self, rank):
        return rank * (sum(self.durations) / max(1, len(self.durations)))
