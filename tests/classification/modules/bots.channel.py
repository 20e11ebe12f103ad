"""Output channels of a bot; one of them is a socket."""
from socketio import AsyncServer


class OutputChannel:  # other
    """What a bot can write to. Each medium has its own."""

    @classmethod
    def name(cls):
        return cls.__name__.lower()


class SocketIOOutput(OutputChannel):  # manager
    def __init__(self, sio: AsyncServer, bot_message_evt):
        self.sio = sio
        self.bot_message_evt = bot_message_evt

    async def _send_message(self, socket_id, response):
        await self.sio.emit(self.bot_message_evt, response, room=socket_id)

    async def send_text_message(self, recipient_id, text):
        await self._send_message(recipient_id, {"text": text})


class ConsoleOutput(OutputChannel):  # other
    def show(self, text):
        print(text)


class Tracker:  # other
    def __init__(self, sender_id):
        self.sender_id = sender_id
        self.events = []

    def update(self, event):
        self.events.append(event)
