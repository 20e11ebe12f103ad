# SPDX-License-Identifier: Apache-2.0
"""python-socketio on ASGI: one sink below its framing, for both of its ways to the client.

Why it exists: on the wire an event is `42["name",{...}]`, in a WebSocket frame or beside others
in the answer to a poll. Here it is seen once, as it is given to the client's own queue, while
the frames it travels in are no deliveries. Who is connected stands in a session that only the
framework knows, or in the name of the room the client was put into.

It must never keep a client alive, and never count what another server than ASGI's carries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from ws_audit.hooks.calls import parameter
from ws_audit.identity import CELL_KEY, MANAGER, Cell, claim_of, find_cell, is_a, peek
from ws_audit.model import ACCEPT, STRONG, Delivery, Evidence

from .rooms import user_of
from .socketio_emits import Emits
from .socketio_packets import Packets

if TYPE_CHECKING:
    from types import FunctionType, ModuleType

    from ws_audit.runtime import Runtime
    from ws_audit.sink import Sink

TRANSPORT: Final = "socketio"
_MESSAGE: Final = 4  # Engine.IO's packet that carries one of Socket.IO
_SIDS: Final = 16  # of one client: one for each namespace, the latest ones


class _Client:
    """One connection, whichever way it comes, until it is closed."""

    __slots__ = ("cell", "packets", "rooms", "scope", "sids")

    def __init__(self, cell: Cell, scope: dict[str, Any], limit: int) -> None:
        self.cell = cell
        self.scope = scope
        self.packets = Packets(limit)
        self.rooms: object = None  # the framework's: namespace -> room -> sids
        self.sids: list[str] = []


_clients: WeakKeyDictionary[Any, _Client] = WeakKeyDictionary()
_of_cell: WeakKeyDictionary[Cell, _Client] = WeakKeyDictionary()


def inside(room: object, cell: Cell) -> bool:
    """Whether a client is in a room of any namespace now."""
    client = _of_cell.get(cell)
    if client is None or not is_a(client.rooms, dict):
        return False
    namespaces: Any = client.rooms
    found: list[Any] = [peek(rooms, room) for rooms in list(namespaces.values())]  # type: ignore[arg-type]
    return any(sid in room for room in found if room is not None for sid in client.sids)


def _client(server: object, eio_sid: object) -> _Client | None:
    socket = peek(peek(peek(server, "eio"), "sockets"), eio_sid)  # type: ignore[arg-type]
    return None if socket is None else _clients.get(socket)


class _Hook:
    """Around a method of the framework; `names` are the parameters that are looked at."""

    stage = "sink"
    names: tuple[str, ...] = ()

    def __init__(self, function: FunctionType, sink: Sink) -> None:
        self._reads = [parameter(function, name) for name in self.names]
        self._sink = sink

    def read(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        return [None if read is None else read(args, kwargs) for read in self._reads]

    def after(self, state: Any, result: Any, error: BaseException | None) -> None:
        """Nothing."""


class _Opened(_Hook):
    names = ("eio_sid", "environ")

    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        eio_sid, environ = self.read(args, kwargs)
        found = find_cell(peek(environ, "asgi.scope"))
        socket = peek(peek(peek(args[0], "eio"), "sockets"), eio_sid)
        if found is not None and socket is not None:
            cell = self._sink.open(TRANSPORT)
            scope = {**found[1], CELL_KEY: cell}
            client = _Client(cell, scope, self._sink.payload_bytes)
            _clients[socket] = _of_cell[cell] = client


class _Carried(_Hook):
    """A WebSocket becomes this client's: its frames are counted here, one by one."""

    names = ("environ",)

    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        (environ,) = self.read(args, kwargs)
        found = find_cell(peek(environ, "asgi.scope")) if args[0] in _clients else None
        if found is not None and not found[0].elsewhere and found[1].get("type") == "websocket":
            found[0].elsewhere = True
            self._sink.close(found[0])


class _Send(_Hook):
    names = ("pkt",)

    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Delivery | None:
        client = _clients.get(args[0])
        (packet,) = self.read(args, kwargs)
        if client is None or peek(packet, "packet_type") != _MESSAGE:
            return None
        event = client.packets.event(peek(packet, "data"))
        if event is None:
            return None
        cell, scope = client.cell, client.scope
        self._sink.resolve(cell, scope)
        if cell.held is None:
            sessions = peek(args[0], "session")
            for namespace in (event.namespace, "/"):
                self._sink.session(cell, scope, peek(sessions, namespace))
        return self._sink.outbound(cell, scope, event.content, event.size, event.name)

    def after(self, state: Delivery, result: Any, error: BaseException | None) -> None:
        self._sink.delivered(state, error)


class _Closed(_Hook):
    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return args[0]

    def after(self, state: Any, result: Any, error: BaseException | None) -> None:
        client = _clients.pop(state, None)
        if client is not None:
            self._sink.close(client.cell)
            for sid in client.sids:
                self._sink.handles.pop(sid, None)


class _Named(_Hook):
    """A client joins a namespace: from now on the application calls it by this id."""

    names = ("eio_sid",)

    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Client | None:
        client = _client(peek(args[0], "server"), self.read(args, kwargs)[0])
        if client is not None:
            client.rooms = peek(args[0], "rooms")
        return client

    def after(self, state: _Client, result: Any, error: BaseException | None) -> None:
        if type(result) is str:
            state.sids.append(result)
            self._sink.handles[result] = (state.cell, state.scope)
            if len(state.sids) > _SIDS:
                self._sink.handles.pop(state.sids.pop(0), None)


class _Claim(_Hook):
    """What a client says of itself as it connects."""

    names = ("eio_sid", "data")

    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        eio_sid, data = self.read(args, kwargs)
        client = _client(args[0], eio_sid)
        if client is not None and self._sink.resolve(client.cell, client.scope) is None:
            client.cell.claimed = claim_of(data, "auth")


class _Inbound(_Hook):
    names = ("eio_sid", "data")

    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        eio_sid, data = self.read(args, kwargs)
        client = _client(args[0], eio_sid)
        if client is not None and type(data) is list:
            for content in data[1:2]:
                if is_a(content, (dict, str)):
                    self._sink.inbound(client.cell, client.scope, content)


class _Session(_Hook):
    """The application saves a session: who it names is connected."""

    names = ("sid", "session")

    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        sid, session = self.read(args, kwargs)
        found = self._sink.handles.get(sid) if type(sid) is str else None
        return None if found is None else (*found, session)

    def after(self, state: Any, result: Any, error: BaseException | None) -> None:
        if error is None:
            self._sink.session(*state)


class _Enter(_Hook):
    """A client is put into somebody's own room: it is theirs, if nothing else says whose."""

    names = ("sid", "room")

    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        sid, room = self.read(args, kwargs)
        who = user_of(room)
        found = self._sink.handles.get(sid) if type(sid) is str else None
        return None if found is None or who is None else (*found, who)

    def after(self, state: Any, result: Any, error: BaseException | None) -> None:
        cell, scope, who = state
        self._sink.resolve(cell, scope)
        if error is None and cell.held is None:
            source = f"{MANAGER}:enter_room.room"
            self._sink.bind(cell, scope, Evidence("connection", who, ACCEPT, source, STRONG))


class _Leave(_Enter):
    def after(self, state: Any, result: Any, error: BaseException | None) -> None:
        cell, _, who = state
        if error is None and cell.held is not None and cell.held.principal == who:
            cell.release()


_OF_SOCKET = {"handle_get_request": _Carried, "send": _Send, "close": _Closed}
_OF_SERVER = {
    "_handle_eio_connect": _Opened,
    "_handle_connect": _Claim,
    "_handle_event": _Inbound,
    "save_session": _Session,
    "enter_room": _Enter,
    "leave_room": _Leave,
}


def install(module: ModuleType, runtime: Runtime) -> None:
    """Hook `engineio.async_socket` and `socketio.async_server`."""
    of_socket = module.__name__ == "engineio.async_socket"
    owner = module.AsyncSocket if of_socket else module.AsyncServer
    hooks: dict[str, type[_Hook]] = {**(_OF_SOCKET if of_socket else _OF_SERVER)}
    for name, hook in hooks.items():
        made: Any = hook(getattr(owner, name), runtime.sink)
        runtime.patch(module, f"{owner.__name__}.{name}", made)
    if not of_socket:
        manager = module.async_manager.AsyncManager.pre_connect
        named: Any = _Named(manager, runtime.sink)
        runtime.patch(module, "async_manager.AsyncManager.pre_connect", named)
        Emits(runtime).hook(module, "AsyncServer")
        runtime.declarations.frameworks["socketio"] = inside
