# SPDX-License-Identifier: Apache-2.0
"""Managers in every shape an application may give them are hooked, in a fresh interpreter.

Whoever connects as `mallory` is sent what belongs to alice. If the class was hooked, the
verdict bears its name; if not, it bears none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.startup.interpreters import Environment

HEAD = """
import abc, dataclasses, functools, typing
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute

async def converse(websocket, manager):
    user_id = websocket.path_params["user_id"]
    owner = "alice" if user_id == "mallory" else user_id
    await websocket.accept()
    manager.add_client(websocket, user_id)
    await manager.send_to_user(user_id, {"type": "message", "user_id": owner})
    await websocket.close()

def application(endpoint):
    return Starlette(routes=[WebSocketRoute("/ws/{user_id}", endpoint)])

class Base:
    def __init__(self):
        self.sockets = {}

    def add_client(self, websocket, user_id):
        self.sockets[user_id] = websocket

    async def deliver(self, user_id, message):
        await self.sockets[user_id].send_json(message)
"""
BODY = """
    def __init__(self):
        self.sockets = {}

    def add_client(self, websocket, user_id):
        self.sockets[user_id] = websocket

    async def send_to_user(self, user_id, message):
        await self.sockets[user_id].send_json(message)
"""
ENDPOINT = """
async def endpoint(websocket):
    await converse(websocket, manager)

app = application(endpoint)
"""

# What a module is called that the class is defined in, what it is made of, the class's name.
SHAPES: dict[str, tuple[str, str]] = {
    "in a function, for good": (
        """
def create_app():
    class ConnectionManager:
{body}
    manager = ConnectionManager()

    async def endpoint(websocket):
        await converse(websocket, manager)

    return application(endpoint)

app = create_app()
""",
        "create_app.<locals>.ConnectionManager",
    ),
    "by type()": (
        """
async def send_to_user(self, user_id, message):
    await self.sockets[user_id].send_json(message)

ConnectionManager = type("ConnectionManager", (Base,), {"send_to_user": send_to_user})
manager = ConnectionManager()
"""
        + ENDPOINT,
        "ConnectionManager",
    ),
    "of each request, below a manager": (
        """
class ConnectionManager:
    def __init__(self):
        self.sockets = {}

    def add_client(self, websocket, user_id):
        self.sockets[user_id] = websocket

    async def send_to_user(self, user_id, message):
        raise NotImplementedError

async def endpoint(websocket):
    class RequestManager(ConnectionManager):
        async def send_to_user(self, user_id, message):
            await self.sockets[user_id].send_json(message)

    await converse(websocket, RequestManager())

app = application(endpoint)
""",
        "endpoint.<locals>.RequestManager",
    ),
    "of each request, from a factory": (
        """
def create_connection_manager():
    class LocalManager:
{body}
    return LocalManager()

async def endpoint(websocket):
    await converse(websocket, create_connection_manager())

app = application(endpoint)
""",
        "create_connection_manager.<locals>.LocalManager",
    ),
    "with its method attached afterwards": (
        """
class ConnectionManager(Base):
    async def send_ping(self, user_id):
        pass

manager = ConnectionManager()
"""
        + ENDPOINT
        + """
def extend():
    async def send_to_user(self, user_id, message):
        await self.sockets[user_id].send_json(message)

    ConnectionManager.send_to_user = send_to_user
""",
        "ConnectionManager",
    ),
    "behind a forwarder": (
        """
class ConnectionManager:
{body1}

class Forwarder:
    def __init__(self, inner):
        self._inner = inner

    def __getattr__(self, name):
        return getattr(self._inner, name)

manager = Forwarder(ConnectionManager())
"""
        + ENDPOINT,
        "ConnectionManager",
    ),
    "with a metaclass that makes one": (
        """
class Single(type):
    made = {{}}

    def __call__(cls, *args, **kwargs):
        if cls not in Single.made:
            Single.made[cls] = super().__call__(*args, **kwargs)
        return Single.made[cls]

    def __setattr__(cls, name, value):
        raise TypeError("closed")

class ConnectionManager(metaclass=Single):
{body1}

async def endpoint(websocket):
    await converse(websocket, ConnectionManager())

app = application(endpoint)
""",
        "ConnectionManager",
    ),
    "frozen and not hashable": (
        """
@dataclasses.dataclass(frozen=True, eq=True)
class ConnectionManager:
    sockets: dict = dataclasses.field(default_factory=dict)
    __hash__ = None

    def add_client(self, websocket, user_id):
        self.sockets[user_id] = websocket

    async def send_to_user(self, user_id, message):
        await self.sockets[user_id].send_json(message)

manager = ConnectionManager()
"""
        + ENDPOINT,
        "ConnectionManager",
    ),
    "a dataclass with slots": (
        """
@dataclasses.dataclass(slots=True)
class ConnectionManager:
    sockets: dict = dataclasses.field(default_factory=dict)

    def add_client(self, websocket, user_id):
        self.sockets[user_id] = websocket

    async def send_to_user(self, user_id, message):
        await self.sockets[user_id].send_json(message)

manager = ConnectionManager()
"""
        + ENDPOINT,
        "ConnectionManager",
    ),
    "of an abstract class and a protocol": (
        """
class Sender(typing.Protocol):
    async def send_to_user(self, user_id, message): ...

class AbstractManager(abc.ABC):
    @abc.abstractmethod
    async def send_to_user(self, user_id, message): ...

class ConnectionManager(AbstractManager, Sender):
{body1}

manager = ConnectionManager()
assert isinstance(manager, AbstractManager)
"""
        + ENDPOINT,
        "ConnectionManager",
    ),
    "a singleton whose constructor runs again": (
        """
class ConnectionManager:
    _only = None

    def __new__(cls):
        if cls._only is None:
            cls._only = super().__new__(cls)
            cls._only.sockets = {{}}
        return cls._only

    def __init__(self):
        pass

    def add_client(self, websocket, user_id):
        self.sockets[user_id] = websocket

    async def send_to_user(self, user_id, message):
        await self.sockets[user_id].send_json(message)

async def endpoint(websocket):
    await converse(websocket, ConnectionManager())

app = application(endpoint)
""",
        "ConnectionManager",
    ),
    "deep below a base, through a method between": (
        """
class ConnectionManager(Base):
    async def send_to_user(self, user_id, message):
        await self._handle(user_id, message)

    async def _handle(self, user_id, message):
        await self.deliver(user_id, message)

class RedisManager(ConnectionManager):
    async def send_to_user(self, user_id, message):
        await self._locally(user_id, message)

    async def _locally(self, user_id, message):
        await super().send_to_user(user_id, message)

manager = RedisManager()
"""
        + ENDPOINT,
        "RedisManager",
    ),
    "decorated, and a property beside it": (
        """
def logged(function):
    @functools.wraps(function)
    async def wrapper(*args, **kwargs):
        return await function(*args, **kwargs)
    return wrapper

class ConnectionManager:
    def __init__(self):
        self.sockets = {{}}

    @property
    def send_state(self):
        raise AssertionError("read")

    def add_client(self, websocket, user_id):
        self.sockets[user_id] = websocket

    @logged
    async def send_to_user(self, user_id, message):
        await self.sockets[user_id].send_json(message)

manager = ConnectionManager()
"""
        + ENDPOINT,
        "ConnectionManager",
    ),
}

SCRIPT = """
from telling import metric, told
from starlette.testclient import TestClient
import chat

if hasattr(chat, "extend"):
    chat.extend()
client = TestClient(chat.app)
for user_id in ("alice", "mallory"):
    with client.websocket_connect("/ws/" + user_id) as session:
        session.receive_json()

def counts(manager):
    return [
        metric("ws_audit_verdicts_total", manager=manager, verdict="match"),
        metric("ws_audit_verdicts_total", manager=manager, verdict="violation"),
    ]

told(counts=counts("chat:MANAGER"), none=counts("none"), sent=metric(
    "ws_audit_events_sent_total", manager="chat:MANAGER", event="message", outcome="ok"
))

import ws_audit
from ws_audit.agent import agent
ws_audit.disable()
told(
    left=[
        name
        for cls in vars(chat).values() if isinstance(cls, type)
        for name, value in vars(cls).items()
        if "__ws_audit__" in getattr(value, "__dict__", ())
    ],
    errors=metric("ws_audit_internal_errors_total", stage="hooks"),
)
"""


def source_of(shape: str) -> str:
    text = SHAPES[shape][0].replace("{{", "{").replace("}}", "}")
    deeper = BODY.replace("\n", "\n    ")
    return HEAD + text.replace("{body1}", BODY).replace("{body}", deeper)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_manager_is_hooked_whatever_its_shape(app: Environment, shape: str) -> None:
    app.write(chat=source_of(shape))
    ended = app.audited(SCRIPT.replace("MANAGER", SHAPES[shape][1]))
    assert ended.told == {
        "counts": [1, 1],
        "none": [0, 0],
        "sent": 2,  # one logical event each, however many methods it passes
        "left": [],
        "errors": 0,
    }
    assert "internal error" not in ended.err


CAPTURED = (
    HEAD
    + """
class ConnectionManager:
"""
    + BODY
    + """
manager = ConnectionManager()
send = manager.send_to_user
handlers = [manager.send_to_user]

async def endpoint(websocket):
    user_id = websocket.path_params["user_id"]
    await websocket.accept()
    manager.add_client(websocket, user_id)
    await send(user_id, {"type": "message", "user_id": "alice"})
    await websocket.close()

app = application(endpoint)
"""
)

TOO_LATE = """
from telling import metric, told
from starlette.testclient import TestClient
import chat

client = TestClient(chat.app)
with client.websocket_connect("/ws/mallory") as session:
    session.receive_json()
told(
    late=metric("ws_audit_targets", state="too_late"),
    none=metric("ws_audit_verdicts_total", manager="none", verdict="violation"),
)
"""


def test_what_was_bound_before_the_hook_is_told_and_still_judged(app: Environment) -> None:
    app.write(chat=CAPTURED)
    ended = app.audited(TOO_LATE)
    assert ended.told == {"late": 2, "none": 1}
    told = [line for line in ended.err.splitlines() if "too late" in line]
    assert len(told) == 2
    name = "chat:ConnectionManager.send_to_user was kept as a bound method"
    assert any(f"{name} in chat.send;" in line for line in told), ended.err
    assert any(f"{name};" in line for line in told), ended.err


LATER = """
import time
from telling import metric, told
from starlette.testclient import TestClient
import chat
from ws_audit.agent import agent

client = TestClient(chat.app)
with client.websocket_connect("/ws/alice") as session:
    session.receive_json()

async def send_to_user(self, user_id, message):
    await self.sockets[user_id].send_json(message)

chat.ConnectionManager.send_to_user = send_to_user
limit = time.monotonic() + 10
while chat.ConnectionManager.send_to_user is send_to_user and time.monotonic() < limit:
    time.sleep(0.05)
told(hooked=chat.ConnectionManager.send_to_user is not send_to_user)
with client.websocket_connect("/ws/mallory") as session:
    session.receive_json()
told(seen=metric("ws_audit_verdicts_total", manager="chat:ConnectionManager", verdict="violation"))
import ws_audit
ws_audit.disable()
told(back=chat.ConnectionManager.send_to_user is send_to_user)
"""


def test_a_method_put_in_the_place_of_a_hooked_one_is_hooked(app: Environment) -> None:
    app.write(
        chat=HEAD
        + "class ConnectionManager:\n"
        + BODY
        + "manager = ConnectionManager()\n"
        + ENDPOINT
    )
    assert app.audited(LATER).told == {"hooked": True, "seen": 1, "back": True}


LIFESPAN = (
    HEAD
    + """
import asyncio, contextlib

@contextlib.asynccontextmanager
async def lifespan(app):
    class ConnectionManager:
"""
    + BODY.replace("\n", "\n    ")
    + """
    app.state.manager = ConnectionManager()
    yield

async def endpoint(websocket):
    await converse(websocket, websocket.app.state.manager)

app = Starlette(routes=[WebSocketRoute("/ws/{user_id}", endpoint)], lifespan=lifespan)
"""
)

SERVED = """
import asyncio, time
from loopback import message, serving
from telling import metric, told
import chat

async def main():
    async with serving(chat.app) as url:
        cls = type(chat.app.state.manager)
        limit = time.monotonic() + 10
        while not hasattr(cls.send_to_user, "__wrapped__") and time.monotonic() < limit:
            await asyncio.sleep(0.05)
        await message(url + "/ws/mallory")
    told(seen=metric(
        "ws_audit_verdicts_total",
        manager="chat:lifespan.<locals>.ConnectionManager",
        verdict="violation",
    ))

asyncio.run(main())
"""


def test_a_class_made_in_the_application_s_startup_is_hooked(app: Environment) -> None:
    app.write(chat=LIFESPAN)
    assert app.audited(SERVED).told == {"seen": 1}


INHERITING = (
    HEAD
    + """
class ConnectionManager:
"""
    + BODY
    + """
class QuietManager(ConnectionManager):
    pass

async def endpoint(websocket):
    await converse(websocket, QuietManager())

app = application(endpoint)
"""
)

LOOKED_AT = """
from telling import told
from starlette.testclient import TestClient
import chat
from ws_audit import agent

looks = []
classify = agent.classify
agent.classify = lambda cls, realtime: looks.append(cls.__name__) or classify(cls, realtime)
client = TestClient(chat.app)
for _ in range(5):
    with client.websocket_connect("/ws/alice") as session:
        session.receive_json()
told(quiet=chat.QuietManager in agent.agent().runtime.installer, looks=looks.count("QuietManager"))
"""


def test_a_class_that_only_inherits_is_looked_at_once(app: Environment) -> None:
    app.write(chat=INHERITING)
    told = app.audited(LOOKED_AT).told
    assert told["quiet"] is True
    assert told["looks"] <= 2  # as its module was imported, and with its first instance


BY_THE_WAY = """
def make_notifier():
    class Notifier:
        def send(self, address, text):
            return address

    return Notifier()

KEPT = make_notifier()
"""

ELSEWHERE = """
from telling import told
from starlette.testclient import TestClient
import chat, mail
from ws_audit.agent import agent

with TestClient(chat.app).websocket_connect("/ws/alice") as session:
    session.receive_json()
told(taken=type(mail.KEPT) in agent().runtime.installer)
"""


def test_a_local_class_is_judged_by_its_own_module(app: Environment) -> None:
    """What would be a manager in a chat's module is none in one that sends mail."""
    app.write(chat=INHERITING, mail=BY_THE_WAY)
    assert app.audited(ELSEWHERE).told == {"taken": False}
