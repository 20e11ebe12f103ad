from litestar import WebSocket
from litestar.channels import ChannelsPlugin
from litestar.handlers import WebsocketListener


class ChatListener(WebsocketListener):  # manager
    path = "/chat"

    async def on_accept(self, socket: WebSocket):
        self.user = socket.user

    async def on_receive(self, data: dict) -> dict:
        return data


class UserChannels:  # manager
    def __init__(self, channels: ChannelsPlugin):
        self.channels = channels

    def publish_to_user(self, user_id: str, event: dict):
        self.channels.publish(event, [f"user:{user_id}"])
