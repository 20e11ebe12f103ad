# SPDX-License-Identifier: Apache-2.0
"""Which deliveries belong to which call: inside it, behind a queue, in a task, or not at all."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.harness import Agent, Socket, agent
from ws_audit.messages.tables import PendingPayloads
from ws_audit.model import OK, UNDELIVERED

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

AFTER_EXPIRY_NS = (PendingPayloads.SECONDS + 1) * 1_000_000_000


def event(user: str, **fields: Any) -> dict[str, Any]:
    return {"type": "ping", "user_id": user, **fields}


def plain(**fields: Any) -> dict[str, Any]:
    """A message that does not say whose it is: only the call can tell."""
    return {"type": "pong", **fields}


class Connections:
    """What every hub here has: sockets by user."""

    def __init__(self) -> None:
        self.sockets: dict[str, Any] = {}

    async def connect(self, websocket: Any, user_id: str) -> None:
        self.sockets[user_id] = websocket


class DirectHub(Connections):
    async def send_to_user(self, user_id: str, message: dict[str, Any]) -> None:
        await self.sockets[user_id].send_text(json.dumps(message))

    async def send_astray(self, user_id: str, message: dict[str, Any], whose: str) -> None:
        await self.sockets[whose].send_text(json.dumps(message))

    async def broadcast(self, message: dict[str, Any]) -> None:
        await asyncio.gather(*(self.send_to_user(user, message) for user in self.sockets))


class TaskHub(Connections):
    """Sends from a task that outlives the call."""

    def __init__(self) -> None:
        super().__init__()
        self.tasks: list[asyncio.Task[None]] = []

    async def send_to_user(self, user_id: str, message: dict[str, Any], times: int = 1) -> None:
        self.tasks.append(asyncio.create_task(self._later(user_id, message, times)))

    async def _later(self, user_id: str, message: dict[str, Any], times: int) -> None:
        for _ in range(times):
            await asyncio.sleep(0)
            await self.sockets[user_id].send_text(json.dumps(message))


class QueueHub(Connections):
    """One writer task per connection, or one for all; started by whoever asks first."""

    def __init__(self, *, shared: bool = False, as_json: bool = True, lazy: bool = False) -> None:
        super().__init__()
        self.queues: dict[str, asyncio.Queue[Any]] = {}
        self.writers: dict[str, asyncio.Task[None]] = {}
        self.shared, self.as_json, self.lazy = shared, as_json, lazy

    async def connect(self, websocket: Any, user_id: str) -> None:
        await super().connect(websocket, user_id)
        if not self.lazy:
            self._start(user_id)

    def _start(self, user_id: str) -> None:
        name = "all" if self.shared else user_id
        self.queues.setdefault(name, asyncio.Queue())
        if name not in self.writers:
            self.writers[name] = asyncio.create_task(self._write(self.queues[name]))

    async def _write(self, queue: asyncio.Queue[Any]) -> None:
        while True:
            user_id, item = await queue.get()
            websocket = self.sockets[user_id]
            if self.as_json and isinstance(item, dict):
                await websocket.starlette().send_json(item)
            else:
                await websocket.send_text(item if isinstance(item, str) else json.dumps(item))
            queue.task_done()

    async def send_to_user(self, user_id: str, message: Any) -> None:
        self._start(user_id)
        self.queues["all" if self.shared else user_id].put_nowait((user_id, message))

    async def publish(self, message: Any) -> None:
        for user_id in self.sockets:
            self._start(user_id)
            self.queues["all" if self.shared else user_id].put_nowait((user_id, message))

    async def settle(self) -> None:
        for queue in self.queues.values():
            await queue.join()

    def stop(self) -> None:
        for writer in self.writers.values():
            writer.cancel()


HUBS = (Connections, DirectHub, TaskHub, QueueHub)


@pytest.fixture
def audited() -> Iterator[Agent]:
    with agent() as made:
        made.patch(*HUBS[1:])
        # Inherited `connect` lives on the base class, which no rule takes: no send method.
        made.patch(Connections, connect="bind")
        made.framework()
        yield made


def serve(audited: Agent, hub: Connections, script: Any, users: str = "ab") -> list[Socket]:
    """Connect each user, run the script once, then let the connections end."""
    sockets = [Socket() for _ in users]
    ready: list[str] = []

    async def main() -> None:
        over = asyncio.Event()

        async def handler(user: str, socket: Socket) -> None:
            await hub.connect(socket, user)
            ready.append(user)
            await over.wait()

        tasks = [
            asyncio.create_task(audited.run(lambda one, u=user: handler(u, one), socket))  # type: ignore[misc]
            for user, socket in zip(users, sockets, strict=True)
        ]
        while len(ready) < len(users):  # noqa: ASYNC110
            await asyncio.sleep(0)
        try:
            await script()
        finally:
            over.set()
            await asyncio.gather(*tasks)
            if isinstance(hub, QueueHub):
                hub.stop()

    asyncio.run(main())
    return sockets


def sent(audited: Agent) -> dict[str, int]:
    """events_sent by outcome."""
    found: dict[str, int] = {}
    for (_, _, outcome), amount in audited.counted("sent").items():
        found[outcome] = found.get(outcome, 0) + amount
    return found


def joined(audited: Agent) -> list[str]:
    """The class of the manager each frame was joined to, in order."""
    return [one.manager.partition(":")[2] or one.manager for one in audited.frames()]


# --- inside the call --------------------------------------------------------------------------


def test_a_direct_send_joins_and_is_judged_by_its_argument(audited: Agent) -> None:
    hub = DirectHub()
    serve(audited, hub, lambda: hub.send_to_user("a", plain()))
    assert audited.verdicts() == ["match"]
    assert joined(audited) == ["DirectHub"]
    assert sent(audited) == {OK: 1}
    (call,) = audited.calls()
    assert call.deliveries == 1
    assert call.site.split(":")[1].endswith("main")  # who awaited it


def test_the_wrong_socket_inside_the_call_is_a_violation_with_the_callers_line(
    audited: Agent,
) -> None:
    hub = DirectHub()

    async def script() -> None:
        await hub.send_astray("a", plain(), "b")

    serve(audited, hub, script)
    assert audited.verdicts() == ["argument_vs_connection:probable"]
    (delivery,) = audited.frames()
    # Python 3.10 knows functions by their short names only.
    assert delivery.site.split(":")[1].rpartition(".")[2] == "script"
    assert [one.outcome for one in audited.written.outcomes] == [OK]


def test_after_the_call_the_same_task_is_on_its_own(audited: Agent) -> None:
    hub = DirectHub()

    async def script() -> None:
        await hub.send_to_user("a", plain())
        await hub.sockets["b"].send_text("{}")

    serve(audited, hub, script)
    assert audited.verdicts() == ["match", "unattributed:no_evidence"]
    assert joined(audited) == ["DirectHub", "none"]


def test_a_gather_of_sends_inside_one_broadcast_is_one_intent(audited: Agent) -> None:
    hub = DirectHub()
    serve(audited, hub, lambda: hub.broadcast(plain()), "abc")
    # Each inner argument agrees with its own connection, which under a broadcast proves nothing;
    # and none of them is held against another user's connection.
    assert audited.verdicts() == ["unattributed:undeclared_broadcast"] * 3
    assert sent(audited) == {OK: 1}
    (call,) = audited.calls()
    assert (call.kind, call.deliveries) == ("broadcast", 3)


def test_a_gather_of_sends_to_different_users_keeps_them_apart(audited: Agent) -> None:
    hub = DirectHub()

    async def script() -> None:
        await asyncio.gather(*(hub.send_to_user(user, plain()) for user in "abc" * 20))

    serve(audited, hub, script, "abc")
    assert audited.verdicts() == ["match"] * 60
    assert sent(audited) == {OK: 60}


# --- tasks ------------------------------------------------------------------------------------


def test_a_task_created_inside_joins_after_the_call_has_ended(audited: Agent) -> None:
    hub = TaskHub()

    async def script() -> None:
        await hub.send_to_user("a", plain())
        assert sent(audited) == {}  # nothing has left: nothing is settled
        await asyncio.gather(*hub.tasks)

    serve(audited, hub, script)
    assert audited.verdicts() == ["match"]
    assert joined(audited) == ["TaskHub"]
    assert sent(audited) == {OK: 1}


def test_only_the_first_delivery_of_such_a_task_joins(audited: Agent) -> None:
    hub = TaskHub()

    async def script() -> None:
        await hub.send_to_user("a", plain(), 3)
        await asyncio.gather(*hub.tasks)

    serve(audited, hub, script)
    assert audited.verdicts() == ["match"] + ["unattributed:no_evidence"] * 2
    assert joined(audited) == ["TaskHub", "none", "none"]
    assert sent(audited) == {OK: 1}


def test_tasks_side_by_side_each_join(audited: Agent) -> None:
    hub = TaskHub()

    async def script() -> None:
        for user in "abab":
            await hub.send_to_user(user, plain())
        await asyncio.gather(*hub.tasks)

    serve(audited, hub, script)
    assert audited.verdicts() == ["match"] * 4
    assert sent(audited) == {OK: 4}


# --- queues -----------------------------------------------------------------------------------


def test_a_queued_dict_joins_by_what_it_is(audited: Agent) -> None:
    hub = QueueHub()

    async def script() -> None:
        for user in "abba":
            await hub.send_to_user(user, plain(n=user))
        await hub.settle()

    serve(audited, hub, script)
    assert audited.verdicts() == ["match"] * 4
    assert joined(audited) == ["QueueHub"] * 4
    assert sent(audited) == {OK: 4}


def test_queued_text_joins_by_what_it_is(audited: Agent) -> None:
    hub = QueueHub(as_json=False)

    async def script() -> None:
        for user in "abba":
            await hub.send_to_user(user, json.dumps(plain(n=user)))
        await hub.settle()

    serve(audited, hub, script)
    assert audited.verdicts() == ["match"] * 4
    assert sent(audited) == {OK: 4}


def test_a_constant_that_waits_for_one_user_is_not_taken_for_his_when_others_are_sent_it(
    audited: Agent,
) -> None:
    hub = QueueHub(as_json=False)
    heartbeat = "ping"  # the very object that waits in the queue below

    async def script() -> None:
        await hub.send_to_user("a", heartbeat)
        await hub.sockets["b"].send_text(heartbeat)
        await hub.settle()

    serve(audited, hub, script)
    assert [verdict.partition(":")[0] for verdict in audited.verdicts()] == ["unattributed"] * 2


def test_a_queued_dict_that_reaches_someone_else_is_a_violation(audited: Agent) -> None:
    hub = QueueHub()

    async def script() -> None:
        hub.sockets["a"] = hub.sockets["b"]  # the seeded defect: a's registration overwritten
        await hub.send_to_user("a", plain())
        await hub.settle()

    serve(audited, hub, script)
    assert audited.verdicts() == ["argument_vs_connection:probable"]
    assert joined(audited) == ["QueueHub"]


@pytest.mark.parametrize("as_json", [True, False], ids=["send_json", "text"])
@pytest.mark.parametrize("shared", [True, False], ids=["one writer", "a writer each"])
def test_a_writer_started_in_the_first_send_does_not_carry_it_on(
    audited: Agent, shared: bool, as_json: bool
) -> None:
    """The second user's message through the same writer is judged by its own evidence."""
    hub = QueueHub(shared=shared, as_json=as_json, lazy=True)

    async def script() -> None:
        await hub.send_to_user("a", event("a"))
        await hub.settle()
        for user in "babb":
            await hub.send_to_user(user, event(user))
            await hub.settle()

    serve(audited, hub, script)
    assert audited.verdicts() == ["match"] * 5
    assert audited.written.recorded == []


def test_a_writer_that_sent_its_first_message_by_payload_has_had_its_first(
    audited: Agent,
) -> None:
    """What is written next without a known payload is no message of the first call's."""
    hub = QueueHub(shared=True, lazy=True)

    async def script() -> None:
        await hub.send_to_user("a", plain())  # starts the writer, joins by the dict
        await hub.settle()
        hub.queues["all"].put_nowait(("b", json.dumps(plain())))  # behind the manager's back
        await hub.settle()

    serve(audited, hub, script)
    assert audited.verdicts() == ["match", "unattributed:no_evidence"]
    assert joined(audited) == ["QueueHub", "none"]


def test_a_task_that_delivered_during_the_call_has_had_its_first(audited: Agent) -> None:
    class WaitingHub(Connections):
        async def send_to_user(self, user_id: str, message: str) -> None:
            first = asyncio.Event()
            tasks.append(asyncio.create_task(self._go_on(user_id, message, first)))
            await first.wait()

        async def _go_on(self, user_id: str, message: str, first: asyncio.Event) -> None:
            await self.sockets[user_id].send_text("{}")
            first.set()
            await asyncio.sleep(0.01)
            await self.sockets["b"].send_text("{}")

    audited.patch(WaitingHub)
    tasks: list[asyncio.Task[None]] = []
    hub = WaitingHub()

    async def script() -> None:
        await hub.send_to_user("a", "never sent as it is")
        await asyncio.gather(*tasks)

    serve(audited, hub, script)
    assert audited.verdicts() == ["match", "unattributed:no_evidence"]


def test_tasks_a_writer_makes_after_its_first_delivery_carry_nothing(audited: Agent) -> None:
    hub = QueueHub(lazy=True, shared=True, as_json=False)

    async def spawning(queue: asyncio.Queue[Any]) -> None:
        while True:
            user_id, item = await queue.get()
            if item == "direct":
                await hub.sockets[user_id].send_text("{}")
            else:
                await asyncio.create_task(hub.sockets[user_id].send_text("{}"))
            queue.task_done()

    hub._write = spawning  # type: ignore[method-assign]

    async def script() -> None:
        await hub.send_to_user("a", "direct")
        await hub.settle()
        for user in "bb":
            hub.queues["all"].put_nowait((user, "in a task"))
            await hub.settle()

    serve(audited, hub, script)
    assert audited.verdicts() == ["match"] + ["unattributed:no_evidence"] * 2


@pytest.mark.parametrize("users", ["ab", "aba", "aa"])
def test_a_payload_pending_for_more_than_one_intent_joins_none(audited: Agent, users: str) -> None:
    hub = QueueHub()
    same = plain()

    async def script() -> None:
        for user in users:
            await hub.send_to_user(user, same)
        await hub.settle()

    serve(audited, hub, script)
    assert audited.verdicts() == ["unattributed:no_evidence"] * len(users)
    assert set(joined(audited)) == {"none"}
    assert audited.written.recorded == []


def test_one_object_in_many_queues_joins_them_all(audited: Agent) -> None:
    hub = QueueHub()

    async def script() -> None:
        await hub.publish(plain())
        await hub.settle()

    serve(audited, hub, script, "abcd")
    assert joined(audited) == ["QueueHub"] * 4
    assert audited.verdicts() == ["unattributed:undeclared_broadcast"] * 4
    assert sent(audited) == {OK: 1}


def test_a_constant_that_was_sent_directly_is_not_waited_for_any_more(audited: Agent) -> None:
    """`"ping"` is one object in the whole process: it must not join somebody else's send."""

    class TextHub(Connections):
        async def send_to_user(self, user_id: str, message: str) -> None:
            await self.sockets[user_id].send_text(message)

    audited.patch(TextHub)
    hub = TextHub()

    async def script() -> None:
        await hub.send_to_user("a", "ping")
        await hub.sockets["b"].send_text("ping")  # a heartbeat, written straight to its socket

    serve(audited, hub, script)
    assert joined(audited)[0].endswith("TextHub")
    assert joined(audited)[1] == "none"
    assert audited.written.recorded == []


def test_payload_identity_wins_over_the_variable(audited: Agent) -> None:
    """A hub that writes what is queued whenever anybody sends."""

    class FlushingHub(Connections):
        def __init__(self) -> None:
            super().__init__()
            self.waiting: list[tuple[str, dict[str, Any]]] = []

        async def notify(self, user_id: str, message: dict[str, Any]) -> None:
            self.waiting.append((user_id, message))
            if len(self.waiting) == 2:
                for user, queued in self.waiting:
                    await self.sockets[user].starlette().send_json(queued)

    audited.patch(FlushingHub)
    hub = FlushingHub()

    async def script() -> None:
        await hub.notify("a", plain())
        await hub.notify("b", plain())

    serve(audited, hub, script)
    assert audited.verdicts() == ["match", "match"]
    assert sent(audited) == {OK: 2}


# --- what never arrives -----------------------------------------------------------------------


def test_nothing_delivered_is_undelivered_once_it_has_waited(audited: Agent) -> None:
    class LossyHub(Connections):
        async def send_to_user(self, user_id: str, message: dict[str, Any]) -> bool:
            return True  # "sent"

    audited.patch(LossyHub)
    hub = LossyHub()

    async def script() -> None:
        await hub.send_to_user("nobody", plain())

    serve(audited, hub, script)
    (started,) = [one for _, one, _ in audited.runtime.intents._waiting]
    audited.runtime.intents.expire(started.started_ns + AFTER_EXPIRY_NS - 2_000_000_000)
    assert sent(audited) == {}
    audited.runtime.intents.expire(started.started_ns + AFTER_EXPIRY_NS)
    assert sent(audited) == {UNDELIVERED: 1}
    assert [call.outcome for call in audited.calls()] == [UNDELIVERED]
    assert audited.counted("delivery") == {}
    assert len(audited.runtime.intents.pending) == 0


def test_the_table_of_waiting_payloads_is_bounded(
    audited: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PendingPayloads, "ENTRIES", 50)
    hub = QueueHub()

    async def script() -> None:
        for number in range(200):
            await hub.send_to_user("a", plain(n=number))
        assert len(audited.runtime.intents.pending) <= 50
        await hub.settle()

    serve(audited, hub, script)
    assert len(audited.frames()) == 200
    # The oldest were forgotten, counted as undelivered, and judged by what the sink had.
    assert sent(audited).get(OK, 0) >= 50
    assert sum(sent(audited).values()) + len(audited.runtime.intents._waiting) >= 200


def test_a_huge_payload_is_not_kept(audited: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PendingPayloads, "BYTES", 1000)
    hub = QueueHub(as_json=False)

    async def script() -> None:
        await hub.send_to_user("a", "x" * 2000)
        assert len(audited.runtime.intents.pending) == 0
        for _ in range(10):
            await hub.send_to_user("a", "y" * 300 + str(_))
        assert 1 <= len(audited.runtime.intents.pending) <= 3
        await hub.settle()

    serve(audited, hub, script)


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [(RuntimeError("x"), "error"), (asyncio.CancelledError(), "cancelled")],
    ids=["raised", "cancelled"],
)
def test_a_call_that_raised_says_so(audited: Agent, fault: BaseException, outcome: str) -> None:
    class BrokenHub(Connections):
        async def send_to_user(self, user_id: str, message: dict[str, Any]) -> None:
            raise fault

    audited.patch(BrokenHub)
    hub = BrokenHub()

    async def script() -> None:
        with pytest.raises(type(fault)):
            await hub.send_to_user("a", plain())

    serve(audited, hub, script)
    assert sent(audited) == {outcome: 1}
    assert len(audited.runtime.intents.pending) == 0


# --- super() chains ---------------------------------------------------------------------------


class BaseHub(Connections):
    async def emit(self, user_id: str, message: dict[str, Any]) -> str:
        await self.sockets[user_id].send_text(json.dumps(message))
        return "sent"


class PubSubHub(BaseHub):
    async def emit(self, user_id: str, message: dict[str, Any]) -> str:
        return await self._handle_emit(user_id, message)

    async def _handle_emit(self, user_id: str, message: dict[str, Any]) -> str:
        return await super().emit(user_id, message)


class RedisHub(PubSubHub):
    async def emit(self, user_id: str, message: dict[str, Any]) -> str:
        return await super().emit(user_id, message)


def test_a_chain_of_supers_through_another_method_is_one_intent(audited: Agent) -> None:
    audited.patch(BaseHub, PubSubHub, RedisHub)
    hub = RedisHub()

    async def script() -> None:
        assert await hub.emit("a", plain()) == "sent"

    serve(audited, hub, script)
    assert sent(audited) == {OK: 1}
    (call,) = audited.calls()
    assert (call.manager, call.deliveries) == (f"{__name__}:RedisHub", 1)
    assert audited.verdicts() == ["match"]


# --- coroutines that never came back ----------------------------------------------------------


def test_a_send_closed_from_elsewhere_leaves_other_calls_alone(audited: Agent) -> None:
    """The collector closes an abandoned coroutine in whatever task happens to run."""

    class HangingHub(Connections):
        async def send_later(self, user_id: str, message: dict[str, Any]) -> None:
            await Suspend()

        async def send_to_user(self, user_id: str, message: dict[str, Any]) -> None:
            abandoned.pop().close()
            await self.sockets[user_id].send_text(json.dumps(message))

    class Suspend:
        def __await__(self) -> Generator[None]:
            yield None

    audited.patch(HangingHub)
    hub = HangingHub()
    abandoned: list[Any] = []

    async def script() -> None:
        import contextvars

        coroutine = hub.send_later("b", plain())
        contextvars.copy_context().run(coroutine.send, None)
        abandoned.append(coroutine)
        await hub.send_to_user("a", plain())

    serve(audited, hub, script)
    assert audited.verdicts() == ["match"]
    assert sent(audited) == {"ok": 1, "error": 1}
