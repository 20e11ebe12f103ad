"""Threads and a plain WSGI server."""
import json
import threading

from flask import Flask
from simple_websocket import ConnectionClosed, Server

app = Flask(__name__)


class ClientPool:  # manager
    def __init__(self):
        self.lock = threading.Lock()
        self.clients = {}

    def add(self, user_id, ws: Server):
        with self.lock:
            self.clients[user_id] = ws

    def discard(self, user_id):
        with self.lock:
            self.clients.pop(user_id, None)

    def push(self, user_id, data):
        try:
            self.clients[user_id].send(json.dumps(data))
        except ConnectionClosed:
            self.discard(user_id)


class ChatRoom:  # manager
    def __init__(self, name):
        self.name = name
        self.members = []

    def subscribe(self, ws):
        self.members.append(ws)

    def unsubscribe(self, ws):
        self.members.remove(ws)

    def broadcast(self, text):
        for ws in self.members:
            ws.send(text)


class Greeting:  # other
    def __init__(self, name):
        self.name = name

    def render(self):
        return f"<h1>{self.name}</h1>"
