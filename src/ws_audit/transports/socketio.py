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

from ws_audit.principals.identity import find_cell, peek

from . import socketio_people as people
from .socketio_clients import Client, Hook, clients, inside, socket_of
from .socketio_emits import Emits

if TYPE_CHECKING:
    from types import ModuleType

    from ws_audit.model import Delivery
    from ws_audit.runtime import Runtime

TRANSPORT: Final = "socketio"
_MESSAGE: Final = 4  # Engine.IO's packet that carries one of Socket.IO


class _Opened(Hook):
    names = ("eio_sid", "environ")

    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        eio_sid, environ = self.read(args, kwargs)
        found = find_cell(peek(environ, "asgi.scope"))
        socket = socket_of(args[0], eio_sid)
        if found is not None and socket is not None:
            Client(socket, self._sink.open(TRANSPORT), found[1], self._sink)


class _Carried(Hook):
    """A WebSocket becomes this client's: its frames are counted here, one by one."""

    names = ("environ",)

    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        (environ,) = self.read(args, kwargs)
        found = find_cell(peek(environ, "asgi.scope")) if args[0] in clients else None
        if found is not None and not found[0].elsewhere and found[1].get("type") == "websocket":
            found[0].elsewhere = True
            self._sink.close(found[0])


class _Send(Hook):
    names = ("pkt",)

    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Delivery | None:
        client = clients.get(args[0])
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


class _Closed(Hook):
    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return args[0]

    def after(self, state: Any, result: Any, error: BaseException | None) -> None:
        client = clients.pop(state, None)
        if client is not None:
            client.ended()
            for sid in client.sids:
                self._sink.handles.pop(sid, None)


_OF_SOCKET = {"handle_get_request": _Carried, "send": _Send, "close": _Closed}
_OF_SERVER = {
    "_handle_eio_connect": _Opened,
    "_handle_connect": people.Claim,
    "_handle_event": people.Inbound,
    "save_session": people.Session,
    "enter_room": people.Enter,
    "leave_room": people.Leave,
}


def install(module: ModuleType, runtime: Runtime) -> None:
    """Hook `engineio.async_socket` and `socketio.async_server`."""
    of_socket = module.__name__ == "engineio.async_socket"
    owner = module.AsyncSocket if of_socket else module.AsyncServer
    hooks: dict[str, type[Hook]] = {**(_OF_SOCKET if of_socket else _OF_SERVER)}
    for name, hook in hooks.items():
        made: Any = hook(getattr(owner, name), runtime.sink)
        runtime.patch(module, f"{owner.__name__}.{name}", made)
    if not of_socket:
        manager = module.async_manager.AsyncManager.pre_connect
        named: Any = people.Named(manager, runtime.sink)
        runtime.patch(module, "async_manager.AsyncManager.pre_connect", named)
        Emits(runtime).hook(module, "AsyncServer")
        runtime.declarations.frameworks["socketio"] = inside
