import asyncio

from fastapi import WebSocket


class DocumentSession:  # manager
    """Everybody who edits one document."""

    def __init__(self, document_id: str):
        self.document_id = document_id
        self.editors: dict[str, WebSocket] = {}

    async def connect(self, user_id: str, websocket: WebSocket):
        self.editors[user_id] = websocket

    async def apply(self, user_id: str, change: bytes):
        await self.broadcast_bytes(change, exclude=user_id)

    async def broadcast_bytes(self, data: bytes, exclude: str = ""):
        for user_id, websocket in self.editors.items():
            if user_id != exclude:
                await websocket.send_bytes(data)


class YDocServer:  # manager
    def __init__(self):
        self.sessions: dict[str, DocumentSession] = {}

    async def serve(self, websocket: WebSocket, document_id: str, user_id: str):
        session = self.sessions.setdefault(document_id, DocumentSession(document_id))
        await session.connect(user_id, websocket)
        async for change in websocket.iter_bytes():
            await session.apply(user_id, change)


class CursorBroadcaster:  # manager
    def __init__(self, session: DocumentSession):
        self.session = session

    async def broadcast_cursor(self, user_id: str, position: int):
        await self.session.broadcast_bytes(f"{user_id}:{position}".encode(), exclude=user_id)


class SnapshotStore:  # other
    def __init__(self, directory: str):
        self.directory = directory
        self._lock = asyncio.Lock()

    async def save(self, document_id: str, data: bytes):
        async with self._lock:
            with open(f"{self.directory}/{document_id}", "wb") as file:
                file.write(data)


class UndoHistory:  # other
    def __init__(self):
        self.done, self.undone = [], []

    def push(self, change):
        self.done.append(change)

    def undo(self):
        self.undone.append(self.done.pop())
