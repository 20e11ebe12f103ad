# SPDX-License-Identifier: Apache-2.0
"""Every part of the agent made to raise, one at a time: the application notices nothing.

The same scenario runs without an agent, with a whole one, and with each part broken. What it
returns, raises and puts on the wire must be the same; the fault must be counted, told once,
and no frame may be missing from the count.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.harness import Agent, Socket, agent
from ws_audit import sink
from ws_audit.evidence import bindings
from ws_audit.hooks import calls, instances
from ws_audit.hooks.calls import BindHook, ReceiveHook, SendHook, UnbindHook
from ws_audit.hooks.instances import Created, CreateHook
from ws_audit.labels import Events, Managers
from ws_audit.messages import intents, payloads
from ws_audit.messages.tables import Instances, PendingPayloads
from ws_audit.principals import identity
from ws_audit.transports import asgi

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class BrokenError(Exception):
    """A fault of the agent. Its text must not leave: it could quote a payload."""


def breaks(*args: Any, **kwargs: Any) -> Any:
    raise BrokenError("secret-of-alice")


# --- the application --------------------------------------------------------------------------


class ApplicationError(Exception):
    pass


class Hub:
    def __init__(self, name: str) -> None:
        self.name = name
        self.sockets: dict[str, Socket] = {}
        self.heard: list[Any] = []
        self.queue: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue()

    async def connect(self, websocket: Socket, user_id: str) -> str:
        self.sockets[user_id] = websocket
        return f"welcome {user_id}"

    def disconnect(self, websocket: Socket) -> int:
        self.sockets = {user: one for user, one in self.sockets.items() if one is not websocket}
        return len(self.sockets)

    async def on_message(self, user_id: str, websocket: Socket, message: str) -> int:
        self.heard.append(message)
        return len(self.heard)

    async def send_to_user(self, user_id: str, message: dict[str, Any]) -> bool:
        if user_id not in self.sockets:
            raise ApplicationError(user_id, "not here")
        await self.sockets[user_id].send_text(json.dumps(message))
        return True

    async def send_astray(self, user_id: str, message: dict[str, Any]) -> None:
        """The seeded defect."""
        await self.sockets["bob"].send_text(json.dumps(message))

    async def broadcast(self, message: dict[str, Any]) -> list[bool]:
        return await asyncio.gather(*(self.send_to_user(user, message) for user in self.sockets))

    def notify(self, user_id: str, message: dict[str, Any]) -> None:
        self.queue.put_nowait((user_id, message))

    async def write(self) -> None:
        user, message = await self.queue.get()
        await self.sockets[user].starlette().send_json(message)


FRAMES = 9


async def scenario(wrap: Callable[[Any, Socket], Any]) -> list[Any]:
    """Two users; everything a manager does; returns all the application and clients saw."""
    seen: list[Any] = []
    hub = Hub("main")
    sockets = {user: Socket() for user in ("alice", "bob")}
    over = asyncio.Event()

    async def serve(user: str) -> None:
        async def handler(one: Socket) -> None:
            seen.append(await hub.connect(one, user))
            message = await one.receive()
            seen.append(await hub.on_message(user, one, message["text"]))
            await over.wait()
            seen.append(hub.disconnect(one))

        socket = sockets[user]
        socket.incoming.append({"type": "websocket.receive", "text": '{"user_id": "mallory"}'})
        await wrap(handler, socket)

    tasks = [asyncio.ensure_future(serve(user)) for user in sockets]
    while len(hub.heard) < 2:  # noqa: ASYNC110
        await asyncio.sleep(0)
    seen.append(await hub.send_to_user("alice", {"type": "ping", "user_id": "alice"}))
    seen.append(await hub.broadcast({"type": "notification"}))
    await hub.send_astray("alice", {"type": "ping", "user_id": "alice"})
    hub.notify("bob", {"type": "message", "n": 1})
    await hub.write()
    try:
        await hub.send_to_user("carol", {})
    except ApplicationError as error:
        seen.append((type(error), error.args, error.__context__))
    await sockets["alice"].send_text("not json")
    await sockets["alice"].send_bytes(b"\x00\xff")
    sockets["bob"].fails = ConnectionResetError("peer")
    try:
        await hub.send_to_user("bob", {"type": "ping"})
    except ConnectionResetError as error:
        seen.append((error is sockets["bob"].fails, error.__context__))
    sockets["bob"].fails = None
    await sockets["bob"].send_text("")
    over.set()
    await asyncio.gather(*tasks)
    seen.extend((user, socket.arrived) for user, socket in sockets.items())
    return seen


def _bare() -> list[Any]:
    assert not hasattr(Hub.notify, "__wrapped__")

    async def wrap(handler: Any, socket: Socket) -> None:
        socket.take(socket.scope, socket.server_receive, socket.server_send)
        await handler(socket)

    return asyncio.run(scenario(wrap))


BARE = _bare()  # now, while nobody watches


def bare() -> list[Any]:
    """What the scenario gives without an agent."""
    return BARE


def watched(audited: Agent) -> list[Any]:
    return asyncio.run(scenario(audited.run))


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Agent]]:
    """Makes the agent: only after the test has broken a part of it."""
    made: list[Any] = []

    def make(*broken: tuple[Any, str]) -> Agent:
        for owner, name in broken:
            assert hasattr(owner, name)
            monkeypatch.setattr(owner, name, breaks)
        context = agent()
        audited = context.__enter__()
        made.append(context)
        audited.patch(Hub)
        audited.framework()
        return audited

    yield make
    monkeypatch.undo()
    for context in made:
        context.__exit__(None, None, None)


def errors(audited: Agent) -> dict[str, int]:
    """ws_audit_internal_errors_total by stage."""
    return {stage: amount for (stage,), amount in audited.counted("error").items()}


def counted(audited: Agent) -> int:
    return sum(audited.counted("delivery").values())


# --- the whole agent --------------------------------------------------------------------------


def test_with_a_whole_agent_all_is_the_same_and_judged(build: Callable[..., Agent]) -> None:
    audited = build()
    assert watched(audited) == bare()
    assert errors(audited) == {}
    assert audited.said == []
    assert counted(audited) == FRAMES
    assert audited.verdicts() == [
        "match",  # alice's own
        "unattributed:undeclared_broadcast",
        "unattributed:undeclared_broadcast",
        "argument_vs_connection:confirmed",  # the defect: argument and payload both say alice
        "match",  # from the queue
        "unattributed:opaque_payload",
        "unattributed:opaque_payload",
        "match",  # refused by the peer, and counted
        "unattributed:opaque_payload",
    ]
    rules = {rule for rule, _, _ in audited.counted("violation")}
    assert rules == {"argument_vs_connection", "inbound_vs_connection"}


# --- hooks ------------------------------------------------------------------------------------

HOOKS = [
    (SendHook, "before"),
    (SendHook, "after"),
    (SendHook, "_fill"),
    (BindHook, "before"),
    (UnbindHook, "before"),
    (UnbindHook, "after"),
    (ReceiveHook, "before"),
    (CreateHook, "before"),
    (CreateHook, "after"),
    (BindHook, "_cell"),
    (calls, "whom"),
    (identity.Handles, "find"),
    (instances, "owner_of"),
    (Created, "of"),
    (Created, "add"),
    (Instances, "add"),
    (Instances, "find"),
    (PendingPayloads, "add"),
    (intents.Intents, "enter"),
    (intents.Intents, "leave"),
    (intents.Intents, "expect"),
    (intents.Intents, "_settle"),
    (PendingPayloads, "remove"),
]
# Without these the agent no longer knows when a call is over. What fails *inside* them comes
# after they have noted that, and is on the list above.
ENDS = [(SendHook, "after"), (intents.Intents, "leave")]


def named(part: tuple[Any, str]) -> str:
    return f"{part[0].__name__.rpartition('.')[2]}.{part[1]}"


@pytest.mark.parametrize("part", HOOKS, ids=named)
def test_a_broken_hook(build: Callable[..., Agent], part: tuple[Any, str]) -> None:
    audited = build(part)
    assert watched(audited) == bare()
    assert errors(audited).get("hooks", 0) >= 1
    assert set(errors(audited)) <= {"hooks", "judge", "sink"}
    one_line_a_stage(audited)
    # Knowing less is no reason to count less, or to call anything a leak that is none.
    assert counted(audited) == len(audited.frames()) == FRAMES
    assert {told.partition(":")[0] for told in audited.verdicts()} <= {
        "match",
        "unattributed",
        "argument_vs_connection",
        "payload_vs_connection",
    }
    if part not in ENDS:  # the defect, and alice's and bob's false claims
        assert len(audited.written.recorded) <= 3


# --- the sink ---------------------------------------------------------------------------------

# Part, stage, how many of the frames could not be judged for it (None: depends on the part).
JUDGING = [
    ((sink, "judge"), FRAMES),
    ((intents.Intents, "join"), FRAMES),
    ((sink.Sink, "resolve"), FRAMES),
    ((bindings.Bindings, "from_scope"), None),
    ((payloads.Reader, "_text"), FRAMES),
    ((payloads.Reader, "_fields"), None),
    ((Events, "label"), None),
    ((sink, "collect"), None),
    ((PendingPayloads, "find"), None),
]


@pytest.mark.parametrize(("part", "unjudged"), JUDGING, ids=[named(part) for part, _ in JUDGING])
def test_a_frame_that_could_not_be_judged_is_counted_as_that(
    build: Callable[..., Agent], part: tuple[Any, str], unjudged: int | None
) -> None:
    audited = build(part)
    assert watched(audited) == bare()
    failed = audited.verdicts().count("unattributed:internal_error")
    assert failed == (unjudged if unjudged is not None else failed)
    assert failed >= 1
    assert errors(audited)["judge"] == failed
    assert counted(audited) == len(audited.frames()) == FRAMES
    page = audited.page()
    frames = {key: value for key, value in page.items() if key.startswith("ws_audit_frames_total")}
    assert sum(frames.values()) == FRAMES
    assert page["ws_audit_unattributed_total{internal_error}"] == failed
    assert page["ws_audit_frames_total{false,asgi}"] >= failed
    assert page["ws_audit_internal_errors_total{judge}"] == failed
    one_line_a_stage(audited)


AFTER_THE_VERDICT = [
    ((intents.Intents, "site"), "sink"),
    ((intents.Intents, "ids"), "sink"),
    ((intents.Intents, "new_span_id"), "violation"),
]


@pytest.mark.parametrize(
    ("part", "stage"), AFTER_THE_VERDICT, ids=[named(part) for part, _ in AFTER_THE_VERDICT]
)
def test_a_violation_survives_what_goes_wrong_after_it_was_judged(
    build: Callable[..., Agent], part: tuple[Any, str], stage: str
) -> None:
    audited = build(part)
    assert watched(audited) == bare()
    assert errors(audited)[stage] >= 1
    assert audited.verdicts().count("argument_vs_connection:confirmed") == 1
    violations = audited.counted("violation")
    assert violations["argument_vs_connection", "confirmed", f"{__name__}:Hub"] == 1
    assert counted(audited) == FRAMES
    one_line_a_stage(audited)


@pytest.mark.parametrize("name", ["record", "outcome"])
def test_a_broken_book_of_violations(build: Callable[..., Agent], name: str) -> None:
    audited = build()
    setattr(audited.written, name, breaks)
    assert watched(audited) == bare()
    assert sum(errors(audited).values()) >= 1
    violations = audited.counted("violation")
    assert violations["argument_vs_connection", "confirmed", f"{__name__}:Hub"] == 1
    assert counted(audited) == FRAMES
    one_line_a_stage(audited)


AROUND = [
    ((sink.Sink, "open"), FRAMES),
    ((sink.Sink, "close"), 0),
    ((sink.Sink, "inbound"), 0),
    ((sink.Sink, "outbound"), FRAMES),
    ((sink.Sink, "delivered"), 0),
    ((sink.Sink, "bind"), 0),
    ((asgi.Connection, "outbound"), FRAMES),
    ((asgi.Connection, "inbound"), 0),
    ((asgi.Connection, "closed"), 0),
    ((asgi.Connection, "delivered"), 0),
]


@pytest.mark.parametrize(("part", "uncounted"), AROUND, ids=[named(part) for part, _ in AROUND])
def test_a_broken_sink(build: Callable[..., Agent], part: tuple[Any, str], uncounted: int) -> None:
    """Where the count itself is gone, the errors stand for it: nothing is silent."""
    audited = build(part)
    assert watched(audited) == bare()
    assert sum(errors(audited).values()) >= 1
    assert counted(audited) == FRAMES - uncounted
    one_line_a_stage(audited)


def test_connections_opened_and_closed_stay_even(build: Callable[..., Agent]) -> None:
    audited = build((sink.Sink, "inbound"), (sink, "judge"))
    watched(audited)
    assert audited.counted("opened") == audited.counted("closed") == {("asgi",): 2}


def test_a_broken_ring(build: Callable[..., Agent]) -> None:
    audited = build()
    audited.runtime.sink._append = breaks
    audited.runtime.intents._record = breaks
    assert watched(audited) == bare()
    assert counted(audited) == FRAMES
    assert errors(audited)["sink"] >= FRAMES
    one_line_a_stage(audited)


@pytest.mark.parametrize("part", [(Managers, "label"), (Events, "allow")], ids=named)
def test_labels_that_break_while_classes_are_taken(
    monkeypatch: pytest.MonkeyPatch, part: tuple[Any, str]
) -> None:
    """Taking a class happens inside an import; see tests/startup for the finder's own guard."""
    with agent() as audited:
        monkeypatch.setattr(*part, breaks)
        with pytest.raises(BrokenError):
            audited.patch(Hub)
        assert watched(audited) == bare()


def test_not_even_the_count_of_errors_is_needed(build: Callable[..., Agent]) -> None:
    audited = build()
    audited.runtime.tally.add = breaks  # type: ignore[method-assign]
    assert watched(audited) == bare()


def test_not_even_a_place_to_tell_it_is_needed(build: Callable[..., Agent]) -> None:
    audited = build((sink, "judge"))
    audited.runtime.say = breaks
    assert watched(audited) == bare()
    assert errors(audited)["judge"] == FRAMES


# --- what the agent must not catch ------------------------------------------------------------


@pytest.mark.parametrize("signal", [KeyboardInterrupt, SystemExit, MemoryError, RecursionError])
def test_a_signal_that_arrives_inside_the_agent(
    build: Callable[..., Agent], monkeypatch: pytest.MonkeyPatch, signal: type[BaseException]
) -> None:
    """Ctrl-C may hit our code as well as theirs: it must end the process all the same."""

    def interrupted(*args: Any) -> Any:
        raise signal

    audited = build()
    monkeypatch.setattr(sink, "judge", interrupted)
    if issubclass(signal, Exception):
        assert watched(audited) == bare()
    else:
        with pytest.raises(signal):
            watched(audited)
        assert errors(audited) == {}


# --- off the call path ------------------------------------------------------------------------


class BrokenOutput:
    def __init__(self) -> None:
        self.calls = 0

    def fold(self, record: Any) -> None:
        self.calls += 1
        raise BrokenError

    def tick(self, now_ns: int) -> None:
        self.calls += 1
        raise BrokenError


def test_a_broken_output_costs_the_others_nothing(build: Callable[..., Agent]) -> None:
    audited = build()
    broken = BrokenOutput()
    audited.runtime.drain.outputs([broken, audited.kept])
    assert watched(audited) == bare()
    assert len(audited.frames()) == FRAMES
    audited.runtime.drain.tick(1)
    assert broken.calls == errors(audited)["drain"] > FRAMES
    one_line_a_stage(audited)


def one_line_a_stage(audited: Agent) -> None:
    stages = errors(audited)
    assert len(audited.said) == len(stages)
    for line in audited.said:
        assert "internal error in " in line
        assert "BrokenError" in line or "AssertionError" in line
        assert "the application is unaffected" in line
        assert "secret-of-alice" not in line
