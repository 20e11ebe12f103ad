# SPDX-License-Identifier: Apache-2.0
"""Which classes are managers, and what their methods' parameters mean.

Classes are written out as teams write them and executed as modules of their own, because the
decision is made from what stands in a module.
"""

from __future__ import annotations

import textwrap
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from ws_audit.classes.classify import (
    Refused,
    Target,
    classes_of,
    classify,
    event_names,
    method_kind,
)
from ws_audit.classes.refusals import DOUBLE, INTERFACE, NO_CONNECT, NO_SEND, NOT_REALTIME, VALUE
from ws_audit.classes.signs import is_realtime
from ws_audit.model import BIND, BROADCAST, CREATE, RECEIVE, SEND, UNBIND

if TYPE_CHECKING:
    from ws_audit.classes.classify import Method

PLAIN = ""
FASTAPI = "from fastapi import FastAPI, WebSocket, Depends\n"
WEBSOCKETS = "import websockets\n"


def module(source: str, name: str = "app.chat") -> ModuleType:
    made = ModuleType(name)
    exec(compile(textwrap.dedent(source), f"{name}.py", "exec", dont_inherit=True), vars(made))
    return made


def taken(source: str) -> dict[str, Target]:
    """The manager classes of a module's source, by qualified name."""
    made = module(source)
    realtime = is_realtime(made)
    targets = [classify(cls, realtime) for cls in classes_of(made)]
    return {target.qualname: target for target in targets if isinstance(target, Target)}


def one(methods: str, header: str = FASTAPI, name: str = "ConnectionManager") -> dict[str, Method]:
    """The hooked methods of one class with this body."""
    body = textwrap.indent(textwrap.dedent(methods), "    ")
    (target,) = taken(f"{header}class {name}:\n{body}").values()
    return {method.name: method for method in target.methods}


# --- classes ---------------------------------------------------------------------------------

SENDS = "def send(self, message): ..."
TAKEN = [
    # By name, wherever they stand.
    (PLAIN, "ConnectionManager", "async def send_personal_message(self, message, user_id): ..."),
    (PLAIN, "WebSocketManager", "async def broadcast(self, message): ..."),
    (PLAIN, "WebsocketConnectionManager", "async def send_to_user(self, user_id, data): ..."),
    (PLAIN, "WSManager", "def emit(self, event, data): ..."),
    (PLAIN, "WsHub", "def publish(self, topic, message): ..."),
    (PLAIN, "UserWSConnectionRegistry", "def notify(self, user_id, event): ..."),
    (PLAIN, "SSEManager", "def push(self, data): ..."),
    (PLAIN, "RealTimeBroadcaster", "def broadcast(self, data): ..."),
    (PLAIN, "UnifiedWebSocketEmitter", "async def emit_agent_started(self, run_id): ..."),
    (PLAIN, "AgentWebSocketBridge", "async def notify_tool_executing(self, run_id): ..."),
    (PLAIN, "WebSocketEventRouter", "def dispatch(self, user_id, event): ..."),
    (PLAIN, "SocketIOManager", "async def emit(self, event, data, room=None): ..."),
    (PLAIN, "ConnectionPoolManager", "def enqueue_message(self, user_id, message): ..."),
    (PLAIN, "_ConnectionHub", "async def _send_message(self, message): ..."),
    (PLAIN, "LegacyWebSocketManager", "def sendToUser(self, userId, payload): ..."),
    (PLAIN, "ConnectionManager2Factory", "@staticmethod\ndef notify_user(user_id, m): ..."),
    (PLAIN, "WebSocketNotifier", "@classmethod\nasync def notify_all(cls, message): ..."),
    # By a name many things bear, in a real-time module.
    (FASTAPI, "Manager", "async def send_to(self, user_id, message): ..."),
    (FASTAPI, "SessionManager", "async def send_event(self, session_id, event): ..."),
    (FASTAPI, "NotificationManager", "async def notify(self, user_id, text): ..."),
    (FASTAPI, "StreamManager", "async def push_chunk(self, chunk): ..."),
    (FASTAPI, "ChatHub", "async def broadcast_to_room(self, room, message): ..."),
    (FASTAPI, "EventBus", "async def publish(self, event): ..."),
    (FASTAPI, "ProgressNotifier", "async def notify(self, user_id, percent): ..."),
    (WEBSOCKETS, "Broadcaster", "async def announce(self, text): ..."),
    (WEBSOCKETS, "Outbox", "async def deliver(self, user_id, message): ..."),
    # By shape: a socket in a signature, or connect and send together.
    (PLAIN, "Hub", "async def send(self, websocket: 'WebSocket', message): ..."),
    (FASTAPI, "Lobby", f"async def connect(self, websocket): ...\n{SENDS}"),
    # A registry knows who is connected, even if others send.
    (PLAIN, "ConnectionRegistry", "async def connect(self, ws): ..."),
    (FASTAPI, "LiveBoard", "def register(self, ws): ...\nasync def broadcast(self, text): ..."),
]

NOT_TAKEN = [
    # The words stand in other words.
    (PLAIN, "NewsManager", SENDS),
    (PLAIN, "AwsNotifier", "def notify(self, topic, message): ..."),
    (PLAIN, "AssetManager", "def publish(self, asset): ..."),
    (PLAIN, "ProcessEventBus", "def publish(self, event): ..."),
    (PLAIN, "ReviewsRegistry", "def notify(self, user_id): ..."),
    # Other people's managers, where nothing is real-time.
    (PLAIN, "DatabaseManager", SENDS),
    (PLAIN, "TaskManager", "def dispatch(self, task): ...\ndef enqueue(self, task): ..."),
    (PLAIN, "ContextManager", "def __enter__(self): ...\ndef send(self, value): ..."),
    (PLAIN, "CacheManager", "def push(self, key, value): ..."),
    (PLAIN, "EmailManager", "def send_email(self, to, body): ..."),
    (PLAIN, "SessionManager", "def send(self, request): ..."),
    (PLAIN, "EventBus", "def publish(self, event): ..."),
    (PLAIN, "Manager", "def notify(self, user_id, message): ..."),
    # The right name, and nothing to send.
    (FASTAPI, "ConnectionManager", "def count(self): ...\ndef __init__(self): ..."),
    (FASTAPI, "DatabaseConnectionManager", "def execute(self, sql): ...\ndef commit(self): ..."),
    (FASTAPI, "WebSocketManager", "sender = None\nsend = 3\nemit: str = 'x'"),
    (FASTAPI, "WebSocketFactory", "def create(self, user_id): ...\ndef resend(self): ..."),
    # Doubles and interfaces.
    (FASTAPI, "MockConnectionManager", SENDS),
    (FASTAPI, "FakeWebSocketManager", SENDS),
    (FASTAPI, "_StubWebSocketHub", SENDS),
    (FASTAPI, "DummyConnectionManager", SENDS),
    (FASTAPI, "TestConnectionManager", SENDS),
    (FASTAPI, "WebSocketManagerMock", SENDS),
    (FASTAPI, "MagicMockWebSocketManager", SENDS),
    (FASTAPI, "WebSocketManagerProtocol", SENDS),
    # In a real-time module, neither by name nor by shape.
    (FASTAPI, "ConnectionState", "def send(self): ..."),
    (FASTAPI, "Syllabus", "def publish(self): ..."),
    (FASTAPI, "Mailer", "def send(self, to, body): ..."),
    (FASTAPI, "UserService", "def connect(self): ...\ndef fetch(self, user_id): ..."),
]


@pytest.mark.parametrize(("header", "name", "body"), TAKEN, ids=[name for _, name, _ in TAKEN])
def test_a_manager_is_taken(header: str, name: str, body: str) -> None:
    source = f"{header}class {name}:\n{textwrap.indent(body, '    ')}"
    (target,) = taken(source).values()
    assert (target.module, target.qualname) == ("app.chat", name)
    assert target.reason
    assert target.methods


@pytest.mark.parametrize(
    ("header", "name", "body"), NOT_TAKEN, ids=[name for _, name, _ in NOT_TAKEN]
)
def test_a_look_alike_is_not(header: str, name: str, body: str) -> None:
    assert taken(f"{header}class {name}:\n{textwrap.indent(body, '    ')}") == {}


def refused(source: str, name: str) -> Refused:
    made = module(source)
    found = classify(getattr(made, name), is_realtime(made))
    assert isinstance(found, Refused)
    assert (found.module, found.qualname) == ("app.chat", name)
    return found


DOUBLES = "from enum import Enum\nfrom typing import Protocol\n" + FASTAPI
REFUSALS = [
    # header, class line, body, reason, whether somebody may have expected otherwise
    (FASTAPI, "FakeWebSocketManager", SENDS, DOUBLE, True),
    (FASTAPI, "TestLogin", "x = 1", DOUBLE, False),
    (DOUBLES, "ConnectionManager(Protocol)", SENDS, INTERFACE, True),
    (DOUBLES, "Color(Enum)", "RED = 1", INTERFACE, False),
    (FASTAPI, "ConnectionEmitter(Exception)", SENDS, VALUE, True),
    (FASTAPI, "NotFound(Exception)", "x = 1", VALUE, False),
    (FASTAPI, "WebSocketManager", "def count(self): ...", NO_SEND, True),
    (FASTAPI, "SessionManager", "def count(self): ...", NO_SEND, True),
    (FASTAPI, "User", "def rename(self, name): ...", NO_SEND, False),
    (PLAIN, "Mailer", SENDS, NOT_REALTIME, True),
    (PLAIN, "SessionManager", SENDS, NOT_REALTIME, True),
    (FASTAPI, "Mailer", SENDS, NO_CONNECT, True),
]


@pytest.mark.parametrize(("header", "line", "body", "reason", "near"), REFUSALS)
def test_a_refusal_says_why(header: str, line: str, body: str, reason: str, near: bool) -> None:
    found = refused(f"{header}class {line}:\n    {body}", line.partition("(")[0])
    assert (found.reason, found.near) == (reason, near)


def test_reasons_say_what_would_have_it_taken() -> None:
    for reason in (DOUBLE, VALUE, NO_SEND, NOT_REALTIME, NO_CONNECT):
        assert "[[manager]]" in reason
        assert reason.isprintable()


def test_interfaces_enumerations_errors_and_tuples_are_not() -> None:
    source = """
    from enum import Enum, IntEnum
    from typing import NamedTuple, Protocol
    from fastapi import WebSocket

    class ConnectionManager(Protocol):
        async def send_to_user(self, user_id, message): ...

    class WebSocketHub(ConnectionManager, Protocol):
        async def broadcast(self, message): ...

    class ConnectionRouter(Enum):
        ONE = 1
        def send(self, message): ...

    class WebSocketBus(IntEnum):
        ONE = 1
        def publish(self, message): ...

    class ConnectionEmitter(Exception):
        def emit(self): ...

    class WebSocketNotifier(NamedTuple):
        user_id: str
        def notify(self, message): ...
    """
    assert taken(source) == {}


def test_a_class_that_implements_a_protocol_is_one() -> None:
    source = """
    from typing import Protocol

    class Sender(Protocol):
        def send(self, message): ...

    class WebSocketManager(Sender):
        def send(self, message): ...
    """
    assert list(taken(source)) == ["WebSocketManager"]


def test_dataclasses_count_by_what_they_send() -> None:
    source = """
    from dataclasses import dataclass, field
    from fastapi import WebSocket

    @dataclass
    class ConnectionManager:
        sockets: dict = field(default_factory=dict)
        send: object = None

    @dataclass
    class WebSocketManager:
        sockets: dict
        async def send_to_user(self, user_id, message): ...
    """
    found = taken(source)
    assert list(found) == ["WebSocketManager"]
    assert {method.name: method.kind for method in found["WebSocketManager"].methods} == {
        "__init__": CREATE,
        "send_to_user": SEND,
    }


def test_only_own_methods_are_hooked() -> None:
    source = """
    class ConnectionManager:
        def __init__(self): ...
        def send(self, message): ...

    class QuietManager(ConnectionManager):
        limit = 3

    class RoomConnectionManager(ConnectionManager):
        def broadcast_to_room(self, room, message): ...
    """
    found = taken(source)
    assert list(found) == ["ConnectionManager", "RoomConnectionManager"]
    assert [method.name for method in found["RoomConnectionManager"].methods] == [
        "broadcast_to_room"
    ]


def test_a_subclass_of_a_manager_is_one_whatever_its_name() -> None:
    source = """
    from fastapi import WebSocket

    class ConnectionManager:
        def send(self, message): ...

    class Tenant(ConnectionManager):
        async def connect(self, websocket, user_id): ...

    class Audit(ConnectionManager):
        def count(self): ...
    """
    assert list(taken(source)) == ["ConnectionManager", "Tenant"]


def test_nested_classes_count_and_imported_ones_belong_elsewhere() -> None:
    source = """
    class Chat:
        class ConnectionManager:
            def send(self, message): ...

    ConnectionManager = Alias = Chat.ConnectionManager
    """
    other = module("class SocketManager:\n    def send(self, message): ...", "other")
    made = module(source)
    vars(made)["SocketManager"] = other.SocketManager
    assert [cls.__qualname__ for cls in classes_of(made)] == ["Chat", "Chat.ConnectionManager"]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("import fastapi", False),
        ("from fastapi import APIRouter, Depends, HTTPException", False),
        ("from fastapi import WebSocket", True),
        ("from starlette.websockets import WebSocketState", True),
        ("import starlette.routing as routing", False),
        ("import starlette.websockets as s", True),
        ("from websockets.asyncio.server import serve", True),
        ("import json, asyncio, logging", False),
        ("starlette = 3\nfastapi = 'x'", False),
        ("from typing import TYPE_CHECKING", False),
    ],
)
def test_a_module_is_realtime_by_what_it_has_imported(header: str, expected: bool) -> None:
    assert is_realtime(module(header)) is expected


def test_a_module_that_uses_a_taken_class_is_realtime() -> None:
    manager = module("class ConnectionManager:\n    def send(self, message): ...").ConnectionManager
    user = module("class Emitter:\n    def emit(self, event): ...", "app.emitter")
    vars(user)["ConnectionManager"] = manager
    assert not is_realtime(user)
    assert is_realtime(user, {manager})


def test_equality_of_classes_is_not_asked() -> None:
    source = """
    class Meta(type):
        def __eq__(cls, other): raise RuntimeError
        __hash__ = type.__hash__

    class Column(metaclass=Meta): ...
    class ConnectionManager(metaclass=Meta):
        def send(self, message): ...
    """
    assert list(taken(source)) == ["ConnectionManager"]


# --- methods ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (BIND, "connect on_connect connect_user register register_connection _register attach"),
        (BIND, "accept bind_user add_connection add_websocket addConnection handle_connect"),
        (UNBIND, "disconnect on_disconnect disconnect_user unregister remove_connection"),
        (UNBIND, "remove_user close_connection detach removeSocket"),
        (SEND, "send send_message send_to_user send_personal_message _send_message emit _emit"),
        (SEND, "emit_agent_started publish_to_user notify notify_user push push_event dispatch"),
        (SEND, "write_message enqueue_message deliver trigger_event sendToUser emitTo"),
        (SEND, "broadcast_to_user broadcast_personal announce_private publish_user"),
        (BROADCAST, "broadcast broadcast_to_room broadcast_json announce publish fan_out"),
        (BROADCAST, "send_to_all notify_all send_to_room emit_to_channel push_to_subscribers"),
        (BROADCAST, "broadcastMessage sendToAll"),
        (RECEIVE, "receive on_message handle_message process_incoming handle_user_message"),
        (RECEIVE, "route_message onMessage receive_text"),
        (None, "sender sending resend unsend send_ sent broadcaster emitter get_connection"),
        (None, "is_connected connection connections reconnect count messages"),
        (None, "_sender publisher pushed notification_count notifier triggers receiver"),
    ],
)
def test_a_methods_name_tells_its_kind(kind: str | None, names: str) -> None:
    wrong = {name: method_kind(name) for name in names.split() if method_kind(name) != kind}
    assert wrong == {}


def test_properties_generators_and_values_are_left_alone_by_kind() -> None:
    methods = one(
        """
        send_rate = 5
        notify = print

        @property
        def send_queue(self): ...

        def send(self, message): ...
        """
    )
    assert list(methods) == ["send"]


# --- parameters ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("signature", "recipient", "payload", "event"),
    [
        ("send_to_user(self, user_id, message)", "user_id", "message", None),
        ("send_to_user(self, message, user_id)", "user_id", "message", None),
        ("send_personal_message(self, message: str, user_id: str)", "user_id", "message", None),
        ("send_personal_message(self, user_id, message)", "user_id", "message", None),
        ("notify(self, event, payload, user_id)", "user_id", "payload", "event"),
        ("notify(self, user_id, event_type, data=None)", "user_id", "data", "event_type"),
        ("emit(self, event_type, data, *, user_id)", "user_id", "data", "event_type"),
        ("push(self, userId, body)", "userId", "body", None),
        ("push(self, uid, update_obj)", "uid", "update_obj", None),
        ("send(self, to, message)", "to", "message", None),
        ("send(self, recipient, text)", "recipient", "text", None),
        ("send(self, event)", None, "event", "event"),
        ("send(self, data)", None, "data", None),
        ("send(self, user, notification)", "user", "notification", None),
        ("deliver(self, member_id, packet)", "member_id", "packet", None),
        ("send_direct(self, owner_id, anything)", "owner_id", "anything", None),
        ("emit(self, kind, body, exclude_user)", None, "body", "kind"),
        ("emit(self, message, skip_sid=None)", None, "message", None),
        ("emit(self, message, sender_id, by)", None, "message", None),
        ("emit(self, message, from_user)", None, "message", None),
        ("emit(self, message, excluded_user)", None, "message", None),
        ("emit(self, update_obj, ignore_user)", None, "update_obj", None),
        ("emit(self)", None, None, None),
    ],
)
def test_a_sends_parameters(
    signature: str, recipient: str | None, payload: str | None, event: str | None
) -> None:
    (method,) = one(f"def {signature}: ...").values()
    assert method.kind == SEND
    found = method.parameters
    assert (found.recipient, found.payload, found.event) == (recipient, payload, event)


@pytest.mark.parametrize(
    ("parameter", "kind"),
    [("user_id", "id"), ("username", "name"), ("email", "email"), ("user_email", "email")],
)
def test_a_recipient_has_the_kind_its_name_says(parameter: str, kind: str) -> None:
    (method,) = one(f"def send(self, {parameter}, message): ...").values()
    assert method.parameters.recipient_kind == kind


@pytest.mark.parametrize(
    ("signature", "socket", "room", "recipient"),
    [
        # Who stands beside a socket or a place is not whom the message is for.
        ("send(self, websocket, user_id, message)", "websocket", None, None),
        ("send(self, client: WebSocket, user_id, message)", "client", None, None),
        ("send(self, client: 'WebSocket', user_id, message)", "client", None, None),
        ("send(self, client: WebSocket | None, user_id, message)", "client", None, None),
        ("send(self, client: Optional[WebSocket], user_id, m)", "client", None, None),
        ("send(self, user_id, message, ws=None)", "ws", None, None),
        ("send(self, room, user_id, message)", None, "room", None),
        ("notify(self, channel_id, user_id, message)", None, "channel_id", None),
        ("send(self, user_id, conversation_id, message)", None, "conversation_id", None),
        # A method that says "to user" means the user, whatever room it is about.
        ("send_to_user(self, user_id, room_id, message)", None, "room_id", "user_id"),
        ("send_personal_message(self, room, user_id, m)", None, "room", "user_id"),
        ("send_to_user(self, user_id, websocket, message)", "websocket", None, None),
    ],
)
def test_sockets_and_rooms_in_a_send(
    signature: str, socket: str | None, room: str | None, recipient: str | None
) -> None:
    header = f"from typing import Optional\n{FASTAPI}"
    (method,) = one(f"def {signature}: ...", header).values()
    found = method.parameters
    assert (found.socket, found.room, found.recipient) == (socket, room, recipient)


def test_a_broadcast_names_no_recipient_unless_it_is_one_to_a_user() -> None:
    methods = one(
        """
        async def broadcast(self, message, user_id): ...
        async def broadcast_to_room(self, room_id, message, exclude_user=None): ...
        async def broadcast_to_user(self, user_id, message): ...
        """
    )
    assert {
        name: (method.kind, method.parameters.recipient, method.parameters.payload)
        for name, method in methods.items()
    } == {
        "broadcast": (BROADCAST, None, "message"),
        "broadcast_to_room": (BROADCAST, None, "message"),
        "broadcast_to_user": (SEND, "user_id", "message"),
    }


def test_the_same_method_has_another_order_in_another_class() -> None:
    source = """
    from fastapi import WebSocket

    class ConnectionManager:
        async def register_connection(self, connection_id, user_id, ws): ...
        async def send(self, user_id, message): ...

    class SocketRegistry:
        async def register_connection(self, user_id, connection_id, thread): ...
        async def send(self, message, user_id): ...
    """
    found = {
        name: {method.name: method.parameters for method in target.methods}
        for name, target in taken(source).items()
    }
    first = found["ConnectionManager"]["register_connection"]
    second = found["SocketRegistry"]["register_connection"]
    assert (first.recipient, first.socket) == ("user_id", "ws")
    assert (second.recipient, second.socket) == ("user_id", None)
    assert {found[name]["send"].recipient for name in found} == {"user_id"}


def test_static_and_class_methods_have_their_own_parameters() -> None:
    methods = one(
        """
        @staticmethod
        def notify_user(user_id, message): ...

        @classmethod
        def send_to_user(cls, user_id, message): ...
        """
    )
    found = {
        name: (method.parameters.recipient, method.parameters.payload)
        for name, method in methods.items()
    }
    assert found["send_to_user"] == ("user_id", "message")
    assert found["notify_user"] == ("user_id", "message")


# --- event names -----------------------------------------------------------------------------


def test_event_names_are_the_constants_a_developer_wrote() -> None:
    made = module(
        """
        STARTED = "run_started"
        SENTENCE = "Something went wrong."

        class ConnectionManager:
            KIND = "tool_started"

            def send(self, user_id):
                return {"type": "run_finished", "user_id": user_id, "text": "Two words"}

        def helper():
            def inner():
                return "inner.event"
            return inner
        """
    )
    found = event_names(made)
    assert {"run_started", "tool_started", "run_finished", "inner.event"} <= found
    assert found.isdisjoint({"Something went wrong.", "Two words"})
