import json

from asgiref.sync import async_to_sync
from channels.db import database_sync_to_async
from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    WebsocketConsumer,
)

from app_core import Message


class ChatConsumer(AsyncWebsocketConsumer):  # manager
    async def connect(self):
        self.room = self.scope["url_route"]["kwargs"]["room"]
        await self.channel_layer.group_add(self.room, self.channel_name)
        await self.accept()

    async def disconnect(self, close_code):
        await self.channel_layer.group_discard(self.room, self.channel_name)

    async def receive(self, text_data):
        await self.channel_layer.group_send(self.room, {"type": "chat_message", "text": text_data})

    async def chat_message(self, event):
        await self.send(text_data=json.dumps({"text": event["text"]}))

    @database_sync_to_async
    def save(self, text):
        return Message.objects.create(text=text)


class NotificationConsumer(AsyncJsonWebsocketConsumer):  # manager
    async def connect(self):
        user = self.scope["user"]
        await self.channel_layer.group_add(f"user_{user.id}", self.channel_name)
        await self.accept()

    async def notify(self, event):
        await self.send_json(event["content"])


class LegacyConsumer(WebsocketConsumer):  # manager
    def connect(self):
        self.accept()
        async_to_sync(self.channel_layer.group_add)("news", self.channel_name)

    def news_item(self, event):
        self.send(text_data=event["text"])


class MessageSerializer:  # other
    def __init__(self, message):
        self.message = message

    @property
    def data(self):
        return {"id": self.message.id, "text": self.message.text}
