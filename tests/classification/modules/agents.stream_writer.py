"""Tokens of a model to a browser."""
from typing import Any

from fastapi import WebSocket
from langchain_core.callbacks import AsyncCallbackHandler


class StreamingCallback(AsyncCallbackHandler):  # manager
    def __init__(self, websocket: WebSocket):
        self.websocket = websocket

    async def on_llm_new_token(self, token: str, **kwargs: Any):
        await self.websocket.send_json({"type": "token", "token": token})

    async def on_llm_end(self, response: Any, **kwargs: Any):
        await self.websocket.send_json({"type": "end"})


class WebSocketWriter:  # manager
    def __init__(self, websocket: WebSocket):
        self.websocket = websocket

    async def write(self, kind: str, **fields: Any):
        await self.websocket.send_json({"type": kind, **fields})


class PromptTemplate:  # other
    def __init__(self, text: str):
        self.text = text

    def render(self, **values: Any) -> str:
        return self.text.format(**values)


class CountingCallback(AsyncCallbackHandler):  # other
    def __init__(self):
        self.tokens = 0

    async def on_llm_new_token(self, token: str, **kwargs: Any):
        self.tokens += 1
