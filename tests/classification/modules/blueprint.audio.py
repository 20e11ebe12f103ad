"""Speech in, text out."""
from fastapi import WebSocket


class TranscriptionSession:  # manager
    def __init__(self, websocket: WebSocket, language: str = "en"):
        self.websocket = websocket
        self.language = language
        self.buffer = bytearray()

    async def receive_audio(self, chunk: bytes):
        self.buffer += chunk

    async def send_transcript(self, text: str, final: bool = False):
        await self.websocket.send_json({"text": text, "final": final})


class CallRouter:  # manager
    def __init__(self):
        self.calls: dict[str, WebSocket] = {}

    async def connect(self, call_id: str, ws: WebSocket):
        self.calls[call_id] = ws

    async def forward(self, call_id: str, message: dict):
        await self.calls[call_id].send_json(message)

    async def hang_up(self, call_id: str):
        await self.calls.pop(call_id).close()


class VoiceActivityDetector:  # other
    def __init__(self, threshold: float = 0.5):
        self.threshold = threshold

    def speaking(self, chunk: bytes) -> bool:
        return sum(chunk) / max(1, len(chunk)) > self.threshold


class SpeechClient:  # other
    """The provider's API."""

    def __init__(self, http):
        self.http = http

    async def send(self, audio: bytes, language: str):
        return await self.http.post("/transcribe", content=audio, params={"language": language})
