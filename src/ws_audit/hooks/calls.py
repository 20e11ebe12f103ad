# SPDX-License-Identifier: Apache-2.0
"""What happens around a manager's methods: send, broadcast, bind, unbind, receive.

Why it exists: here the caller says whom a message is for, which the wire no longer knows.
Arguments are read by the callee's own signature, worked out once when it is patched.

It must never change an argument or a result, and never keep one longer than the call
(payloads wait for delivery in a bounded table).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any, Final

from ws_audit import naming
from ws_audit.classes.classify import undecorated
from ws_audit.classes.signs import words
from ws_audit.messages.payloads import named as resource_named
from ws_audit.messages.sites import caller, site_text
from ws_audit.model import (
    ACCEPT,
    BIND,
    BROADCAST,
    CALL,
    NONE,
    OTHER,
    RECEIVE,
    SEND,
    STRONG,
    UNBIND,
    Evidence,
    Principal,
)
from ws_audit.principals.addresses import addressee
from ws_audit.principals.identity import MANAGER, current_request, describe
from ws_audit.verdict.excuses import atom

if TYPE_CHECKING:
    from types import FunctionType

    from ws_audit.classes.classify import Method
    from ws_audit.labels import Events
    from ws_audit.messages.intents import Frame, Intents
    from ws_audit.messages.payloads import Reader
    from ws_audit.model import Resource
    from ws_audit.principals.addresses import Known
    from ws_audit.sink import Sink

    from .instances import Receiver

_KNOWN: Final = 65_536
FIRST, EVERY = 16, 256  # calls whose unnamed parameters are looked at: the first ones, then few

Read = Callable[[tuple[Any, ...], dict[str, Any]], Any]


def parameter(function: FunctionType, name: str | None) -> Read | None:
    """Reads one argument of a call by the callee's own signature; None without such a name."""
    if name is None:
        return None
    function = undecorated(function)
    code = function.__code__
    names = code.co_varnames[: code.co_argcount]
    if name in names:
        index = names.index(name)
        defaults = function.__defaults__ or ()
        offset = index - (len(names) - len(defaults))
        default = defaults[offset] if offset >= 0 else None

        def positional(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            return args[index] if len(args) > index else kwargs.get(name, default)

        return positional
    default = (function.__kwdefaults__ or {}).get(name)
    return lambda _, kwargs: kwargs.get(name, default)


def existing(function: FunctionType, name: str | None) -> Read | None:
    """The same; None also if the function has no such parameter."""
    code = undecorated(function).__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return parameter(function, name) if name in names else None


def unnamed(function: FunctionType, method: Method) -> list[tuple[str, str, Read]]:
    """The parameters of a method that mean nothing to the rules: (path, kind, how it is read)."""
    names = method.parameters
    known = (names.payload, names.event, names.socket, "self", "cls")
    inner = undecorated(function)
    code = inner.__code__
    owner = f"{inner.__module__}:{inner.__qualname__}"
    found = []
    for name in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]:
        read = None if name in known else parameter(function, name)
        if read is not None:
            kind = naming.RECIPIENTS.get(words(name).lstrip("_"), "id")
            found.append((f"{owner}:{name}", kind, read))
    return found


_CO_VARKEYWORDS: Final = 0x08
_FIELD: Final = 8  # characters of a parameter's text that may be a message's own


def fields(function: FunctionType, method: Method) -> Read | None:
    """Reads a message that is given as keywords, `send(event, title=..., text=...)`.

    What a call names beside recipient and event becomes one object; None for a method that
    takes its message in one piece.
    """
    inner = undecorated(function)
    code = inner.__code__
    names = method.parameters
    known = {names.recipient, names.event, names.socket, names.room, "self", "cls"}
    there = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    rest = [
        (name, read)
        for name in there
        if name not in known and (read := parameter(function, name)) is not None
    ]
    keywords = code.co_flags & _CO_VARKEYWORDS != 0
    if len(rest) < 2 and not keywords:
        return None
    taken = frozenset(there)
    payload = names.payload

    def read_fields(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, read in rest:
            value = read(args, kwargs)
            if type(value) is dict and name == payload:
                return {}  # in one piece
            # A number is a time to live as likely as a part of the message.
            if type(value) is dict or (type(value) is str and len(value) >= _FIELD):
                found[name] = value
        if keywords:
            found.update((name, kwargs[name]) for name in kwargs if name not in taken)
        return found

    return read_fields


class Belongs:
    """Reads the parameters of a function that name a run, a thread and the like."""

    def __init__(self, function: FunctionType, names: Iterable[str]) -> None:
        code = undecorated(function).__code__
        there = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        self._reads = [
            (name, read)
            for name in names
            if name in there and (read := parameter(function, name)) is not None
        ]
        self.any = bool(self._reads)
        self.joint = any(naming.RESOURCES.get(name, ("", False))[1] for name, _ in self._reads)

    def of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Resource, ...]:
        """The resources a call names."""
        found = (resource_named(read(args, kwargs), name) for name, read in self._reads)
        return tuple(one for one in found if one is not None)


def nobody(_: str) -> bool:
    """Whether somebody goes by that name, where nothing is known of anybody."""
    return False


def whom(value: object, kind: str) -> Principal | None:
    """The principal an argument names: an identifier, or an object that carries one."""
    found = describe(value, kind)
    return found[0] if found else None


class SendHook:
    """Around a send or broadcast: opens an intent or adds to the one under way."""

    stage = "hooks"

    def __init__(
        self,
        function: FunctionType,
        method: Method,
        receiver: Receiver,
        intents: Intents,
        reader: Reader,
        events: Events,
        named: Collection[str] = (),
        known: Known = nobody,
    ) -> None:
        names = method.parameters
        self._kind = method.kind
        line = undecorated(function).__code__.co_firstlineno
        self._name = f"{function.__module__}:{function.__qualname__}:{line}"
        self._recipient = parameter(function, names.recipient)
        self._recipient_kind = names.recipient_kind
        self._method = method.name
        self._source = f"{method.name}.{names.recipient}"
        self._payload = parameter(function, names.payload)
        self._event = parameter(function, names.event)
        self._fields = fields(function, method)
        self._room = parameter(function, names.room)
        self._room_name = names.room or ""
        self._known = known
        self._belongs = Belongs(function, reader.parameters)
        self._place = names.recipient is None and self._belongs.joint
        # Where the rules find no recipient, some calls are looked at: doctor tells what there was.
        self._unnamed = (
            unnamed(function, method) if names.recipient is None and method.kind == SEND else None
        )
        self._calls = 0
        # What policies want to know of a call: (as they name it, how it is read).
        self._named = [
            (name, read)
            for name in named
            if (read := existing(function, name or names.room)) is not None
        ]
        # Text value -> evidence: the same few people are sent to again and again.
        self._arguments: dict[str, Evidence | None] = {}
        self._receiver = receiver
        self._intents = intents
        self._read = reader.read
        self._events = events

    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Frame:
        instance = self._receiver(args)
        # Four frames up: enter, here, the guard's wrapper, and then the application's caller.
        who = None
        if self._room is not None:
            who = addressee(self._room(args, kwargs), self._room_name, self._known)
        kind = self._kind if who is None else SEND
        frame = self._intents.enter(kind, instance.manager, self._name, 3)
        try:
            if self._room is not None:
                self._address(frame, who)
            self._fill(frame, instance.owner, args, kwargs)
            if self._belongs.any:
                frame.resources += self._belongs.of(args, kwargs)
                if self._place:
                    frame.place = True
            if self._unnamed:
                self._offer(frame, args, kwargs)
            if self._fields is not None:
                given = self._fields(args, kwargs)
                if given:
                    self._intents.expect(frame, given)
        except Exception:
            self._intents.leave(frame, None)
            raise
        return frame

    def _fill(  # noqa: C901  (one body, because it runs for every message)
        self, frame: Frame, owner: Evidence | None, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        intent = frame.intent
        evidence = frame.evidence
        if self._named:
            frame.named = tuple((name, atom(read(args, kwargs))) for name, read in self._named)
        if self._recipient is not None:
            argument = self._argument(self._recipient(args, kwargs))
            if argument is not None:
                # A broadcast's inner argument names each recipient in turn: it can dissent,
                # but that it agrees proves nothing of the message.
                if intent.kind == BROADCAST:
                    argument = argument._replace(attests=False)
                evidence.append(argument)
        if owner is not None:
            evidence.append(owner)
        named = self._event(args, kwargs) if self._event is not None else None
        if self._payload is not None:
            payload = self._payload(args, kwargs)
            if payload is not None:
                reading = self._read(payload)
                if reading.owner is not None:
                    if reading.soft:
                        frame.soft = reading.owner
                    else:
                        evidence.append(reading.owner)
                frame.resources = reading.resources
                if named is None:
                    named = reading.event
                self._intents.expect(frame, payload)
        if intent.event == NONE and type(named) is str and named:
            intent.event = self._events.label(named)
            if intent.event == OTHER:
                intent.named = named

    def _address(self, frame: Frame, who: Principal | None) -> None:
        """The message is for a room, or for the one person whose channel that is."""
        if who is None:
            frame.room = True
        else:
            attests = frame.intent.kind != BROADCAST
            source = f"{self._method}.{self._room_name}"
            frame.evidence.append(Evidence("argument", who, CALL, source, STRONG, attests))

    def _offer(self, frame: Frame, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Of the first calls, and then of few: who stood in parameters no rule knows."""
        self._calls += 1
        if self._calls > FIRST and self._calls % EVERY:
            return
        frame.offered = tuple(
            (path, who)
            for path, kind, read in self._unnamed or ()
            if (who := whom(read(args, kwargs), kind)) is not None
        )

    def _argument(self, value: object) -> Evidence | None:
        if type(value) is not str:
            return self._new_argument(value)
        try:
            return self._arguments[value]
        except KeyError:
            if len(self._arguments) >= _KNOWN:
                self._arguments.clear()
            found = self._arguments[value] = self._new_argument(value)
            return found

    def _new_argument(self, value: object) -> Evidence | None:
        who = whom(value, self._recipient_kind)
        return None if who is None else Evidence("argument", who, CALL, self._source, STRONG)

    def after(self, frame: Frame, result: Any, error: BaseException | None) -> None:
        self._intents.leave(frame, error)

    def pause(self, frame: Frame, value: Any) -> None:
        self._intents.pause(frame, value)

    def resume(self, frame: Frame) -> None:
        self._intents.resume(frame)


class BindHook:
    """Around connect, register and the like: the user a connection is registered under."""

    stage = "hooks"

    def __init__(
        self,
        function: FunctionType,
        method: Method,
        receiver: Receiver,
        sink: Sink,
        *,
        static: bool,
    ) -> None:
        names = method.parameters
        self._user = parameter(function, names.recipient)
        self._user_kind = names.recipient_kind
        self._socket = parameter(function, names.socket)
        self._source = f"{MANAGER}:{method.name}.{names.recipient}"
        self._room = names.room is not None
        self._receiver = receiver
        self._sink = sink
        self._belongs = Belongs(function, sink.reader.parameters)
        self._unnamed = unnamed(function, method) if names.recipient is None else ()
        self._first = 0 if static else 1  # where the arguments begin that may be the socket

    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        instance = self._receiver(args)
        found = self._cell(args, kwargs) or self._stream()
        if found is None:
            return
        cell, scope = found
        who = whom(self._user(args, kwargs), self._user_kind) if self._user is not None else None
        if who is not None:
            evidence = Evidence("connection", who, ACCEPT, self._source, STRONG)
        elif instance.owner is not None:
            # `per_user_manager.connect(websocket)`: the manager itself says for whom.
            evidence = instance.owner._replace(
                name="connection", at=ACCEPT, source=f"{MANAGER}:{instance.owner.source}"
            )
        else:
            self._sink.resolve(cell, scope)
            for path, kind, read in self._unnamed:
                value = read(args, kwargs)
                self._sink.clues.offer(cell.connection_id, "parameter", path, value, kind)
            return
        self._sink.bind(cell, scope, evidence, site_text(caller(3), NONE))
        if self._belongs.any:
            # Mostly from the address the client chose: no more than a claim.
            self._sink.claim(cell, self._belongs.of(args, kwargs))

    def _stream(self) -> Any:
        """The HTTP request this is called for, which may become a stream, if it is nobody's.

        It is not named in the call, so what is known of it otherwise stays as it is.
        """
        found = current_request.get()
        if found is None or self._user is None:
            return None
        cell, scope = found
        self._sink.resolve(cell, scope)
        return found if cell.held is None else None

    def _cell(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._socket is not None:
            found = self._sink.handles.find(self._socket(args, kwargs))
            if found is not None:
                return found
        for value in (*args[self._first :], *kwargs.values()):
            found = self._sink.handles.find(value)
            if found is not None:
                return found
        return None

    def after(self, state: Any, result: Any, error: BaseException | None) -> None:
        """Nothing: the facts are told before, because connect methods often greet at once."""


class UnbindHook(BindHook):
    """Around disconnect and the like: the connection is nobody's afterwards."""

    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._receiver(args)
        return None if self._room else self._cell(args, kwargs)

    def after(self, state: Any, result: Any, error: BaseException | None) -> None:
        if error is None:
            state[0].release()


class ReceiveHook(BindHook):
    """Around an inbound router: in some applications the only place user and socket meet."""

    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._receiver(args)
        if self._user is None:
            return
        found = self._cell(args, kwargs)
        if found is None:
            return
        cell, scope = found
        if self._sink.resolve(cell, scope) is None or cell.held is None:
            who = whom(self._user(args, kwargs), self._user_kind)
            if who is not None:
                self._sink.bind(
                    cell, scope, Evidence("connection", who, ACCEPT, self._source, STRONG)
                )


SENDS = (SEND, BROADCAST)
CONNECTS = {BIND: BindHook, UNBIND: UnbindHook, RECEIVE: ReceiveHook}
