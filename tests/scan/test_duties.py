# SPDX-License-Identifier: Apache-2.0
"""Which classes count, which functions are factories, and what goes past them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .made import hub, scan, told

if TYPE_CHECKING:
    from pathlib import Path

NO_MANAGERS = {
    "an interface": """
        from typing import Protocol
        from fastapi import WebSocket
        class ConnectionManager(Protocol):
            async def connect(self, websocket: WebSocket) -> None: ...
            async def send_to_user(self, user_id: str, message: dict) -> None: ...
    """,
    "a double": """
        from fastapi import WebSocket
        class FakeConnectionManager:
            def __init__(self): self.sent: list[WebSocket] = []
            async def send(self, websocket: WebSocket, message):
                self.sent.append(websocket)
                await websocket.send_json(message)
    """,
    "who only hands on": """
        class WebSocketNotifier:
            def __init__(self, hub): self._hub = hub
            async def notify(self, user_id, message):
                await self._hub.send_to_user(user_id, message)
    """,
    "a connection below a manager": """
        from fastapi import WebSocket
        class Connection:
            def __init__(self, websocket: WebSocket): self.websocket = websocket
            async def send(self, message): await self.websocket.send_json(message)
    """,
    "who keeps sockets for others": """
        from fastapi import WebSocket
        class ConnectionRegistry:
            def __init__(self): self._sockets: dict[str, WebSocket] = {}
            def register(self, user_id, websocket: WebSocket): self._sockets[user_id] = websocket
            def of(self, user_id): return self._sockets[user_id]
    """,
    "a mailer": """
        class NotificationManager:
            def __init__(self): self._clients = {}
            def register(self, user_id, client): self._clients[user_id] = client
            async def send(self, user_id, message): await self._clients[user_id].mail(message)
    """,
    "a client": """
        import websockets
        class FeedConnectionManager:
            async def connect(self, name, url):
                self.websockets[name] = await websockets.connect(url)
            async def send(self, name, message): await self.websockets[name].send(message)
    """,
}


@pytest.mark.parametrize("what", NO_MANAGERS)
def test_no_manager(what: str, tmp_path: Path) -> None:
    found = scan(tmp_path, {"app/hub.py": hub(), "app/realtime.py": NO_MANAGERS[what]})
    assert [str(one.target) for one in found.implementations] == ["app.hub:Hub"]
    assert found.findings == []


MANAGERS = {
    "a list of pairs": """
        from fastapi import WebSocket
        class Rooms:
            def __init__(self): self._all = []
            def join(self, websocket: WebSocket, room): self._all.append((room, websocket))
            async def tell(self, room, message):
                for name, websocket in self._all:
                    if name == room: await websocket.send_json(message)
    """,
    "things made of sockets": """
        from fastapi import WebSocket
        from dataclasses import dataclass
        @dataclass
        class Client:
            websocket: WebSocket
            user_id: str
        class Hub:
            def __init__(self): self.clients = {}
            async def connect(self, websocket: WebSocket, user_id):
                client = Client(websocket, user_id)
                self.clients[user_id] = client
            async def send_to_user(self, user_id, message):
                await self.clients[user_id].websocket.send_json(message)
    """,
    "filled by others": """
        class Brain:
            def __init__(self): self.websocket_clients = set()
            async def emit(self, event):
                for client in self.websocket_clients: await client.send_text(event)
    """,
    "queues of a stream": """
        import asyncio
        class SSEManager:
            def __init__(self): self._queues = {}
            async def subscribe(self, user_id):
                queue = asyncio.Queue()
                self._queues[user_id] = queue
                while True: yield await queue.get()
            async def publish(self, user_id, event): await self._queues[user_id].put(event)
    """,
    "socket.io": """
        import socketio
        class SocketManager:
            def __init__(self): self.sio = socketio.AsyncServer()
            async def send_to_user(self, user_id, event, data):
                await self.sio.emit(event, data, room=user_id)
    """,
    "who is given the sockets": """
        from fastapi import WebSocket
        class WebSocketNotifier:
            async def notify(self, websocket: WebSocket, message):
                await websocket.send_json(message)
    """,
    "one user's emitter": """
        from fastapi import WebSocket
        class UserWebSocketEmitter:
            def __init__(self, user_id, websocket: WebSocket):
                self.user_id, self.websocket = user_id, websocket
            async def emit(self, event): await self.websocket.send_json(event)
    """,
    "a subclass that sends itself": """
        from app.hub import Hub
        class LoudHub(Hub):
            async def send_to_user(self, user_id, message):
                await self._sockets[user_id].send_json({"loud": message})
    """,
    "inside a function": """
        from fastapi import WebSocket
        def make():
            class ConnectionManager:
                def __init__(self): self.sockets: list[WebSocket] = []
                def connect(self, websocket: WebSocket): self.sockets.append(websocket)
                async def broadcast(self, message):
                    for websocket in self.sockets: await websocket.send_json(message)
            return ConnectionManager()
    """,
}


@pytest.mark.parametrize("what", MANAGERS)
def test_another_manager(what: str, tmp_path: Path) -> None:
    found = scan(
        tmp_path,
        {
            "app/hub.py": hub(),
            "app/realtime.py": MANAGERS[what],
            "app/a.py": "from .hub import Hub",
            "app/b.py": "from .hub import Hub",
        },
    )
    assert found.summary["implementations"] == 2
    rules = [(one.rule, one.path) for one in found.findings]
    assert rules == [("second-implementation", "app/realtime.py")]


def test_the_usual_one_is_the_one_others_import_from(tmp_path: Path) -> None:
    files = {
        "app/hub.py": hub(),
        "app/other.py": hub("Other") + "other = Other()\n",
        "app/a.py": "from .other import other",
        "app/b.py": "def f():\n    from app.other import other",
        "app/c.py": "from .hub import Hub",
    }
    found = scan(tmp_path, files)
    assert [one.target.name for one in found.implementations if one.canonical] == ["Other"]


def test_what_differs_between_two(tmp_path: Path) -> None:
    other = """
        from fastapi import WebSocket
        class Hub:
            def __init__(self): self.open = {}
            def connect(self, websocket: WebSocket, user_id): self.open[user_id] = websocket
            async def send_to_user(self, message, user_id):
                await self.open[user_id].send_json(message)
    """
    found = scan(
        tmp_path, {"app/hub.py": hub(), "app/other.py": other, "app/a.py": "from .hub import Hub"}
    )
    (finding,) = found.findings
    assert finding.message == (
        "app.other:Hub keeps connections and sends; most of the code uses app.hub:Hub;"
        " 2 of 2 public methods are shared; connect is not async here, but there,"
        " send_to_user(message, user_id) is send_to_user(user_id, message) there"
    )


# --- factories --------------------------------------------------------------------------------

# Functions beside a Hub and another Hub, and whether they are factories (None: not), consistent.
FACTORIES: dict[str, tuple[str, bool | None]] = {
    "made": ("def make(): return Hub()", True),
    "a singleton": (
        (
            "_hub = None\ndef get_hub() -> Hub:\n    global _hub\n"
            "    if _hub is None: _hub = Hub()\n"
            "    return _hub"
        ),
        True,
    ),
    "one per user": (
        (
            "_hubs = {}\ndef get_hub(user):\n    if user not in _hubs: _hubs[user] = Hub()\n"
            "    return _hubs[user]"
        ),
        True,
    ),
    "setdefault": ("_hubs = {}\ndef get_hub(user): return _hubs.setdefault(user, Hub())", True),
    "a class method": (
        "class HubFactory:\n    @classmethod\n    def create(cls): return Hub()",
        True,
    ),
    "another factory's": ("def one(): return Hub()\ndef get_hub(): return one()", True),
    "or nothing": ("def get_hub(x):\n    if x: return Hub()\n    return None", True),
    "a dependency": ("async def hub_dependency():\n    hub = Hub()\n    yield hub", True),
    "declared alone": ("def get_hub() -> 'Hub': return registry['hub']", True),
    "an argument": ("def same(hub: Hub): return hub", True),
    "no manager": ("def get_manager(): return object()", None),
    "its name alone": ("def get_hub(): return db.fetch()", None),
    "two classes": ("def get_hub(x):\n    if x: return Hub()\n    return Other()", False),
    "two in one expression": ("def get_hub(x): return Hub() if x else Other()", False),
    "a local name": (
        "def get_hub(x):\n    hub = Hub()\n    if x: hub = Other()\n    return hub",
        False,
    ),
    "a context instead": (
        "class Context: pass\ndef get_hub(x):\n    if x: return Context()\n    return Hub()",
        False,
    ),
    "a dict instead": ("def get_hub(x):\n    if x: return {}\n    return Hub()", False),
    "not what it says": ("def get_hub() -> Hub: return Other()", False),
    "through another factory": (
        "def one(): return Other()\ndef get_hub(x):\n    return one() if x else Hub()",
        False,
    ),
}


@pytest.mark.parametrize("what", FACTORIES)
def test_factories(what: str, tmp_path: Path) -> None:
    source, consistent = FACTORIES[what]
    found = scan(
        tmp_path,
        {
            "app/hub.py": hub(),
            "app/other.py": hub("Other"),
            "app/make.py": f"from .hub import Hub\nfrom .other import Other\n{source}\n",
        },
    )
    there = sorted((one.function.line, one) for one in found.factories if one.module == "app.make")
    last = [one for _, one in there[-1:]]
    assert [not one.why for one in last] == ([] if consistent is None else [consistent])
    assert len(told(found, "inconsistent-factory")) == (consistent is False)


def test_factories_of_one_name(tmp_path: Path) -> None:
    one = "from {0} import {1}\n{2}def get_hub(): return {1}()\n"
    found = scan(
        tmp_path,
        {
            "app/hub.py": hub(),
            "app/other.py": hub("Other"),
            "app/a.py": one.format(".hub", "Hub", ""),
            "app/b.py": one.format(".hub", "Hub", ""),
            "app/later.py": one.format(".hub", "Hub", "async "),
            "app/wrong.py": one.format(".other", "Other", ""),
        },
    )
    assert told(found, "inconsistent-factory") == [("app/later.py", 2), ("app/wrong.py", 2)]
    assert (found.summary["factories"], found.summary["inconsistent_factories"]) == (4, 2)


def test_a_factory_of_what_is_not_canonical(tmp_path: Path) -> None:
    files = {"app/hub.py": hub(), "app/other.py": hub("Other") + "def make(): return Other()\n"}
    assert told(scan(tmp_path, files), "inconsistent-factory") == []
    assert told(scan(tmp_path, files, "app.hub:Hub"), "inconsistent-factory") != []


# --- past them --------------------------------------------------------------------------------


def test_managers_made_past_their_factory(tmp_path: Path) -> None:
    found = scan(
        tmp_path,
        {
            "app/hub.py": hub() + "shared = Hub()\n",
            "app/make.py": "from .hub import Hub\n_hub = Hub()\ndef get_hub(): return _hub\n",
            "app/past.py": "from app import hub\ndef work():\n    return 1, hub.Hub()\n",
            "app/late.py": "def work():\n    from app.hub import Hub as H\n    H(); H()\n",
            "app/global.py": "from .hub import Hub\nmine = Hub()\n",
        },
    )
    places = [("app/global.py", 2), ("app/late.py", 3), ("app/past.py", 3)]
    assert told(found, "past-factory") == places
    assert [one.sites for one in found.findings if one.rule == "past-factory"] == [1, 2, 1]
    assert found.summary["bypasses"] == 4


WRITES = {
    "from a manager's table": (
        (
            "from .hub import Hub\nhub = Hub()\nasync def tell(user):\n"
            "    await hub._sockets[user].send_json({})"
        ),
        "socket-write",
    ),
    "in a loop over a table": (
        "sockets = []\nasync def tell():\n    for ws in sockets:\n        await ws.send_text('x')",
        "socket-write",
    ),
    "a helper": (
        "async def reply(websocket, text):\n    await websocket.send_text(text)",
        "socket-write",
    ),
    "another class's socket": (
        (
            "class Analysis:\n    def attach(self, session): self.session = session\n"
            "    async def run(self): await self.session.websocket.send_json({'type': 'done'})"
        ),
        "socket-write",
    ),
    "an endpoint whose socket a manager keeps": (
        (
            "@app.websocket('/ws')\nasync def chat(websocket):\n    hub.connect(websocket, 1)\n"
            "    await websocket.send_json({'type': 'done'})"
        ),
        "own-socket-write",
    ),
    "an endpoint with a table of its own": (
        (
            "open = {}\n@app.websocket('/ws')\nasync def chat(websocket):\n"
            "    open[1] = websocket\n    await websocket.send_json({'type': 'done'})"
        ),
        "own-socket-write",
    ),
    "an endpoint by itself": (
        (
            "@app.websocket('/ws')\nasync def chat(websocket):\n"
            "    await websocket.send_json({'type': 'done'})"
        ),
        "private-socket",
    ),
    "a conversation": (
        (
            "async def chat(websocket):\n    async for text in websocket.iter_text():\n"
            "        await websocket.send_text(text)"
        ),
        "private-socket",
    ),
    "an answer to ping": (
        (
            "@app.websocket('/ws')\nasync def chat(websocket):\n"
            "    await websocket.send_json({'type': 'pong'})"
        ),
        "",
    ),
    "what is wrong": (
        (
            "@app.websocket('/ws')\nasync def chat(websocket):\n"
            "    try:\n        work()\n    except ValueError as error:\n"
            "        await websocket.send_json({'detail': str(error)})"
        ),
        "",
    ),
    "why it closes": (
        (
            "@app.websocket('/ws')\nasync def chat(websocket):\n    if not ok():\n"
            "        await websocket.send_text('no room')\n        await websocket.close()\n"
            "        return"
        ),
        "",
    ),
    "a client's socket": (
        (
            "import websockets\nasync def ask(url):\n"
            "    async with websockets.connect(url) as ws:\n"
            "        await ws.send('x')"
        ),
        "",
    ),
    "a client's socket in a server's file": (
        (
            "import websockets\nasync def serve(socket):\n    await socket.accept()\n"
            "async def ask(url):\n    ws = await websockets.connect(url)\n"
            "    await ws.send_text('x')"
        ),
        "",
    ),
    "no socket": ("def post(bot):\n    bot.send_text('x')", ""),
}


@pytest.mark.parametrize("what", WRITES)
def test_writes_past_every_manager(what: str, tmp_path: Path) -> None:
    source, rule = WRITES[what]
    module = f"from fastapi import FastAPI, WebSocket\napp = FastAPI()\n{source}\n"
    if what == "no socket":
        module = source
    found = scan(tmp_path, {"app/hub.py": hub(), "app/past.py": module})
    assert [one.rule for one in found.findings] == ([rule] if rule else [])
    assert found.summary["bypasses"] == bool(rule)


def test_without_a_manager_nothing_goes_past_one(tmp_path: Path) -> None:
    source = "async def reply(websocket, text):\n    await websocket.send_text(text)\n"
    assert scan(tmp_path, {"app/past.py": source}).findings == []


def test_private_connections_are_one_finding(tmp_path: Path) -> None:
    one = (
        "from fastapi import FastAPI, WebSocket\napp = FastAPI()\n@app.websocket('/{0}')\n"
        "async def {0}(socket: WebSocket):\n    await socket.send_json({{'type': 'done'}})\n"
    )
    found = scan(
        tmp_path,
        {"app/hub.py": hub(), "app/a.py": one.format("a"), "app/b.py": one.format("b")},
    )
    (finding,) = found.findings
    assert (finding.path, finding.line, finding.sites) == ("app/a.py", 5, 2)
    assert finding.message.startswith("app.a:a, app.b:b speak on connections")
