# SPDX-License-Identifier: Apache-2.0
"""Below all managers: whose connection it is, what evidence counts there, every reason why not."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import fastapi
import pytest
from fastapi.testclient import TestClient

import ws_audit
from tests.faults.harness import Agent, Socket, agent
from tests.unit import suspicious
from ws_audit.model import ACCEPT, MATCH, STRONG, UNATTRIBUTED, VIOLATION, WEAK, Evidence
from ws_audit.principals.identity import DIFFERENT, INCOMPARABLE, compare, principal
from ws_audit.schema import REASONS

if TYPE_CHECKING:
    from collections.abc import Iterator


class Hub:
    def __init__(self) -> None:
        self.sockets: dict[Any, Socket] = {}

    async def connect(self, websocket: Socket, user_id: Any) -> None:
        self.sockets[user_id] = websocket

    def disconnect(self, websocket: Socket) -> None: ...

    async def handle_message(self, user_id: str, websocket: Socket, message: str) -> None: ...

    async def send_to_user(self, user_id: str, message: Any, over: Socket) -> None:
        await over.send_text(json.dumps(message))

    async def send_to_room(self, room: str, message: Any, over: Socket) -> None:
        await over.send_text(json.dumps(message))

    async def send_to(self, websocket: Socket, user_id: str, message: Any) -> None:
        await websocket.send_text(json.dumps(message))

    async def broadcast(self, message: Any, over: Socket, inner: str = "") -> None:
        if inner:
            await self.send_to_user(inner, message, over)
        else:
            await over.send_text(json.dumps(message))


def logged(function: Any) -> Any:
    """A decorator as everybody writes them."""

    @functools.wraps(function)
    async def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        return await function(self, *args, **kwargs)

    return wrapper


def retried(function: Any) -> Any:
    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return await function(*args, **kwargs)

    return wrapper


def injected(function: Any) -> Any:
    """One that fills a parameter itself: the caller's first is the function's second."""

    @functools.wraps(function)
    async def wrapper(self: Any, over: Socket, *args: Any) -> Any:
        return await function(self, "bob", args[0], over)

    return wrapper


class DecoratedHub(Hub):
    @logged
    @retried
    async def push_to_user(self, user_id: str, message: Any, *, over: Socket) -> None:
        await over.send_text(json.dumps({**message, "type": "decorated_event"}))

    @injected
    async def notify_user(self, user_id: str, message: Any, over: Socket) -> None:
        await over.send_text(json.dumps(message))


class UserEmitter:
    """Built for one user; `emit` names nobody."""

    def __init__(self, user_id: str) -> None:
        self.user_id = user_id

    async def emit(self, message: Any, over: Socket) -> None:
        await over.send_text(json.dumps(message))


class ContextBridge:
    def __init__(self, user_context: Any) -> None:
        self.user_context = user_context

    async def emit(self, message: Any, over: Socket) -> None:
        await over.send_text(json.dumps(message))


CLASSES = (Hub, DecoratedHub, UserEmitter, ContextBridge)


class User:
    def __init__(self, **fields: Any) -> None:
        vars(self).update(fields)


@pytest.fixture
def audited() -> Iterator[Agent]:
    suspicious.CALLED.clear()
    with agent() as made:
        made.patch(*CLASSES)
        yield made
    assert suspicious.CALLED == []


def connection(audited: Agent, socket: Socket) -> Evidence | None:
    """Whose connection the sink believes it to be after one message."""

    async def handler(one: Socket) -> None:
        await one.send_text("{}")

    audited.serve(handler, socket)
    found = audited.frames()[-1].evidence
    return found[0] if found else None


def who(evidence: Evidence | None) -> tuple[str, str, str] | None:
    if evidence is None:
        return None
    assert (evidence.name, evidence.at) == ("connection", ACCEPT)
    return evidence.principal.user, evidence.source, evidence.strength


# --- whose connection: where it is read -------------------------------------------------------

SCOPES: list[tuple[dict[str, Any], tuple[str, str, str] | None]] = [
    ({"user": User(id=17)}, ("17", "scope.user", STRONG)),
    ({"user": {"user_id": "a"}}, ("a", "scope.user", STRONG)),
    ({"user": "a"}, ("a", "scope.user", STRONG)),
    ({"user": 17}, ("17", "scope.user", STRONG)),
    ({"session": {"user_id": 17}}, ("17", "session.user_id", STRONG)),
    ({"session": {"_auth_user_id": "17"}}, ("17", "session._auth_user_id", STRONG)),
    ({"session": {"user": {"email": "A@x.org"}}}, ("a@x.org", "session.user", STRONG)),
    ({"session": {"id": "session-5", "name": "x"}}, None),  # the session's own
    ({"path_params": {"user_id": "a"}}, ("a", "path.user_id", WEAK)),
    ({"path_params": {"room": "r"}}, None),
    ({"query_string": b"token=x&user_id=a"}, ("a", "query.user_id", WEAK)),
    ({"query_string": b"user_id=%61lice"}, ("alice", "query.user_id", WEAK)),
    ({"query_string": b"token=secret"}, None),
    ({"query_string": b"\xff\xfe=&%"}, None),
    ({}, None),
    # anonymous
    ({"user": User(id=17, is_authenticated=False)}, None),
    ({"user": User(id=None, username="")}, None),
    ({"session": {}}, None),
    # the order
    ({"user": User(id=1), "session": {"user_id": 2}}, ("1", "scope.user", STRONG)),
    (
        {"session": {"user_id": 2}, "path_params": {"user_id": "3"}},
        ("2", "session.user_id", STRONG),
    ),
    (
        {"path_params": {"user_id": "3"}, "query_string": b"user_id=4"},
        ("3", "path.user_id", WEAK),
    ),
    (
        {"user": User(id=1, is_authenticated=False), "session": {"user_id": 2}},
        ("2", "session.user_id", STRONG),
    ),
]


@pytest.mark.parametrize(("scope", "expected"), SCOPES, ids=map(str, range(len(SCOPES))))
def test_where_the_scope_says_it(
    audited: Agent, scope: dict[str, Any], expected: tuple[str, str, str] | None
) -> None:
    assert who(connection(audited, Socket(**scope))) == expected


def test_nothing_of_the_application_is_run(audited: Agent) -> None:
    for thing in suspicious.objects():
        for name in ("user", "session", "path_params"):
            connection(audited, Socket(**{name: thing}))
    assert audited.said == []


def test_a_user_that_appears_later_is_seen(audited: Agent) -> None:
    async def handler(one: Socket) -> None:
        await one.send_text('{"user_id": 17}')
        one.scope["user"] = User(id=17)
        await one.send_text('{"user_id": 17}')

    audited.serve(handler, Socket())
    assert audited.verdicts() == ["unattributed:no_principal", "match"]


# --- whose connection: who outranks whom ------------------------------------------------------

Script = Callable[[Hub, Socket], Any]


async def _connect(hub: Hub, one: Socket) -> None:
    await hub.connect(one, "connected")


async def _bind(hub: Hub, one: Socket) -> None:
    ws_audit.bind(one, "bound", tenant="acme")


async def _receive(hub: Hub, one: Socket) -> None:
    await hub.handle_message("routed", one, "{}")


RANKS: list[tuple[dict[str, Any], list[Script], str]] = [
    ({"path_params": {"user_id": "claimed"}}, [_connect], "connected"),
    ({"session": {"user_id": "session"}}, [_connect], "session"),
    ({"user": "scope"}, [_connect], "scope"),
    ({}, [_connect, _bind], "bound"),
    ({"user": "scope"}, [_bind], "bound"),
    ({"user": "scope", "session": {"user_id": "session"}}, [_bind, _connect], "bound"),
    ({}, [_receive], "routed"),
    ({"path_params": {"user_id": "claimed"}}, [_receive], "routed"),
    ({"user": "scope"}, [_receive], "scope"),
    ({}, [_connect, _receive], "connected"),
]


@pytest.mark.parametrize(("scope", "scripts", "expected"), RANKS, ids=map(str, range(len(RANKS))))
def test_who_outranks_whom(
    audited: Agent,
    monkeypatch: pytest.MonkeyPatch,
    scope: dict[str, Any],
    scripts: list[Script],
    expected: str,
) -> None:
    in_place(audited, monkeypatch)
    hub = Hub()

    async def handler(one: Socket) -> None:
        for script in scripts:
            await script(hub, one)
        await one.send_text("{}")

    audited.serve(handler, Socket(**scope))
    assert audited.frames()[-1].evidence[0].principal.user == expected


def in_place(audited: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this the process's agent, for the public calls."""
    from ws_audit import agent as module

    class Process:
        runtime = audited.runtime

    monkeypatch.setattr(module, "_agent", Process())


def test_bind_pins_the_connection(audited: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    in_place(audited, monkeypatch)
    hub = Hub()

    async def handler(one: Socket) -> None:
        ws_audit.bind(one, 17, tenant="acme")
        one.scope["user"] = User(id=18)
        await hub.connect(one, 19)
        hub.disconnect(one)
        await one.send_text('{"user_id": "17"}')
        ws_audit.bind(one.scope, 20)  # it alone may say so again
        await one.send_text('{"user_id": 20}')

    audited.serve(handler, Socket())
    assert audited.verdicts() == ["match", "match"]
    assert audited.frames()[0].evidence[0].principal == ("acme", "17", "id", "int")
    assert audited.written.recorded == []


def test_bind_keeps_what_else_the_user_is_called(
    audited: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_place(audited, monkeypatch)

    async def handler(one: Socket) -> None:
        ws_audit.bind(one, {"user_id": 17, "email": "A@x.org"}, tenant=3)
        for owner in ("17", "a@x.org", 18):
            await one.send_text(json.dumps({"user_id": owner}))

    audited.serve(handler, Socket())
    assert audited.verdicts() == ["match", "match", "payload_vs_connection:probable"]
    held = audited.frames()[0].evidence[0]
    assert {who.tenant for who in (held.principal, *held.aliases)} == {"3"}


def test_an_error_in_bind_does_not_reach_the_application(
    audited: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_place(audited, monkeypatch)

    def broken(*known: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr(audited.runtime.sink, "pin", broken)

    async def handler(one: Socket) -> None:
        ws_audit.bind(one, 17)

    audited.serve(handler, Socket())
    assert audited.counted("error")["bind",] == 1


def test_bind_begins_no_agent() -> None:
    """A library may call it; where nobody has asked for an audit, there is none."""
    script = "import sys, ws_audit; ws_audit.bind({}, 1); print(sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert "'ws_audit'" in done.stdout
    assert "ws_audit." not in done.stdout
    assert done.stderr == ""


def test_bind_of_what_is_no_connection_or_nobody_does_nothing(
    audited: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_place(audited, monkeypatch)
    for thing in (None, "x", {}, object(), *suspicious.objects()):
        ws_audit.bind(thing, 17)

    async def handler(one: Socket) -> None:
        for nobody in (None, "", "anonymous", object(), suspicious.Touchy()):
            ws_audit.bind(one, nobody)
        await one.send_text("{}")

    audited.serve(handler, Socket())
    assert audited.verdicts() == ["unattributed:no_principal"]


def test_declared_paths_are_the_only_ones() -> None:
    paths = ("scope.auth.sub", "scope.session.who", "dependency:me.key")
    with agent(identity_connection=paths) as audited:
        assert who(connection(audited, Socket(auth={"sub": "s|1"}))) == (
            "s|1",
            "scope.auth.sub",
            STRONG,
        )
        found = who(connection(audited, Socket(session={"who": "w", "user_id": "u"})))
        assert found == ("w", "scope.session.who", STRONG)
        assert who(connection(audited, Socket(user=User(id=17)))) is None


def test_a_tenant_is_read_where_it_is_declared() -> None:
    with agent(identity_tenant=("scope.state.org",)) as audited:
        found = connection(audited, Socket(user=User(id=17), state={"org": "Acme"}))
        assert found is not None
        assert found.principal == ("Acme", "17", "id", "int")


# --- a connection that changes hands ----------------------------------------------------------


def test_a_second_user_on_a_connection_is_rebound_once_told_and_changes_nothing(
    audited: Agent,
) -> None:
    hub = Hub()

    async def handler(one: Socket) -> None:
        await hub.connect(one, "alice")
        await hub.connect(one, "alice")
        await hub.connect(one, "mallory")
        await hub.send_to_user("alice", {}, one)

    audited.serve(handler, Socket())
    assert audited.counted("violation") == {("rebound_connection", "probable", "none"): 1}
    (finding,) = audited.written.recorded
    assert [one.principal.user for one in finding.evidence] == ["alice", "mallory"]
    assert finding.site.split(":")[1].rpartition(".")[2] == "handler"
    assert audited.verdicts() == ["match"]
    # It is no delivery: neither among the frames nor among the verdicts.
    assert sum(audited.counted("delivery").values()) == 1


def test_a_scope_user_that_changes_is_rebound(audited: Agent) -> None:
    async def handler(one: Socket) -> None:
        await one.send_text("{}")
        one.scope["user"] = User(id=18)
        await one.send_text("{}")
        await one.send_text("{}")

    audited.serve(handler, Socket(user=User(id=17)))
    assert audited.counted("violation") == {("rebound_connection", "probable", "none"): 1}


def test_anonymous_to_user_is_no_change_of_hands(audited: Agent) -> None:
    hub = Hub()

    async def handler(one: Socket) -> None:
        await one.send_text("{}")
        await hub.connect(one, "alice")

    audited.serve(handler, Socket(path_params={"user_id": "bob"}))
    assert audited.written.recorded == []


def test_unbound_the_same_socket_serves_the_next(audited: Agent) -> None:
    hub = Hub()

    async def handler(one: Socket) -> None:
        await hub.connect(one, "alice")
        await hub.send_to_user("alice", {}, one)
        hub.disconnect(one)
        await one.send_text("{}")
        await hub.connect(one, "bob")
        await hub.send_to_user("bob", {}, one)
        await hub.send_to_user("alice", {}, one)

    audited.serve(handler, Socket())
    assert audited.verdicts() == [
        "match",
        "unattributed:no_principal",
        "match",
        "argument_vs_connection:probable",
    ]
    assert ("rebound_connection", "probable", "none") not in audited.counted("violation")


# --- what a client says of itself -------------------------------------------------------------


def inbound(audited: Agent, socket: Socket, *texts: str | bytes) -> None:
    async def handler(one: Socket) -> None:
        for text in texts:
            key = "text" if isinstance(text, str) else "bytes"
            one.incoming.append({"type": "websocket.receive", key: text})
        for _ in texts:
            await one.receive()

    audited.serve(handler, socket)


def test_a_client_that_claims_to_be_someone_else_is_hygiene_and_one_record(audited: Agent) -> None:
    texts = ['{"user_id": "bob"}'] * 50 + [b'{"sender_id": "carol"}']
    inbound(audited, Socket("alice"), *texts)
    assert audited.counted("violation") == {("inbound_vs_connection", "hygiene", "none"): 51}
    assert len(audited.written.recorded) == 1  # aggregated per connection
    inbound(audited, Socket("alice"), *texts)
    assert len(audited.written.recorded) == 2
    assert audited.frames() == []


def test_what_agrees_or_says_nothing_is_nothing(audited: Agent) -> None:
    inbound(
        audited, Socket("alice"), '{"user_id": "alice"}', "{}", "hello", b"\xff", "", '{"user_id":'
    )
    assert audited.counted("violation") == {}


def test_a_claim_on_a_claimed_connection_is_nothing(audited: Agent) -> None:
    inbound(audited, Socket(path_params={"user_id": "alice"}), '{"user_id": "bob"}')
    inbound(audited, Socket(), '{"user_id": "bob"}')
    assert audited.counted("violation") == {}


# --- evidence at the sink ---------------------------------------------------------------------


def judged(audited: Agent, script: Script, socket: Socket | None = None) -> str:
    hub = Hub()

    async def handler(one: Socket) -> None:
        await hub.connect(one, "alice")
        await script(hub, one)

    audited.serve(handler, socket or Socket())
    return audited.verdicts()[-1]


OWN, OTHER = {"user_id": "alice"}, {"user_id": "bob"}

CALLS: dict[str, tuple[Script, str]] = {
    "argument": (lambda hub, one: hub.send_to_user("alice", {}, one), "match"),
    "argument of another": (
        lambda hub, one: hub.send_to_user("bob", {}, one),
        "argument_vs_connection:probable",
    ),
    "argument and payload of another": (
        lambda hub, one: hub.send_to_user("bob", OTHER, one),
        "argument_vs_connection:confirmed",
    ),
    "her own message, shown to her as well": (
        lambda hub, one: hub.send_to_user(
            "bob", {"sender_id": "alice", "recipient_id": "bob"}, one
        ),
        "unattributed:no_evidence",
    ),
    "a third user's message to another": (
        lambda hub, one: hub.send_to_user("bob", {"sender_id": "eve", "recipient_id": "bob"}, one),
        "argument_vs_connection:confirmed",
    ),
    "payload of another, by an assistant": (
        lambda hub, one: hub.send_to_user("alice", {"from": "assistant", **OTHER}, one),
        "payload_vs_connection:probable",
    ),
    "payload of another": (
        lambda hub, one: hub.send_to_user("alice", OTHER, one),
        "payload_vs_connection:probable",
    ),
    "payload of another, straight to the socket": (
        lambda hub, one: one.send_text(json.dumps(OTHER)),
        "payload_vs_connection:probable",
    ),
    "instance": (lambda hub, one: UserEmitter("alice").emit({}, one), "match"),
    "instance of another": (
        lambda hub, one: UserEmitter("bob").emit({}, one),
        "instance_vs_connection:probable",
    ),
    "instance and payload of another": (
        lambda hub, one: UserEmitter("bob").emit(OTHER, one),
        "payload_vs_connection:confirmed",
    ),
    "context of another": (
        lambda hub, one: ContextBridge(User(user_id="bob", id="ctx-1")).emit({}, one),
        "instance_vs_connection:probable",
    ),
    "a context's own id is not its user": (
        lambda hub, one: ContextBridge(User(id="ctx-1", name="x")).emit({}, one),
        "unattributed:no_evidence",
    ),
    # beside a room, user_id names the actor
    "payload in a room": (
        lambda hub, one: hub.send_to_room("r", OTHER, one),
        "unattributed:undeclared_broadcast",
    ),
    "owner field in a room": (
        lambda hub, one: hub.send_to_room("r", {"recipient_id": "bob"}, one),
        "payload_vs_connection:suspected",
    ),
    "actor field beside user_id": (
        lambda hub, one: hub.send_to_user("alice", {**OTHER, "sender_id": "bob"}, one),
        "match",
    ),
    # beside a socket, user_id is not whom the message is for
    "user beside a socket": (
        lambda hub, one: hub.send_to(one, "bob", {}),
        "unattributed:no_evidence",
    ),
    # broadcasts
    "broadcast": (lambda hub, one: hub.broadcast({}, one), "unattributed:undeclared_broadcast"),
    "broadcast of one's own": (lambda hub, one: hub.broadcast(OWN, one), "match"),
    "broadcast of another's": (
        lambda hub, one: hub.broadcast(OTHER, one),
        "payload_vs_connection:suspected",
    ),
    "inner argument under a broadcast attests nothing": (
        lambda hub, one: hub.broadcast({}, one, inner="alice"),
        "unattributed:undeclared_broadcast",
    ),
    "inner argument under a broadcast dissents": (
        lambda hub, one: hub.broadcast({}, one, inner="bob"),
        "argument_vs_connection:suspected",
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls(audited: Agent, name: str) -> None:
    script, expected = CALLS[name]
    assert judged(audited, script) == expected


def test_a_decorated_method_is_read_by_what_it_decorates(audited: Agent) -> None:
    hub = DecoratedHub()

    async def handler(one: Socket) -> None:
        await hub.connect(one, "alice")
        await hub.push_to_user("alice", {}, over=one)
        await hub.push_to_user(message={}, user_id="bob", over=one)
        await hub.notify_user(one, {})  # its first parameter is not the caller's first

    audited.serve(handler, Socket())
    assert audited.verdicts() == [
        "match",
        "argument_vs_connection:probable",
        "unattributed:no_evidence",
    ]
    assert {one.event for one in audited.frames()[:2]} == {"decorated_event"}


def test_a_claimed_connection_caps_at_suspected(audited: Agent) -> None:
    async def handler(one: Socket) -> None:
        await Hub().send_to_user("bob", OTHER, one)

    audited.serve(handler, Socket(path_params={"user_id": "alice"}))
    assert audited.verdicts() == ["argument_vs_connection:suspected"]


def test_bytes_and_text_in_one_frame_are_judged_as_servers_send_them(audited: Agent) -> None:
    async def handler(one: Socket) -> None:
        await one._send(
            {"type": "websocket.send", "bytes": json.dumps(OTHER).encode(), "text": json.dumps(OWN)}
        )

    audited.serve(handler, Socket("alice"))
    assert audited.verdicts() == ["payload_vs_connection:probable"]


def test_what_is_no_connection_passes_untouched(audited: Agent) -> None:
    """Not even wrapped: the application gets the server's own scope, receive and send."""
    seen: list[Any] = []

    async def application(*args: Any) -> None:
        seen.extend(args)

    socket = Socket()
    given = ({"type": "lifespan"}, socket.server_receive, socket.server_send)
    with pytest.raises(StopIteration):
        audited.runtime.take(application)(*given).send(None)  # type: ignore[attr-defined]
    assert all(one is other for one, other in zip(seen[:1], given[:1], strict=True))
    assert seen[1:] == list(given[1:])
    assert given[0] == {"type": "lifespan"}
    assert audited.counted("opened") == {}


def test_sizes_are_bytes_on_the_wire(audited: Agent) -> None:
    async def handler(one: Socket) -> None:
        await one.send_text("äöü€😀")
        await one.send_text("\ud800")
        await one.send_bytes(b"\xff" * 7)
        await one._send({"type": "websocket.send", "text": None, "bytes": b"x"})
        await one._send({"type": "websocket.close", "code": 1000})

    audited.serve(handler, Socket("alice"))
    assert [one.size for one in audited.frames()] == [13, 3, 7, 1]


# --- every reason -----------------------------------------------------------------------------


def _text(text: str | bytes) -> Script:
    async def script(hub: Hub, one: Socket) -> None:
        await (one.send_text(text) if isinstance(text, str) else one.send_bytes(text))

    return script


WHY: dict[str, tuple[dict[str, Any], Script]] = {
    "no_evidence": ({}, _text("{}")),
    "incomparable": ({}, _text('{"user_id": "auth0|abc"}')),
    "undeclared_broadcast": ({}, lambda hub, one: hub.broadcast({}, one)),
    "opaque_payload": ({}, _text(b"\x00\x01")),
    "unreadable_payload": ({}, _text('{"user_id": ')),
    "limit": ({"limits_payload_bytes": 10}, _text('{"user_id": "alice"}')),
    "internal_error": ({}, _text("{}")),
    "no_principal": ({}, _text("{}")),
}


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_is_reached(reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    limits, script = WHY[reason]
    with agent(**limits) as audited:
        audited.patch(Hub)
        if reason == "no_principal":
            monkeypatch.delattr(Hub, "connect")
            monkeypatch.setattr(Hub, "connect", _nothing, raising=False)
        if reason == "internal_error":
            monkeypatch.setattr("ws_audit.sink.judge", lambda *args: 1 / 0)
        assert judged(audited, script) == f"unattributed:{reason}"
        page = audited.page()
        assert page[f"ws_audit_unattributed_total{{{reason}}}"] == 1
        assert page["ws_audit_frames_total{false,asgi}"] == 1
        monkeypatch.undo()


async def _nothing(hub: Hub, one: Socket, user: str) -> None:
    """A connect that nobody hooks."""


def test_one_connection_too_many_is_counted_and_not_judged() -> None:
    async def handler(one: Socket) -> None:
        ready.append(one)
        while len(ready) < 3:
            await _yield()
        await one.send_text('{"user_id": "alice"}')

    async def _yield() -> None:
        import asyncio

        await asyncio.sleep(0)

    ready: list[Socket] = []
    with agent(limits_connections=2) as audited:
        audited.serve(handler, Socket("alice"), Socket("alice"), Socket("alice"))
        assert sorted(audited.verdicts()) == ["match", "match", "unattributed:limit"]
        ready.extend([Socket()] * 2)
        audited.serve(handler, Socket("alice"))  # they have gone: there is room again
        assert audited.verdicts()[-1] == "match"


# --- the sums ---------------------------------------------------------------------------------


def test_frames_are_verdicts_whatever_becomes_of_them(audited: Agent) -> None:
    for script, _ in CALLS.values():
        judged(audited, script)
        with pytest.raises(OSError, match="gone"):
            judged(audited, script, Socket(fails=OSError("gone")))
    page = audited.page()

    def total(name: str) -> float:
        return sum(value for key, value in page.items() if key.startswith(name))

    assert total("ws_audit_frames_total") == 2 * len(CALLS)
    assert total("ws_audit_verdicts_total") == 2 * len(CALLS)
    unattributed = sum(value for key, value in page.items() if key.endswith(",unattributed}"))
    assert total("ws_audit_unattributed_total") == unattributed > 0
    assert page["ws_audit_frames_total{false,asgi}"] == unattributed


# --- FastAPI ----------------------------------------------------------------------------------


def test_the_results_of_dependencies_also_nested_ones() -> None:
    application = fastapi.FastAPI()

    def token_claims() -> dict[str, str]:
        return {"sub": "auth0|nested"}

    nested_claims: Any = fastapi.Depends(token_claims)

    def current_user(claims: Any = nested_claims) -> User:
        return User(id=17)

    def wrapped(user_id: str, claims: Any = nested_claims) -> str:
        return "nothing of a user"

    outer_user: Any = fastapi.Depends(current_user)
    no_user: Any = fastapi.Depends(wrapped)

    @application.websocket("/direct")
    async def direct(websocket: fastapi.WebSocket, user: Any = outer_user) -> None:
        await websocket.accept()
        await websocket.send_text('{"user_id": 17}')

    @application.websocket("/nested/{user_id}")
    async def nested(websocket: fastapi.WebSocket, ok: Any = no_user) -> None:
        await websocket.accept()
        await websocket.send_text('{"user_id": "auth0|nested"}')

    @application.websocket("/claim/{user_id}")
    async def claim(websocket: fastapi.WebSocket, user_id: str) -> None:
        await websocket.accept()
        await websocket.send_text(json.dumps({"user_id": "bob"}))

    with agent() as audited:
        audited.fastapi()
        bare: Any = application
        taken: Any = audited.runtime.take(bare)
        client = TestClient(taken)
        sources: dict[str, tuple[str, str, str] | None] = {}
        for path in ("/direct", "/nested/x", "/claim/alice"):
            with client.websocket_connect(path) as session:
                session.receive_text()
            sources[path] = who(audited.frames()[-1].evidence[0])
        assert sources == {
            "/direct": ("auth0|nested", "dependency:claims", STRONG),
            "/nested/x": ("auth0|nested", "dependency:claims", STRONG),
            "/claim/alice": ("alice", "path.user_id", WEAK),
        }
        # Nested ones are solved first; the user they lead to is another name of the same person.
        assert audited.verdicts() == [
            "match",
            "match",
            "payload_vs_connection:suspected",
        ]


def test_one_foreign_thing_in_a_declared_list_is_a_violation() -> None:
    with agent(payload_owner=("notes[].user_id",)) as made:
        made.patch(*CLASSES)
        for owners, verdict in (((17, 17), MATCH), ((17, 18), VIOLATION), ((), UNATTRIBUTED)):
            message = {"notes": [{"user_id": one} for one in owners]}

            async def handler(one: Socket, message: Any = message) -> None:
                await one.send_text(json.dumps(message))

            made.serve(handler, Socket(user=User(id=17)))
            assert made.frames()[-1].verdict.verdict == verdict


LOGINS: list[tuple[Any, tuple[str, str, str] | None]] = [
    ({"login": "ann", "token": "x"}, ("ann", "login.login", WEAK)),
    ({"type": "auth", "data": {"user_id": 17, "jwt": "x"}}, ("17", "login.user_id", WEAK)),
    ({"user_id": 17, "password": ""}, None),
    ({"user_id": 17, "text": "no credential: maybe the one it is for"}, None),
    ({"token": "x"}, None),
    ({"token": "x", "user": {"id": 1}}, None),
    ([{"login": "ann", "token": "x"}], None),
]


@pytest.mark.parametrize(("message", "expected"), LOGINS, ids=map(str, range(len(LOGINS))))
def test_a_message_with_a_credential_says_who_its_sender_claims_to_be(
    audited: Agent, message: Any, expected: tuple[str, str, str] | None
) -> None:
    def told(*texts: str) -> tuple[str, str, str] | None:
        async def handler(one: Socket) -> None:
            one.incoming = [{"type": "websocket.receive", "text": text} for text in texts]
            for _ in texts:
                await one.receive()
            await one.send_text("{}")

        audited.serve(handler, Socket())
        found = audited.frames()[-1].evidence
        return who(found[0] if found else None)

    raw = json.dumps(message)
    assert told(raw) == told("hello", "{", raw) == expected
    # Only of the first few, and only of short ones: nobody logs in with anything else.
    assert told(*["hello"] * 4, raw) is None
    assert told(raw + " " * 9000) is None


def test_logging_out_in_the_scope_ends_what_the_scope_said(audited: Agent) -> None:
    seen = []

    async def handler(one: Socket) -> None:
        for user in (User(id=1), User(id=None, username=""), User(id=2)):
            one.scope["user"] = user
            await one.send_text("{}")
            evidence = audited.frames()[-1].evidence
            seen.append(evidence[0].principal.user if evidence else None)

    audited.serve(handler, Socket())
    assert seen == ["1", None, "2"]


def test_a_number_and_a_uuid_are_two_namespaces() -> None:
    number, other, unique, word = (
        principal(one) for one in (17, "18", "0b6f3f52-6f3e-4c2b-9d53-0d4f1a6f8a11", "ann")
    )
    assert number
    assert other
    assert unique
    assert word
    assert compare(number, unique) == compare(unique, number) == INCOMPARABLE
    assert compare(number, other) == compare(number, word) == compare(unique, word) == DIFFERENT
