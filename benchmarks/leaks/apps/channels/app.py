# SPDX-License-Identifier: Apache-2.0
"""Deskline: live updates for the help desk (daphne app:app)."""

import json

import django
from django.conf import settings

settings.configure(
    SECRET_KEY="deskline-local",
    DEBUG=False,
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF="app",
    INSTALLED_APPS=["channels"],
    MIDDLEWARE=[],
    USE_TZ=True,
    CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
)
django.setup()

from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.http import JsonResponse  # noqa: E402
from django.urls import path, re_path  # noqa: E402

from accounts import TokenAuthMiddleware, directory  # noqa: E402
from consumers import (  # noqa: E402
    AssistantConsumer,
    DocumentConsumer,
    HomeConsumer,
    TicketConsumer,
)


def health(request):
    return JsonResponse({"ok": True})


def create_session(request):
    """The web client trades its API token for a session cookie."""
    user = directory.by_token(json.loads(request.body or "{}").get("token"))
    if user is None:
        return JsonResponse({"detail": "bad token"}, status=403)
    response = JsonResponse({"id": user.id, "name": user.username})
    response.set_cookie("deskline_session", directory.new_session(user), httponly=True)
    return response


urlpatterns = [path("healthz", health), path("session", create_session)]

websocket_urlpatterns = [
    re_path(r"^ws/home/$", HomeConsumer.as_asgi()),
    re_path(r"^ws/assistant/$", AssistantConsumer.as_asgi()),
    re_path(r"^ws/tickets/(?P<ticket_id>\d+)/$", TicketConsumer.as_asgi()),
    re_path(r"^ws/docs/(?P<slug>[\w-]+)/$", DocumentConsumer.as_asgi()),
]

app = ProtocolTypeRouter(
    {
        "http": get_asgi_application(),
        "websocket": TokenAuthMiddleware(URLRouter(websocket_urlpatterns)),
    }
)
