import socketio

from app_core import authenticate

sio = socketio.AsyncServer(async_mode="asgi")


class ChatNamespace(socketio.AsyncNamespace):  # manager
    async def on_connect(self, sid, environ, auth):
        user = await authenticate(auth)
        await self.save_session(sid, {"user_id": user.id})
        await self.enter_room(sid, f"user_{user.id}")

    async def on_disconnect(self, sid):
        session = await self.get_session(sid)
        await self.leave_room(sid, f"user_{session['user_id']}")

    async def on_message(self, sid, data):
        await self.emit("message", data, room=data["room"], skip_sid=sid)


class GameNamespace(socketio.Namespace):  # manager
    def on_move(self, sid, data):
        self.emit("moved", data, room=data["game"])

    def on_join(self, sid, data):
        self.enter_room(sid, data["game"])


class SocketService:  # manager
    def __init__(self, server: socketio.AsyncServer):
        self.server = server

    async def emit_to_user(self, user_id, event, data):
        await self.server.emit(event, data, room=f"user_{user_id}")

    async def emit_to_room(self, room, event, data):
        await self.server.emit(event, data, room=room)


class SocketIONotifier:  # manager
    def __init__(self, server):
        self.server = server

    def notify(self, user_id, event, payload):
        return self.server.start_background_task(self.server.emit, event, payload, to=f"user:{user_id}")


class GameState:  # other
    def __init__(self):
        self.board = [None] * 9

    def play(self, index, mark):
        self.board[index] = mark
