"""Written by somebody who came from JavaScript."""
from fastapi import WebSocket


class SocketManager:  # manager
    def __init__(self):
        self.sockets = {}

    async def addConnection(self, userId: str, socket: WebSocket):
        self.sockets[userId] = socket

    async def removeConnection(self, userId: str):
        self.sockets.pop(userId, None)

    async def sendToUser(self, userId: str, payload: dict):
        await self.sockets[userId].send_json(payload)

    async def broadcastMessage(self, payload: dict):
        for userId in self.sockets:
            await self.sendToUser(userId, payload)


class eventEmitter:  # manager
    def __init__(self, socket: WebSocket):
        self.socket = socket

    async def emitEvent(self, eventName: str, data: dict):
        await self.socket.send_json({"event": eventName, "data": data})


class userController:  # other
    def __init__(self, repo):
        self.repo = repo

    async def getUser(self, userId: str):
        return self.repo.find(userId)
