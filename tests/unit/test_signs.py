# SPDX-License-Identifier: Apache-2.0
"""What code shows: which classes that decides about, and which of their methods are sends."""

from __future__ import annotations

import textwrap
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from ws_audit import naming
from ws_audit.classes.classify import Refused, Target, classify
from ws_audit.classes.refusals import DOUBLE, ITS_A_CLIENT, NO_CONNECT, NO_SEND, NOT_REALTIME, OTHER
from ws_audit.classes.signs import is_realtime
from ws_audit.model import BIND, BROADCAST, RECEIVE, SEND

if TYPE_CHECKING:
    from ws_audit.classes.classify import Method

WEBSOCKET = "from fastapi import WebSocket\n"
FASTAPI = "from fastapi import APIRouter, Depends, HTTPException\n"


def look(header: str, source: str, name: str = "app.chat") -> Target | Refused:
    """What the rules say of the last class of a module."""
    made = ModuleType(name)
    text = header + textwrap.dedent(source)
    exec(compile(text, f"{name}.py", "exec", dont_inherit=True), vars(made))
    classes = [one for one in vars(made).values() if getattr(one, "__module__", "") == name]
    return classify(classes[-1], is_realtime(made))


def methods(header: str, source: str) -> dict[str, Method]:
    target = look(header, source)
    assert isinstance(target, Target), target
    return {method.name: method for method in target.methods}


# --- modules ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("app.websocket.manager", True),
        ("app.services.websocket_manager", True),
        ("app.webSocketHub", True),
        ("app.ws", True),
        ("app.core.sse", True),
        ("app.sockets", True),
        ("app.realtime.hub", True),
        ("app.news", False),
        ("app.aws.sns", False),
        ("app.services.assessment", False),
    ],
)
def test_a_modules_own_name_may_say_it(name: str, expected: bool) -> None:
    assert is_realtime(ModuleType(name)) is expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("WebSocket", True),
        ("websocket_router", True),
        ("get_websocket_manager", True),
        ("sio", True),
        ("SSE_RETRY", True),
        ("EventSourceResponse", True),
        ("news", False),
        ("AwsClient", False),
        ("asset", False),
        ("Session", False),
    ],
)
def test_so_may_a_name_in_it(name: str, expected: bool) -> None:
    made = ModuleType("app.chat")
    setattr(made, name, object())
    assert is_realtime(made) is expected


# --- classes ---------------------------------------------------------------------------------

MAIL = "def notify(self, user_id, text): self.smtp.send(user_id, text)"
PUSH = "async def push(self, data): await self.websocket.send_json(data)"
TAKEN = {
    "it handles a socket and sends": (
        FASTAPI,
        f"class Ticker:\n    {PUSH}",
    ),
    "the same, by an annotation": (
        "",
        "class Ticker:\n    def push(self, to: 'WebSocket', data): ...",
    ),
    "it writes an event stream": (
        FASTAPI,
        "class Feed:\n    def push(self, x): ...\n    def go(self): return 'text/event-stream'",
    ),
    "it gets message and socket together": (
        FASTAPI,
        "class Answers:\n    async def handle_message(self, user_id, websocket, message): ...",
    ),
    "it is made for one user": (
        WEBSOCKET,
        "class Steps:\n    def __init__(self, user_id): ...\n    def send_step(self, x): ...",
    ),
    "it sends to a user": (
        WEBSOCKET,
        "class Orders:\n    def publish_to_user(self, user_id, x): ...",
    ),
    "it hands on to a manager": (
        WEBSOCKET,
        "class Typing:\n    def notify(self, t, x): self.gate.send_to_thread(t, x)",
    ),
    "it hands on, whatever its name says": (
        WEBSOCKET,
        "class RedisListener:\n    def dispatch(self, x): self.hub.broadcast_price(x)",
    ),
    "it fills queues that it hands out": (
        WEBSOCKET,
        """
        import asyncio
        class Broker:
            def publish(self, x): ...
            def subscribe(self): return asyncio.Queue()
        """,
    ),
    "it streams from the queues it fills, in a module that shows nothing": (
        "import asyncio\n",
        """
        class Broker:
            def publish(self, channel, x): self.queues[channel].put_nowait(x)
            async def listen(self, channel):
                while True: yield await self.queues[channel].get()
        """,
    ),
    "it connects something, and sends": (
        WEBSOCKET,
        "class Players:\n    def connect(self, player): ...\n    def announce(self, x): ...",
    ),
    "its name leaves no doubt, and it registers": (
        "",
        "class WebsocketSessionManager:\n    def connect_session(self, client): ...",
    ),
}
REFUSED = {
    "a web framework alone says nothing": (
        FASTAPI,
        f"class EmailNotifier:\n    {MAIL}",
        NOT_REALTIME,
    ),
    "another medium, beside sockets": (WEBSOCKET, f"class MailNotifier:\n    {MAIL}", OTHER),
    "a database's connections": (
        FASTAPI,
        "class DatabaseConnectionManager:\n    def send(self, sql): ...",
        NOT_REALTIME,
    ),
    "a database's, beside sockets": (
        WEBSOCKET,
        "class DatabaseConnectionManager:\n    def send(self, sql): ...",
        OTHER,
    ),
    "counters of connections": (
        WEBSOCKET,
        "class Counts:\n    def on_connect(self): ...\n    def publish(self): ...",
        NO_CONNECT,
    ),
    "a client of websockets": (
        "import websockets\n",
        f"""
        class Feed:
            async def run(self): self.websocket = await websockets.connect('x')
            {PUSH}
        """,
        ITS_A_CLIENT,
    ),
    "a client of aiohttp": (
        "",
        f"class Feed:\n    async def run(self): await self.http.ws_connect('x')\n    {PUSH}",
        ITS_A_CLIENT,
    ),
    "a mock by its base": (
        WEBSOCKET + "from unittest.mock import MagicMock\n",
        f"class ConnectionManager(MagicMock):\n    {MAIL}",
        DOUBLE,
    ),
    "it handles sockets and sends nothing": (
        WEBSOCKET,
        "class Guard:\n    async def check(self, websocket): await websocket.close()",
        NO_SEND,
    ),
    "a worksheet is no socket": (
        "",
        "class Report:\n    def send(self, ws): ws['A1'] = 1",
        NOT_REALTIME,
    ),
    "who works off a queue listens to nobody": (
        "import asyncio\n",
        """
        class Work:
            def publish(self, x): self.queue.put_nowait(x)
            async def take(self):
                while True: yield await self.queue.get()
        """,
        NOT_REALTIME,
    ),
    "a stream that is filled elsewhere": (
        "import asyncio\n",
        """
        class Ticks:
            def publish(self, x): self.log.append(x)
            async def stream(self):
                while True: yield await self.queue.get()
        """,
        NOT_REALTIME,
    ),
    "a stream of tasks": (
        "import asyncio\n",
        """
        class TaskFeed:
            def publish(self, x): self.queue.put_nowait(x)
            async def stream(self):
                while True: yield await self.queue.get()
        """,
        NOT_REALTIME,
    ),
    "a line of text is no socket": (
        "import io, socket\n",
        "class Wire:\n    def send(self, data): return socket.SocketIO(data, 'w')",
        NOT_REALTIME,
    ),
}


@pytest.mark.parametrize("case", TAKEN)
def test_taken(case: str) -> None:
    header, source = TAKEN[case]
    assert isinstance(look(header, source), Target)


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    header, source, reason = REFUSED[case]
    found = look(header, source)
    assert isinstance(found, Refused), found
    assert found.reason == reason


BASES = [
    ("channels.generic.websocket", "AsyncJsonWebsocketConsumer", True),
    ("channels.generic.http", "AsyncHttpConsumer", False),
    ("socketio.async_namespace", "AsyncNamespace", True),
    ("flask_socketio.namespace", "Namespace", True),
    ("argparse", "Namespace", False),
    ("tornado.websocket", "WebSocketHandler", True),
    ("tornado.web", "RequestHandler", False),
    ("autobahn.twisted.websocket", "WebSocketServerProtocol", True),
    ("starlette.endpoints", "WebSocketEndpoint", True),
    ("litestar.handlers", "WebsocketListener", True),
]


@pytest.mark.parametrize(("module", "base", "expected"), BASES)
def test_a_frameworks_own_base_class(module: str, base: str, expected: bool) -> None:
    bases = (type(base, (), {"__module__": module}),)
    body = {"__module__": "app.chat", "on_message": lambda self, data: None}
    assert isinstance(classify(type("Talk", bases, body), realtime=False), Target) is expected


def test_a_protocol_of_a_framework_is_no_interface() -> None:
    bases = (type("WebSocketServerProtocol", (), {"__module__": "autobahn.websocket"}),)
    body = {"__module__": "app.mud", "onMessage": lambda self, payload, binary: None}
    target = classify(type("PlayerProtocol", bases, body), realtime=True)
    assert isinstance(target, Target)
    assert [method.kind for method in target.methods] == [RECEIVE]


def test_a_module_attribute_that_is_no_text() -> None:
    odd = type("Odd", (), {"__module__": 3})
    found = classify(type("Sub", (odd,), {"send": lambda self, x: None}), realtime=True)
    assert isinstance(found, Refused)


# --- methods under names no rule knows -------------------------------------------------------

LIVE = """
class LiveFeed:
    def __init__(self):
        self.watchers = {}

    async def watch(self, user_id, websocket):
        await websocket.accept()
        await websocket.send_json({"hello": user_id})

    async def update(self, user_id, row):
        await self.watchers[user_id].send_json(row)

    async def tell_user(self, user_id, row):
        await self.watchers[user_id].send_json(row)

    async def update_all(self, row):
        for websocket in self.watchers.values():
            await websocket.send_json(row)

    async def write(self, queue):
        while True:
            await self.websocket.send_json(await queue.get())

    async def talk(self, question):
        await self.websocket.send_json(question)
        return await self.websocket.receive_json()

    async def tick(self):
        await self.websocket.send_json({})

    async def greet(self, websocket, row):
        await websocket.send_json(row)

    def count(self, row):
        return len(self.watchers)
"""


def test_a_method_that_sends_under_another_name_is_a_send() -> None:
    found = methods(WEBSOCKET, LIVE)
    assert {name: method.kind for name, method in found.items() if name != "__init__"} == {
        "update": SEND,
        "tell_user": SEND,
        "update_all": BROADCAST,
    }


def test_only_a_name_that_says_so_makes_its_user_the_recipient() -> None:
    # `play(player_id, card)` tells the others: a recipient there would be a false alarm.
    found = methods(WEBSOCKET, LIVE)
    assert (found["update"].parameters.recipient, found["update"].parameters.payload) == (
        None,
        "row",
    )
    assert found["tell_user"].parameters.recipient == "user_id"


def test_emitting_to_a_room_is_a_send() -> None:
    source = """
    class Moves:
        def moved(self, data):
            self.server.emit("moved", data, room=data["game"])
        def local(self, data):
            self.signal.emit("moved", data, sender=self)
    """
    assert list(methods("sio = None\n", source)) == ["moved"]


def test_a_named_method_keeps_its_kind() -> None:
    source = """
    class Room:
        async def connect(self, websocket, user_id):
            await websocket.send_json({})
        async def broadcast(self, row):
            await self.websocket.send_json(row)
    """
    found = methods(WEBSOCKET, source)
    assert {name: method.kind for name, method in found.items()} == {
        "connect": BIND,
        "broadcast": BROADCAST,
    }


def test_patterns_for_methods_are_anchored() -> None:
    """They are matched from the beginning of a name, so each alternative must say so."""
    for pattern in (
        *(naming.UNBIND_METHOD, naming.BIND_METHOD, naming.BIND_WITH_SOCKET),
        *(naming.RECEIVE_METHOD, naming.BROADCAST_METHOD, naming.SEND_METHOD),
    ):
        depth, alternatives = 0, [""]
        for letter in pattern:
            depth += (letter == "(") - (letter == ")")
            if letter == "|" and depth == 0:
                alternatives.append("")
            else:
                alternatives[-1] += letter
        assert all(one.startswith("^") for one in alternatives), pattern
