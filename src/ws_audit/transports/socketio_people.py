# SPDX-License-Identifier: Apache-2.0
"""Who the clients of python-socketio are: sessions, their own rooms, and what they say.

Why it exists: the framework knows its clients by ids, and applications say in three ways whose
they are. It must never take a client's own word for more than a claim, nor a room's name for
more than nothing better.
"""

from __future__ import annotations

from time import time_ns
from typing import Any, Final

from ws_audit.messages import behalf
from ws_audit.model import ACCEPT, STRONG, Evidence
from ws_audit.principals.addresses import user_of
from ws_audit.principals.identity import MANAGER, claim_of, is_a, peek

from .socketio_clients import Client, Hook, client_of

_SIDS: Final = 16  # of one client: one for each namespace, the latest ones


class Named(Hook):
    """A client joins a namespace: from now on the application calls it by this id."""

    names = ("eio_sid",)

    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Client | None:
        client = client_of(peek(args[0], "server"), self.read(args, kwargs)[0])
        if client is not None:
            client.rooms = peek(args[0], "rooms")
        return client

    def after(self, state: Client, result: Any, error: BaseException | None) -> None:
        if type(result) is str:
            state.sids.append(result)
            self._sink.handles[result] = state
            if len(state.sids) > _SIDS:
                self._sink.handles.pop(state.sids.pop(0), None)


class Claim(Hook):
    """What a client says of itself as it connects."""

    names = ("eio_sid", "data")

    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        eio_sid, data = self.read(args, kwargs)
        client = client_of(args[0], eio_sid)
        if client is not None and self._sink.resolve(client.cell, client.scope) is None:
            client.cell.claimed = claim_of(data, "auth")


class Inbound(Hook):
    names = ("eio_sid", "data")

    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        eio_sid, data = self.read(args, kwargs)
        client = client_of(args[0], eio_sid)
        if client is not None and type(data) is list:
            content = data[1] if len(data) > 1 else None
            if is_a(content, (dict, str)):
                self._sink.inbound(client.cell, client.scope, content)
            else:  # it says nothing of anybody, and will be answered all the same
                self._sink.resolve(client.cell, client.scope)
                behalf.begin(client.cell, time_ns())


class Session(Hook):
    """The application saves a session: who it names is connected."""

    names = ("sid", "session")

    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        sid, session = self.read(args, kwargs)
        found = self._sink.handles.get(sid) if type(sid) is str else None
        return None if found is None else (found.cell, found.scope, session)

    def after(self, state: Any, result: Any, error: BaseException | None) -> None:
        if error is None:
            self._sink.session(*state)


class Enter(Hook):
    """A client is put into somebody's own room: it is theirs, if nothing else says whose."""

    names = ("sid", "room")

    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        sid, room = self.read(args, kwargs)
        who = user_of(room)
        found = self._sink.handles.get(sid) if type(sid) is str else None
        return None if found is None or who is None else (found.cell, found.scope, who)

    def after(self, state: Any, result: Any, error: BaseException | None) -> None:
        cell, scope, who = state
        self._sink.resolve(cell, scope)
        if error is None and cell.held is None:
            source = f"{MANAGER}:enter_room.room"
            self._sink.bind(cell, scope, Evidence("connection", who, ACCEPT, source, STRONG))


class Leave(Enter):
    def after(self, state: Any, result: Any, error: BaseException | None) -> None:
        cell, _, who = state
        if error is None and cell.held is not None and cell.held.principal == who:
            cell.release()
