# SPDX-License-Identifier: Apache-2.0
"""The application's own errors, cancellations and order come through as if nobody watched."""

from __future__ import annotations

import asyncio
import contextvars
import traceback
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.harness import Agent, Socket, agent
from ws_audit.model import CANCELLED, ERROR, OK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class RefusedError(Exception):
    """The application's own; two arguments, and an attribute, to see that they arrive."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(code, why)
        self.code = code


class Abort(BaseException):
    """Nothing an `except Exception` would see."""


RAISED: list[BaseException] = [
    RefusedError(7, "no"),
    ValueError("bad", 3),
    Abort("out"),
    KeyboardInterrupt(),
    SystemExit(3),
    GeneratorExit(),
    asyncio.CancelledError("why"),
    StopAsyncIteration(),
]
each_fault = pytest.mark.parametrize("fault", RAISED, ids=[type(one).__name__ for one in RAISED])

setting = contextvars.ContextVar("setting", default="unset")


class Hub:
    def __init__(self, fault: BaseException | None = None) -> None:
        self.fault = fault
        self.called = 0
        self.socket: Any = None

    async def connect(self, websocket: Any, user_id: str) -> None:
        self.socket = websocket

    async def send_to_user(self, user_id: str, message: str) -> str:
        self.called += 1
        self._fail()
        await self.socket.send_text(message)
        return message

    def notify(self, user_id: str, message: str) -> str:
        self.called += 1
        self._fail()
        return message

    def _fail(self) -> None:
        if self.fault is not None:
            raise self.fault

    async def send_with_context(self, user_id: str, message: str) -> str:
        before = setting.get()
        setting.set(message)
        await asyncio.sleep(0)
        return before


class FailingHub:
    def __init__(self, fault: BaseException) -> None:
        raise fault

    async def send_to_user(self, user_id: str, message: str) -> None: ...


@pytest.fixture
def audited() -> Iterator[Agent]:
    with agent() as made:
        made.patch(Hub, FailingHub)
        yield made


def drive(coroutine: Any) -> Any:
    """Run a coroutine that never waits, without a loop that handles exceptions its own way."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits")


def outcomes(audited: Agent) -> list[str]:
    return [
        outcome for (_, _, outcome), count in audited.counted("sent").items() for _ in range(count)
    ]


# --- exceptions -------------------------------------------------------------------------------


@each_fault
@pytest.mark.parametrize("how", ["coroutine", "function", "init"])
def test_the_very_exception_comes_out_once(audited: Agent, fault: BaseException, how: str) -> None:
    fault.__traceback__ = None
    hub = Hub(fault)
    calls: dict[str, Callable[[], Any]] = {
        "coroutine": lambda: drive(hub.send_to_user("a", "m")),
        "function": lambda: hub.notify("a", "m"),
        "init": lambda: FailingHub(fault),
    }
    with pytest.raises(type(fault)) as caught:
        calls[how]()

    assert caught.value is fault
    assert caught.value.args == fault.args
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None  # not raised while another was handled
    assert hub.called == (how != "init")
    # The traceback ends in the application's own line; of ours there is one frame on the way.
    frames = traceback.extract_tb(caught.value.__traceback__)
    assert frames[-1].filename == __file__
    assert frames[-1].name == ("_fail" if how != "init" else "__init__")
    assert sum("ws_audit" in frame.filename for frame in frames) == 1
    assert audited.said == []
    if how != "init":
        cancelled = isinstance(fault, asyncio.CancelledError)
        assert outcomes(audited) == [CANCELLED if cancelled else ERROR]
    else:
        assert audited.counted("created")[f"{__name__}:FailingHub",] == 0  # nothing was made


def test_wrong_arguments_are_the_applications_error(audited: Agent) -> None:
    hub = Hub()
    with pytest.raises(TypeError, match=r"Hub\.notify\(\) missing 1 required positional argument"):
        hub.notify("a")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"Hub\.send_to_user\(\) got an unexpected keyword"):
        drive(hub.send_to_user("a", "m", nonsense=1))  # type: ignore[call-arg]
    assert hub.called == 0
    assert audited.said == []


@each_fault
def test_what_the_transport_raises_reaches_the_application_once(
    audited: Agent, fault: BaseException
) -> None:
    fault.__traceback__ = None
    caught: list[BaseException] = []
    socket = Socket(fails=fault)

    async def handler(one: Socket) -> None:
        try:
            await one.send_text("x")
        except BaseException as error:
            caught.append(error)

    drive(audited.run(handler, socket))
    assert caught == [fault]
    assert socket.arrived == []
    assert audited.verdicts() == ["unattributed:no_principal"]  # counted whatever the outcome
    cancelled = isinstance(fault, asyncio.CancelledError)
    assert [one.outcome for one in audited.frames()] == [CANCELLED if cancelled else ERROR]
    assert audited.said == []


@each_fault
def test_what_the_application_raises_reaches_the_server(
    audited: Agent, fault: BaseException
) -> None:
    fault.__traceback__ = None

    async def handler(one: Socket) -> None:
        raise fault

    with pytest.raises(type(fault)) as caught:
        drive(audited.run(handler, Socket()))
    assert caught.value is fault
    assert audited.counted("opened") == audited.counted("closed") == {("asgi",): 1}


def test_what_receive_raises_reaches_the_application(audited: Agent) -> None:
    async def handler(one: Socket) -> None:
        await one.receive()
        with pytest.raises(ConnectionResetError):
            await one.receive()

    socket = Socket()
    answers = [{"type": "websocket.connect"}]

    async def receive() -> dict[str, Any]:
        if not answers:
            raise ConnectionResetError
        return answers.pop()

    socket.server_receive = receive  # type: ignore[method-assign]
    drive(audited.run(handler, socket))


def test_an_error_handled_inside_the_send_stays_inside(audited: Agent) -> None:
    """A hub that drops dead sockets must still find the error it waits for."""

    class TolerantHub:
        async def send_to_user(self, user_id: str, message: str) -> str:
            try:
                await socket.send_text(message)
            except ConnectionResetError as error:
                return f"gone: {error}"
            return "sent"

    audited.patch(TolerantHub)
    socket = Socket(fails=ConnectionResetError("peer"))

    async def handler(one: Socket) -> None:
        assert await TolerantHub().send_to_user("a", "m") == "gone: peer"

    drive(audited.run(handler, socket))
    assert outcomes(audited) == [OK]
    assert [one.outcome for one in audited.frames()] == [ERROR]


# --- cancellation -----------------------------------------------------------------------------


def test_a_slow_clients_send_times_out_as_it_would(audited: Agent) -> None:
    hub = Hub()
    socket = Socket(slow=30)

    async def handler(one: Socket) -> None:
        await hub.connect(one, "a")
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(hub.send_to_user("a", '{"n": 1}'), 0.02)
        one.slow = 0
        await asyncio.wait_for(hub.send_to_user("a", '{"n": 2}'), 5)

    audited.serve(handler, socket)
    assert socket.arrived == ['{"n": 2}']
    assert audited.verdicts() == ["match", "match"]
    assert [one.outcome for one in audited.frames()] == [CANCELLED, OK]
    assert sorted(outcomes(audited)) == [CANCELLED, OK]
    assert audited.said == []


def test_cancelled_before_it_began_nothing_has_happened(audited: Agent) -> None:
    hub = Hub()

    async def main() -> None:
        task = asyncio.ensure_future(hub.send_to_user("a", "m"))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert hub.called == 0
    assert outcomes(audited) == []


def test_a_blocked_transport_is_cancelled_with_its_task(audited: Agent) -> None:
    """The whole connection is cancelled while its send waits for the peer."""
    hub = Hub()
    socket = Socket(slow=3600)
    seen: list[str] = []

    async def handler(one: Socket) -> None:
        await hub.connect(one, "a")
        try:
            await hub.send_to_user("a", "m")
        except asyncio.CancelledError as error:
            seen.append(str(error))
            raise

    async def main() -> None:
        task = asyncio.ensure_future(audited.run(handler, socket))
        await asyncio.sleep(0.02)
        task.cancel("enough")
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    asyncio.run(main())
    assert seen == ["enough"]
    assert outcomes(audited) == [CANCELLED]
    assert audited.counted("closed") == {("asgi",): 1}


def test_a_shielded_send_goes_on(audited: Agent) -> None:
    hub = Hub()
    socket = Socket(slow=0.02)

    async def handler(one: Socket) -> None:
        await hub.connect(one, "a")
        inner = asyncio.ensure_future(hub.send_to_user("a", "m"))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(inner), 0.001)
        assert await inner == "m"

    audited.serve(handler, socket)
    assert socket.arrived == ["m"]
    assert outcomes(audited) == [OK]


# --- order ------------------------------------------------------------------------------------


def interleaved(hub: Hub, socket: Socket) -> list[str]:
    """Sends of many tasks, which wait for different times inside; the order on the wire."""

    async def handler(one: Socket) -> None:
        await hub.connect(one, "a")

        async def chatter(number: int) -> None:
            for turn in range(5):
                await hub.send_to_user("a", f"{number}.{turn}")
                for _ in range(number % 3):
                    await asyncio.sleep(0)

        await asyncio.gather(*(chatter(number) for number in range(20)))

    async def bare() -> None:
        socket.take(socket.scope, socket.server_receive, socket.server_send)
        await handler(socket)

    if hasattr(hub.send_to_user, "__wrapped__"):
        with agent() as watching:
            watching.serve(handler, socket)
    else:
        asyncio.run(bare())
    return socket.arrived


def test_interleaved_sends_keep_their_order() -> None:
    bare = interleaved(Hub(), Socket())
    with agent() as audited:
        audited.patch(Hub)
        watched = interleaved(Hub(), Socket())
    assert len(bare) == 100
    assert watched == bare
    assert bare != sorted(bare)  # they do interleave


def test_a_send_adds_no_step_to_the_loop(audited: Agent) -> None:
    """No await of ours: what does not wait without the agent does not wait with it."""
    hub = Hub()

    async def handler(one: Socket) -> None:
        await hub.connect(one, "a")
        await hub.send_to_user("a", "m")

    drive(audited.run(handler, Socket()))


# --- context variables ------------------------------------------------------------------------


def test_what_a_send_sets_is_set_afterwards(audited: Agent) -> None:
    async def main() -> None:
        hub = Hub()
        assert await hub.send_with_context("a", "one") == "unset"
        assert setting.get() == "one"
        assert await asyncio.create_task(hub.send_with_context("a", "two")) == "one"
        assert setting.get() == "one"  # a task has its own

    asyncio.run(main())


def test_the_applications_variables_are_left_alone(audited: Agent) -> None:
    hub = Hub()
    socket = Socket()

    async def handler(one: Socket) -> None:
        await hub.connect(one, "a")
        setting.set("mine")
        token = setting.set("inner")
        before = ours_apart(contextvars.copy_context())
        await hub.send_to_user("a", "m")
        await one.send_text("x")
        assert ours_apart(contextvars.copy_context()) == before
        setting.reset(token)  # a token is only good in the context it was made in
        assert setting.get() == "mine"

    audited.serve(handler, socket)
    assert audited.said == []


def ours_apart(context: contextvars.Context) -> dict[str, Any]:
    return {var.name: value for var, value in context.items() if "ws_audit" not in var.name}


def test_nothing_of_ours_is_left_in_the_context(audited: Agent) -> None:
    hub = Hub()

    async def handler(one: Socket) -> None:
        await hub.connect(one, "a")
        await hub.send_to_user("a", "m")
        hub.fault = RefusedError(1, "x")
        with pytest.raises(RefusedError):
            await hub.send_to_user("a", "m")
        ours = {
            var.name: value
            for var, value in contextvars.copy_context().items()
            if "ws_audit" in var.name
        }
        serving = ours.pop("ws_audit_behalf")  # whom the task serves, until the connection ends
        assert serving.cell is one.cell
        assert set(ours.values()) <= {None}

    audited.serve(handler, Socket())


# --- clients that vanish ----------------------------------------------------------------------


def test_a_client_that_vanishes_in_the_middle_of_a_send(audited: Agent) -> None:
    hub = Hub()
    socket = Socket()
    errors: list[BaseException] = []

    async def handler(one: Socket) -> None:
        await hub.connect(one, "a")
        await hub.send_to_user("a", "1")
        one.fails = ConnectionResetError("gone")
        for _ in range(3):
            try:
                await hub.send_to_user("a", "2")
            except ConnectionResetError as error:
                errors.append(error)

    audited.serve(handler, socket)
    assert len(errors) == 3
    assert all(error is socket.fails for error in errors)
    assert socket.arrived == ["1"]
    assert audited.verdicts() == ["match"] * 4
    assert [one.outcome for one in audited.frames()] == [OK, ERROR, ERROR, ERROR]
    assert sorted(outcomes(audited)) == [ERROR, ERROR, ERROR, OK]
