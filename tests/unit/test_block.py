# SPDX-License-Identifier: Apache-2.0
"""Mode block: what is refused, what is not, and that everything else goes on as ever."""

from __future__ import annotations

import asyncio
import json
import pickle
from typing import Any

import pytest

import ws_audit
from tests.faults.harness import Agent, Socket, Written, agent
from ws_audit.configuration.policy_tables import PolicyTable
from ws_audit.model import REFUSED, Delivery

MINE, THEIRS = '{"user_id": "alice"}', '{"user_id": "bob"}'


class Hub:
    def __init__(self, socket: Socket) -> None:
        self.socket = socket
        self.queue: asyncio.Queue[Any] = asyncio.Queue()

    async def send_to_user(self, user_id: str, message: Any) -> None:
        await self.socket.send_text(json.dumps(message))

    async def send_safely(self, user_id: str, message: Any) -> None:
        try:
            await self.socket.send_text(json.dumps(message))
        except Exception:
            pass

    async def broadcast(self, message: Any) -> None:
        await self.socket.send_text(json.dumps(message))

    async def enqueue(self, user_id: str, message: Any) -> None:
        self.queue.put_nowait(message)


def run(one: Agent, talk: Any, **scope: Any) -> Socket:
    socket = Socket({"id": "alice"}, **scope) if not scope else Socket(**scope)

    async def handler(connected: Socket) -> None:
        await talk(Hub(connected), connected)

    one.patch(Hub)
    one.serve(handler, socket)
    return socket


def test_what_belongs_to_somebody_else_does_not_leave() -> None:
    async def talk(hub: Hub, socket: Socket) -> None:
        await socket.send_text(MINE)
        with pytest.raises(ws_audit.IsolationViolation) as refused:
            await socket.send_text(THEIRS)
        assert refused.value.rule == "payload_vs_connection"
        assert refused.value.severity == "probable"
        assert "bob" not in str(refused.value)
        assert "alice" not in str(refused.value)
        await socket.send_text(MINE)

    with agent(mode="block") as one:
        socket = run(one, talk)
        assert socket.arrived == [MINE, MINE]
        assert one.verdicts() == ["match", "payload_vs_connection:probable", "match"]
        (recorded,) = one.written.recorded
        (outcome,) = one.written.outcomes
        assert recorded.outcome == "unknown"  # before anybody knew
        assert outcome.outcome == REFUSED
        assert [record.outcome for record in one.frames()] == ["ok", REFUSED, "ok"]
        page = one.page()
        assert page["ws_audit_frames_total{true,asgi}"] == 3
        assert page["ws_audit_verdicts_total{none,violation}"] == 1
        assert not one.counted("error")


def test_it_is_recorded_before_the_application_hears_of_it() -> None:
    order: list[str] = []

    async def talk(hub: Hub, socket: Socket) -> None:
        try:
            await socket.send_text(THEIRS)
        except ws_audit.IsolationViolation:
            order.append("raised")

    class Ordered(Written):
        def record(self, delivery: Delivery) -> None:
            order.append("recorded")

        def outcome(self, delivery: Delivery) -> None:
            order.append("outcome")

    with agent(mode="block") as one:
        one.runtime.sink.violations = Ordered()
        run(one, talk)
    assert order == ["recorded", "outcome", "raised"]


def test_a_record_that_fails_lets_nothing_through() -> None:
    class Broken(Written):
        def record(self, delivery: Delivery) -> None:
            raise OSError

    with agent(mode="block") as one:
        one.runtime.sink.violations = Broken()
        socket = run(one, refused_quietly)
        assert socket.arrived == []


async def refused_quietly(hub: Hub, socket: Socket) -> None:
    with pytest.raises(ws_audit.IsolationViolation):
        await socket.send_text(THEIRS)


def test_through_a_manager_it_reaches_its_caller_and_is_counted_as_refused() -> None:
    async def talk(hub: Hub, socket: Socket) -> None:
        with pytest.raises(ws_audit.IsolationViolation):
            await hub.send_to_user("bob", {"user_id": "bob"})
        await hub.send_safely("bob", {"user_id": "bob"})  # the application has its own way with it
        await hub.send_to_user("alice", {"user_id": "alice"})

    with agent(mode="block") as one:
        socket = run(one, talk)
        assert socket.arrived == [MINE]
        outcomes = [key[2] for key, n in one.counted("sent").items() for _ in range(n)]
        assert sorted(outcomes) == ["ok", "refused", "refused"]
        assert sorted(call.outcome for call in one.calls()) == ["ok", "refused", "refused"]


def test_what_waited_in_a_queue_is_refused_and_counted_so() -> None:
    async def talk(hub: Hub, socket: Socket) -> None:
        theirs, mine = {"user_id": "bob"}, {"user_id": "alice"}
        await hub.enqueue("bob", theirs)
        await hub.enqueue("alice", mine)
        websocket = socket.starlette()
        with pytest.raises(ws_audit.IsolationViolation):
            await websocket.send_json(await hub.queue.get())
        await websocket.send_json(await hub.queue.get())

    with agent(mode="block") as one:
        one.framework()
        socket = run(one, talk)
        assert [json.loads(text) for text in socket.arrived] == [{"user_id": "alice"}]
        assert sorted(call.outcome for call in one.calls()) == ["ok", "refused"]
        assert all(call.deliveries == 1 for call in one.calls())


async def dubious(hub: Hub, socket: Socket) -> None:
    await hub.broadcast({"user_id": "bob"})


async def direct(hub: Hub, socket: Socket) -> None:
    await socket.send_text(THEIRS)


def test_what_is_only_suspected_leaves() -> None:
    with agent(mode="block") as one:
        assert run(one, dubious).arrived == [THEIRS]
        claimed = run(one, direct, query_string=b"user_id=alice")
        assert claimed.arrived == [THEIRS]
        assert one.verdicts() == ["payload_vs_connection:suspected"] * 2


def test_what_a_policy_excuses_leaves() -> None:
    table = PolicyTable(1, "system", "x", users=("bob",))
    with agent(mode="block", policy=(table,)) as one:
        assert run(one, direct).arrived == [THEIRS]


@pytest.mark.parametrize(
    ("block", "passes"),
    [(("argument_vs_connection",), 1), (("payload_vs_connection",), 0), ((), 0)],
)
def test_only_the_listed_rules_refuse(block: tuple[str, ...], passes: int) -> None:
    async def talk(hub: Hub, socket: Socket) -> None:
        try:
            await socket.send_text(THEIRS)
        except ws_audit.IsolationViolation:
            pass

    with agent(mode="block", block=block) as one:
        assert len(run(one, talk).arrived) == passes


def test_mode_observe_refuses_nothing_whatever_is_listed() -> None:
    with agent(block=("payload_vs_connection",)) as one:
        assert run(one, direct).arrived == [THEIRS]


def test_switched_off_it_refuses_nothing() -> None:
    async def talk(hub: Hub, socket: Socket) -> None:
        one.runtime.disarm()
        await socket.send_text(THEIRS)

    with agent(mode="block") as one:
        assert run(one, talk).arrived == [THEIRS]


def test_no_other_error_of_ours_gets_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*known: Any) -> Any:
        raise RuntimeError

    with agent(mode="block") as one:
        monkeypatch.setattr(one.runtime.sink, "outbound", broken)
        assert run(one, direct).arrived == [THEIRS]
        assert one.counted("error")["sink",] == 1


def test_it_can_be_pickled_and_is_no_error_frameworks_swallow() -> None:
    error = ws_audit.IsolationViolation("canary", "confirmed")
    other = pickle.loads(pickle.dumps(error))
    assert (type(other), other.rule, str(other)) == (type(error), "canary", str(error))
    assert repr(type(error)) == "<class 'ws_audit.IsolationViolation'>"
    # Starlette takes an OSError for a client that has left.
    assert not issubclass(ws_audit.IsolationViolation, (OSError, RuntimeError))
