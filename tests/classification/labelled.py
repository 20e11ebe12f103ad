# SPDX-License-Identifier: Apache-2.0
"""The labelled set: modules as teams write them, each class marked `# manager` or `# other`.

Written anew, after the styles of public backends, and frozen before anything was measured with
it: `DIGEST` changes with every letter of it. A manager owns or addresses connections of
clients: pools and hubs, what holds one socket, per-user emitters and what hands them out,
consumers and protocols of frameworks. Every fifth class of each label is held out: rules are
tuned on the rest only.
"""

from __future__ import annotations

import ast
import hashlib
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from ws_audit.classes.classify import Target, classes_of, classify
from ws_audit.classes.signs import is_realtime

MODULES = Path(__file__).parent / "modules"
DIGEST = "a3fbf30dfffe5503"
_LINE = re.compile(r"^\s*class (\w+).*:  # (manager|other)$")

# What the modules import and the tests do not have. Only the names of modules are read, so that
# empty classes of these names are enough.
STUBS = {
    "PyQt6.QtCore": "QObject pyqtSignal",
    "aio_pika": "Message connect_robust",
    "aiohttp": "WSMsgType",
    "aiohttp.web": "Request View WebSocketResponse json_response",
    "aiokafka": "AIOKafkaProducer",
    "app_core": "Message RunStore UserContext authenticate get_current_user get_websocket_manager",
    "app_core.models": "Notification",
    "asgiref.sync": "async_to_sync",
    "autobahn.twisted.websocket": "WebSocketServerFactory WebSocketServerProtocol",
    "celery": "Celery Task",
    "channels.db": "database_sync_to_async",
    "channels.generic.websocket": (
        "AsyncJsonWebsocketConsumer AsyncWebsocketConsumer WebsocketConsumer"
    ),
    "django.db.models": "Manager Model QuerySet",
    "django.dispatch": "Signal",
    "flask": "Flask session",
    "flask_socketio": "Namespace SocketIO emit join_room leave_room",
    "langchain_core.callbacks": "AsyncCallbackHandler",
    "litestar": "WebSocket",
    "litestar.channels": "ChannelsPlugin",
    "litestar.handlers": "WebsocketListener",
    "quart": "Quart websocket",
    "redis.asyncio": "Redis",
    "sanic": "Sanic",
    "sanic.server.websockets.impl": "WebsocketImplProtocol",
    "simple_websocket": "ConnectionClosed Server",
    "socketio": "AsyncNamespace AsyncServer Namespace",
    "sqlalchemy.ext.asyncio": "AsyncSession create_async_engine",
    "sqlalchemy.orm": "Session",
    "sse_starlette.sse": "EventSourceResponse",
    "tornado.ioloop": "IOLoop",
    "tornado.web": "RequestHandler",
    "tornado.websocket": "WebSocketHandler",
    "watchdog.events": "FileSystemEventHandler",
}


class Labelled(NamedTuple):
    """One class of the set: where it stands, what it is, what the rules say."""

    name: str  # module:qualname
    manager: bool
    held_out: bool
    taken: bool
    near: bool  # taken, or called like a manager, or with a method called like a send


def digest() -> str:
    """A hash of every letter of the set."""
    whole = hashlib.sha256()
    for path in sorted(MODULES.glob("*.py")):
        whole.update(f"{path.name}\n{path.read_text(encoding='utf-8')}\n".encode())
    return whole.hexdigest()[:16]


def labels(path: Path) -> dict[str, bool]:
    """Class -> whether it is a manager, of one module, in its order."""
    found: dict[str, bool] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        match = _LINE.match(line)
        if match:
            assert match[1] not in found, line
            found[match[1]] = match[2] == "manager"
    return found


def measured() -> list[Labelled]:
    """Every class of the set as the agent would look at it, in the order of files and lines."""
    found: list[Labelled] = []
    count = {True: 0, False: 0}
    kept = dict(sys.modules)
    try:
        _stub()
        for path in sorted(MODULES.glob("*.py")):
            said = _classified(path)
            for name, manager in labels(path).items():
                target = said[name]
                taken = isinstance(target, Target)
                count[manager] += 1
                held_out = count[manager] % 5 == 0
                full = f"{path.stem}:{name}"
                near = taken or target.near
                found.append(Labelled(full, manager, held_out, taken, near))
    finally:
        for name in sys.modules.keys() - kept.keys():
            if name.partition(".")[0] in _ROOTS:
                del sys.modules[name]
        sys.modules.update(kept)
    return found


def _classified(path: Path) -> dict[str, Any]:
    source = path.read_text(encoding="utf-8")
    module = ModuleType(path.stem)
    sys.modules[path.stem] = module  # dataclasses look their module up
    try:
        exec(compile(source, path.name, "exec", dont_inherit=True), vars(module))
        realtime = is_realtime(module)
        said = {cls.__qualname__: classify(cls, realtime) for cls in classes_of(module)}
    finally:
        del sys.modules[path.stem]
    written = {node.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef)}
    assert written == labels(path).keys(), path.name
    return said


_ROOTS = {name.partition(".")[0] for name in STUBS}


class _Anything:
    """What a stub's class does at import: whatever a decorator or a constructor may be."""

    def __init__(self, *args: object, **kwargs: object) -> None: ...

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: lambda function: function


def _stub() -> None:
    for name, attributes in STUBS.items():
        parts = name.split(".")
        for depth in range(1, len(parts) + 1):
            full = ".".join(parts[:depth])
            if not isinstance(sys.modules.get(full), ModuleType) or depth == len(parts):
                sys.modules.setdefault(full, ModuleType(full))
            if depth > 1:
                setattr(
                    sys.modules[".".join(parts[: depth - 1])], parts[depth - 1], sys.modules[full]
                )
        module = sys.modules[name]
        for attribute in attributes.split():
            made: Any = (
                type(attribute, (_Anything,), {"__module__": name})
                if attribute[0].isupper()
                else _function(name)
            )
            setattr(module, attribute, made)


def _function(module: str) -> Any:
    def function(value: object = None, *args: object, **kwargs: object) -> object:
        return value

    function.__module__ = module
    return function
