"""Twisted, as games have it."""
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol


class PlayerProtocol(WebSocketServerProtocol):  # manager
    def onConnect(self, request):
        self.account = request.params.get("account")

    def onOpen(self):
        self.factory.register(self)

    def onMessage(self, payload, isBinary):
        self.factory.broadcast(payload)

    def onClose(self, wasClean, code, reason):
        self.factory.unregister(self)

    def sendLine(self, line):
        self.sendMessage(line.encode(), False)


class PlayerFactory(WebSocketServerFactory):  # manager
    def __init__(self, url):
        super().__init__(url)
        self.players = []

    def register(self, player):
        self.players.append(player)

    def unregister(self, player):
        self.players.remove(player)

    def broadcast(self, payload):
        for player in self.players:
            player.sendMessage(payload, False)


class SessionHandler:  # manager
    """Sessions of players, whatever they came in by."""

    def __init__(self):
        self.sessions = {}

    def connect(self, session):
        self.sessions[session.sessid] = session

    def disconnect(self, session):
        self.sessions.pop(session.sessid, None)

    def data_out(self, session, **kwargs):
        session.send_message(kwargs)

    def announce_all(self, text):
        for session in self.sessions.values():
            self.data_out(session, text=text)


class Command:  # other
    key = "look"

    def parse(self):
        self.args = self.args.strip()

    def func(self):
        raise NotImplementedError
