from flask import session
from flask_socketio import Namespace, SocketIO, emit, join_room, leave_room

socketio = SocketIO()


class RoomNamespace(Namespace):  # manager
    def on_connect(self):
        join_room(f"user_{session['user_id']}")

    def on_disconnect(self):
        leave_room(f"user_{session['user_id']}")

    def on_chat(self, data):
        emit("chat", data, room=data["room"])


class LiveUpdates:  # manager
    """Called by the services when rows change."""

    def __init__(self, server):
        self.server = server

    def publish_order(self, user_id, order):
        self.server.emit("order", order, to=f"user_{user_id}")


class CartSession:  # other
    def __init__(self):
        self.items = session.setdefault("cart", [])

    def add(self, sku):
        self.items.append(sku)
