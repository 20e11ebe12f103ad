# SPDX-License-Identifier: Apache-2.0
"""The clients of python-socketio, and what hooks on its methods have in common.

Why it exists: what is known of one connection hangs on its socket, whichever way it comes. It
must never keep a socket alive, nor what is known of one longer than the socket.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakValueDictionary, finalize

from ws_audit.hooks.calls import parameter
from ws_audit.principals.identity import Cell, Handle, is_a, peek

from .socketio_packets import Packets

if TYPE_CHECKING:
    from types import FunctionType

    from ws_audit.sink import Sink


class Client(Handle):
    """One connection, whichever way it comes, until it is closed."""

    __slots__ = ("ended", "packets", "rooms", "sids")

    def __init__(self, socket: object, cell: Cell, scope: dict[str, Any], sink: Sink) -> None:
        super().__init__(cell, scope)
        self.packets = Packets(sink.payload_bytes)
        self.rooms: object = None  # the framework's: namespace -> room -> sids
        self.sids: list[str] = []
        # Once: as it closes, or as it goes if nobody saw that.
        self.ended = finalize(socket, sink.close, cell)
        self.ended.atexit = False
        clients[socket] = _numbered[cell.connection_id] = self


clients: WeakKeyDictionary[Any, Client] = WeakKeyDictionary()
_numbered: WeakValueDictionary[int, Client] = WeakValueDictionary()


def socket_of(server: object, eio_sid: object) -> object:
    """The socket that a server of Socket.IO has under this id."""
    return peek(peek(peek(server, "eio"), "sockets"), eio_sid)  # type: ignore[arg-type]


def client_of(server: object, eio_sid: object) -> Client | None:
    """The client behind it."""
    socket = socket_of(server, eio_sid)
    return None if socket is None else clients.get(socket)


def inside(room: object, cell: Cell) -> bool:
    """Whether a client is in a room of any namespace now."""
    client = _numbered.get(cell.connection_id)
    if client is None or not is_a(client.rooms, dict):
        return False
    namespaces: Any = client.rooms
    found: list[Any] = [peek(rooms, room) for rooms in list(namespaces.values())]  # type: ignore[arg-type]
    return any(sid in room for room in found if room is not None for sid in client.sids)


class Hook:
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
