# SPDX-License-Identifier: Apache-2.0
"""Generators of all sorts do with a hook around them what they do without, step by step."""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import logging
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.harness import Agent, Socket, agent

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterator,
        Callable,
        Coroutine,
        Generator,
        Iterator,
    )


class OddError(Exception):
    pass


def make_hub() -> type:  # noqa: C901  (one class, many shapes)
    class Hub:
        def send_counted(self, log: list[Any]) -> Generator[Any, Any, str]:
            try:
                log.append((yield 1))
                log.append((yield 2))
                return "over"
            except OddError as error:
                log.append(repr(error))
                log.append((yield 3))
                raise KeyError("after odd") from None
            except GeneratorExit:
                log.append("closed")
                raise
            finally:
                log.append("finally")

        def send_stubborn(self, log: list[Any]) -> Generator[Any, Any, None]:
            try:
                yield 1
            except GeneratorExit:
                log.append("no")
                yield 2

        def send_failing(self, log: list[Any]) -> Generator[Any, Any, None]:
            yield 1
            raise OddError("by itself")

        def send_nothing(self, log: list[Any]) -> Generator[Any, Any, None]:
            log.append("ran")
            yield from ()

        def send_nested(self, log: list[Any]) -> Generator[Any, Any, Any]:
            log.append((yield from self.send_counted(log)))

        async def send_async(self, log: list[Any]) -> AsyncIterator[Any]:
            try:
                log.append((yield 1))
                await asyncio.sleep(0)
                log.append((yield 2))
            except OddError as error:
                log.append(repr(error))
                log.append((yield 3))
                raise KeyError("after odd") from None
            except asyncio.CancelledError:
                log.append("cancelled")
                raise
            except GeneratorExit:
                log.append("closed")
                raise
            finally:
                log.append("finally")

        async def send_async_stubborn(self, log: list[Any]) -> AsyncIterator[Any]:
            try:
                yield 1
            except GeneratorExit:
                log.append("no")
                yield 2

        async def send_async_failing(self, log: list[Any]) -> AsyncIterator[Any]:
            yield 1
            await asyncio.sleep(0)
            raise OddError("by itself")

        async def send_async_stop(self, log: list[Any]) -> AsyncIterator[Any]:
            yield 1
            raise StopAsyncIteration("a mistake")

        async def send_async_slow(self, log: list[Any]) -> AsyncIterator[Any]:
            try:
                yield 1
                await asyncio.sleep(60)
                yield 2
            finally:
                await asyncio.sleep(0.01)
                log.append("finally")

        async def send_async_nothing(self, log: list[Any]) -> AsyncIterator[Any]:
            log.append("ran")
            for nothing in log[:0]:
                yield nothing

    return Hub


# What is done to a generator, one after the other: ("next",), ("send", x), ("throw", e), ...
STEPS: dict[str, list[tuple[str, Any]]] = {
    "to the end": [("next", None)] * 4,
    "sending": [("next", None), ("send", "a"), ("send", "b"), ("next", None)],
    "a value too early": [("send", "early"), ("next", None)],
    "thrown and caught": [("next", None), ("throw", OddError("in")), ("send", "c"), ("next", None)],
    "thrown and not caught": [("next", None), ("throw", ValueError("in")), ("next", None)],
    "thrown at once": [("throw", OddError("early")), ("next", None)],
    "a stop thrown in": [("next", None), ("throw", StopIteration("x")), ("next", None)],
    "an async stop thrown in": [("next", None), ("throw", StopAsyncIteration("x"))],
    "an interrupt": [("next", None), ("throw", KeyboardInterrupt()), ("next", None)],
    "closed": [("next", None), ("close", None), ("next", None)],
    "closed at once": [("close", None), ("next", None)],
    "closed twice": [("next", None), ("next", None), ("close", None), ("close", None)],
    "exit thrown in": [("next", None), ("throw", GeneratorExit()), ("next", None)],
}


def tell(error: BaseException) -> tuple[Any, ...]:
    return (type(error).__name__, str(error), repr(error.__cause__), error.__suppress_context__)


def drive(generator: Any, steps: list[tuple[str, Any]], log: list[Any]) -> list[Any]:
    for step, value in [*steps, ("close", None)]:
        try:
            if step == "next":
                log.append(("got", next(generator)))
            elif step == "send":
                log.append(("got", generator.send(value)))
            elif step == "throw":
                log.append(("got", generator.throw(type(value)(*value.args))))
            else:
                log.append(("closed", generator.close()))
        except StopIteration as end:
            log.append(("end", end.value))
        except BaseException as error:
            log.append(tell(error))
    return log


async def drive_async(generator: Any, steps: list[tuple[str, Any]], log: list[Any]) -> list[Any]:
    for step, value in [*steps, ("close", None)]:
        try:
            if step == "next":
                log.append(("got", await generator.__anext__()))
            elif step == "send":
                log.append(("got", await generator.asend(value)))
            elif step == "throw":
                log.append(("got", await generator.athrow(type(value)(*value.args))))
            else:
                log.append(("closed", await generator.aclose()))
        except StopAsyncIteration as end:
            log.append(("end", end.args))
        except BaseException as error:
            log.append(tell(error))
    return log


SYNC = ["send_counted", "send_stubborn", "send_failing", "send_nothing", "send_nested"]
ASYNC = [
    "send_async",
    "send_async_stubborn",
    "send_async_failing",
    "send_async_stop",
    "send_async_nothing",
]


def both(use: Callable[[Any], Any]) -> tuple[Any, Any]:
    """The outcome without hooks and with them."""
    bare = use(make_hub()())
    hub = make_hub()
    with agent() as audited:
        audited.patch(hub)
        assert audited.runtime.installer.states["patched"] == len(SYNC) + len(ASYNC) + 1
        hooked = use(hub())
        assert audited.counted("error") == {}
    return bare, hooked


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("name", SYNC)
def test_a_generator_takes_every_step_as_it_did(name: str, steps: str) -> None:
    def use(hub: Any) -> list[Any]:
        log: list[Any] = []
        return drive(getattr(hub, name)(log), STEPS[steps], log)

    bare, hooked = both(use)
    assert bare == hooked


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("name", ASYNC)
def test_an_async_generator_takes_every_step_as_it_did(name: str, steps: str) -> None:
    def use(hub: Any) -> list[Any]:
        log: list[Any] = []
        return asyncio.run(drive_async(getattr(hub, name)(log), STEPS[steps], log))

    bare, hooked = both(use)
    assert bare == hooked


def test_what_it_is_and_what_it_is_called_stays() -> None:
    def use(hub: Any) -> list[Any]:
        made, lazy = hub.send_counted([]), hub.send_async([])
        return [
            inspect.isgeneratorfunction(type(hub).send_counted),
            inspect.isasyncgenfunction(type(hub).send_async),
            inspect.isgenerator(made),
            inspect.isasyncgen(lazy),
            made.__qualname__,
            lazy.__qualname__,
        ]

    bare, hooked = both(use)
    assert bare == hooked
    assert bare[:4] == [True] * 4


@pytest.mark.parametrize("name", ["send_async", "send_async_slow"])
def test_a_cancelled_reader_ends_its_generator_at_the_same_place(name: str) -> None:
    def use(hub: Any) -> list[Any]:
        log: list[Any] = []

        async def read() -> None:
            async for value in getattr(hub, name)(log):
                log.append(value)
                if name == "send_async":
                    await asyncio.sleep(60)

        async def main() -> None:
            task = asyncio.create_task(read())
            await asyncio.sleep(0.01)
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                log.append("task cancelled")

        asyncio.run(main())
        gc.collect()
        return log

    bare, hooked = both(use)
    assert bare == hooked
    assert "task cancelled" in bare


@pytest.mark.parametrize("how", ["kept to the end of the loop", "dropped"])
def test_one_left_unfinished_ends_in_silence(how: str, caplog: pytest.LogCaptureFixture) -> None:
    """The loop closes what nobody finished, once: twice would be an error in its log."""

    def use(hub: Any) -> list[Any]:
        log: list[Any] = []
        kept = []

        async def main() -> None:
            generator = hub.send_async_slow(log)
            log.append(await generator.__anext__())
            if how != "dropped":
                kept.append(generator)
            del generator
            gc.collect()
            # What was dropped the loop closes in a task of its own, at its leisure.
            for _ in range(500 if how == "dropped" else 1):
                await asyncio.sleep(0.01)
                if "finally" in log:
                    break
            log.append("main over")

        asyncio.run(main())
        return log

    with caplog.at_level(logging.DEBUG, logger="asyncio"):
        bare, hooked = both(use)
    assert bare == hooked
    assert "finally" in bare
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("name", ["send_nothing", "send_counted"])
def test_a_thrown_error_leaves_no_circle_behind(name: str) -> None:
    """An error that held our frame would keep the application's locals alive."""

    class FleetingError(Exception):
        pass

    hub = make_hub()
    with agent() as audited:
        audited.patch(hub)
        gc.collect()
        gc.disable()
        try:
            generator = getattr(hub(), name)([])
            if name == "send_counted":
                next(generator)
            try:
                generator.throw(FleetingError())
            except FleetingError as error:
                thrown = weakref.ref(error)
            del generator
            assert thrown() is None
        finally:
            gc.enable()


# --- what is seen -------------------------------------------------------------------------------


class StreamHub:
    """Sends in every way a generator can: itself, by what it yields, and beside it."""

    def __init__(self, socket: Socket) -> None:
        self.out = socket

    async def send_to_user(self, user_id: str) -> AsyncGenerator[dict[str, Any], None]:
        await self.out.send_text(json.dumps({"n": 0}))
        yield {"n": 1}
        await self.out.send_text(json.dumps({"n": 2}))

    def send_lines(self, user_id: str) -> Iterator[str]:
        yield json.dumps({"line": 1, "text": "long enough to be no constant"})

    def send_later(self, user_id: str) -> Coroutine[Any, Any, str]:
        return self._really()

    async def _really(self) -> str:
        await asyncio.sleep(0)
        await self.out.send_text("{}")
        return "done"

    async def send_rest(self, user_id: str, rest: AsyncIterator[Any]) -> None:
        async for _ in rest:
            pass
        await self.out.send_text("{}")

    @staticmethod
    async def send_static(user_id: str, message: str) -> None:
        await OUT[0].send_text(message)


OUT: list[Socket] = []


@pytest.fixture
def streams() -> Iterator[Agent]:
    with agent() as audited:
        audited.patch(StreamHub)
        yield audited


def test_what_a_generator_sends_itself_is_its_own_and_nothing_between(streams: Agent) -> None:
    async def handler(socket: Socket) -> None:
        async for _ in StreamHub(socket).send_to_user("bob"):
            await socket.send_text('{"beside": true}')

    streams.serve(handler, Socket("alice"))
    assert streams.verdicts() == [
        "argument_vs_connection:probable",
        "unattributed:no_evidence",
        "argument_vs_connection:probable",
    ]
    (call,) = streams.calls()
    assert (call.deliveries, call.outcome, call.kind) == (2, "ok", "send")


def test_what_a_generator_yields_is_its_payload_whoever_sends_it(streams: Agent) -> None:
    async def handler(socket: Socket) -> None:
        for line in StreamHub(socket).send_lines("bob"):
            await socket.send_text('{"beside": true}')
            await socket.send_text(line)

    streams.serve(handler, Socket("alice"), Socket("bob"))
    assert sorted(streams.verdicts()) == [
        "argument_vs_connection:probable",
        "match",
        "unattributed:no_evidence",
        "unattributed:no_evidence",
    ]


def test_a_generator_carried_on_inside_another_send_gives_that_one_back(streams: Agent) -> None:
    async def handler(socket: Socket) -> None:
        hub = StreamHub(socket)
        generator = hub.send_to_user("bob")
        await generator.__anext__()
        await hub.send_rest("alice", generator)

    streams.serve(handler, Socket("alice"))
    assert streams.verdicts() == [
        "argument_vs_connection:probable",
        "argument_vs_connection:probable",  # what the generator went on to send
        "match",
    ]


def test_a_generator_left_in_the_middle_is_no_error(streams: Agent) -> None:
    async def handler(socket: Socket) -> None:
        generator = StreamHub(socket).send_to_user("alice")
        await generator.__anext__()
        await generator.aclose()
        await socket.send_text("{}")

    streams.serve(handler, Socket("alice"))
    assert [call.outcome for call in streams.calls()] == ["ok"]
    assert streams.verdicts() == ["match", "unattributed:no_evidence"]


def test_a_plain_method_that_returns_a_coroutine_lasts_as_long_as_that(streams: Agent) -> None:
    async def handler(socket: Socket) -> None:
        sending = StreamHub(socket).send_later("bob")
        assert inspect.iscoroutine(sending)
        assert sending.__qualname__ == "StreamHub._really"
        await socket.send_text("{}")  # not yet
        assert await sending == "done"
        await socket.send_text("{}")  # not any more

    streams.serve(handler, Socket("alice"))
    assert streams.verdicts() == [
        "unattributed:no_evidence",
        "argument_vs_connection:probable",
        "unattributed:no_evidence",
    ]
    assert [call.outcome for call in streams.calls()] == ["ok"]


def test_a_static_method_has_its_argument_and_its_class_for_a_name(streams: Agent) -> None:
    async def handler(socket: Socket) -> None:
        OUT[:] = [socket]
        await StreamHub.send_static("bob", "{}")
        await StreamHub(socket).send_static("alice", "{}")

    streams.serve(handler, Socket("alice"))
    assert streams.verdicts() == ["argument_vs_connection:probable", "match"]
    assert {call.manager for call in streams.calls()} == {f"{__name__}:StreamHub"}
    static = StreamHub.__dict__["send_static"]
    streams.remove()
    assert isinstance(StreamHub.__dict__["send_static"], staticmethod)
    assert StreamHub.__dict__["send_static"] is not static
