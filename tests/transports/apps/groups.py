# SPDX-License-Identifier: Apache-2.0
"""Django Channels as teams write it: consumers with groups, async and in threads.

`DEFECT`: `payload` sends alice's notices to bob's group as well, `group` puts everybody into
alice's group.
"""

from __future__ import annotations

import os
from typing import Any

import django
from asgiref.sync import async_to_sync
from django.conf import settings

settings.configure(
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "channels"],
    CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
    SECRET_KEY="of a test",
    ALLOWED_HOSTS=["*"],
)
django.setup()

from channels.auth import UserLazyObject  # noqa: E402
from channels.generic.http import AsyncHttpConsumer  # noqa: E402
from channels.generic.websocket import (  # noqa: E402
    AsyncJsonWebsocketConsumer,
    JsonWebsocketConsumer,
)
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.urls import path  # noqa: E402

DEFECT = os.environ.get("DEFECT", "")
USERS = {"alice": 1, "bob": 2, "carol": 3}


class TokenAuth:
    """As Channels' own middleware does it: a lazy user in a copy of the scope."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    async def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
        name = dict(scope["headers"])[b"authorization"].decode()
        scope = dict(scope, user=UserLazyObject())
        scope["user"]._wrapped = User(id=USERS[name], username=name)
        return await self.inner(scope, receive, send)


class Health(AsyncHttpConsumer):
    async def handle(self, body: bytes) -> None:
        await self.send_response(200, b"ready")


class Chat(AsyncJsonWebsocketConsumer):
    async def connect(self) -> None:
        self.number = self.scope["user"].id
        await self.channel_layer.group_add("lobby", self.channel_name)
        await self.channel_layer.group_add(f"user_{self.number}", self.channel_name)
        if DEFECT == "group":
            await self.channel_layer.group_add("user_1", self.channel_name)
        await self.accept()

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        layer = self.channel_layer
        await self.send_json({"type": "message", "user_id": self.number})
        notice = {"type": "notice", "body": {"type": "notification", "user_id": self.number}}
        if DEFECT != "group":
            await layer.group_send(f"user_{self.number}", notice)
            if DEFECT == "payload" and self.number == 1:
                await layer.send(content["bobs"], notice)
        await layer.group_send(f"user_{self.number}", {"type": "notice", "body": {"type": "ping"}})
        await layer.group_send("lobby", {"type": "notice", "body": {"type": "joined"}})
        await self.send_json({"type": "done", "channel": self.channel_name})

    async def notice(self, event: Any) -> None:
        await self.send_json(event["body"])


class Threaded(JsonWebsocketConsumer):
    """The same in threads."""

    def connect(self) -> None:
        self.number = self.scope["user"].id
        add = async_to_sync(self.channel_layer.group_add)
        add("lobby", self.channel_name)
        add(f"user_{self.number}", self.channel_name)
        if DEFECT == "group":
            add("user_1", self.channel_name)
        self.accept()

    def receive_json(self, content: Any, **kwargs: Any) -> None:
        group_send = async_to_sync(self.channel_layer.group_send)
        self.send_json({"type": "message", "user_id": self.number})
        notice = {"type": "notice", "body": {"type": "notification", "user_id": self.number}}
        if DEFECT != "group":
            group_send(f"user_{self.number}", notice)
            if DEFECT == "payload" and self.number == 1:
                async_to_sync(self.channel_layer.send)(content["bobs"], notice)
        group_send(f"user_{self.number}", {"type": "notice", "body": {"type": "ping"}})
        group_send("lobby", {"type": "notice", "body": {"type": "joined"}})
        self.send_json({"type": "done", "channel": self.channel_name})

    def notice(self, event: Any) -> None:
        self.send_json(event["body"])


app = ProtocolTypeRouter(
    {
        "http": URLRouter([path("health", Health.as_asgi())]),
        "websocket": TokenAuth(
            URLRouter([path("chat", Chat.as_asgi()), path("threaded", Threaded.as_asgi())])
        ),
    }
)
