# SPDX-License-Identifier: Apache-2.0
"""The circuit breaker with the clock in the test's hand: what trips it, and what must not.

A client must not be able to switch the audit off with an odd payload, and a busy minute must not
either. The whole way, with a server and real clients, is in tests/real/test_breaker.py.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.harness import Agent, Socket, agent
from ws_audit.drain import Drain
from ws_audit.hooks.calls import SendHook
from ws_audit.hooks.guard import FILES
from ws_audit.hooks.meter import EVERY, EXACT, Meter
from ws_audit.messages.payloads import Reader
from ws_audit.process.breaker import Breaker, cpus
from ws_audit.tally import Tally
from ws_audit.transports.asgi import Connection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Hub:
    def __init__(self) -> None:
        self.sockets: dict[str, Socket] = {}

    async def connect(self, websocket: Socket, user_id: str) -> None:
        self.sockets[user_id] = websocket

    async def send_to_user(self, user_id: str, message: dict[str, Any]) -> None:
        await self.sockets[user_id].send_text(json.dumps(message))


class Clock:
    """Time passes when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Load:
    """A breaker whose agent spends what a test says."""

    def __init__(self, share: float = 0.05, number: float = 1.0) -> None:
        self.clock = Clock()
        self.spent = 0.0
        self.breaker = Breaker(share, lambda: {"hooks": self.spent}, Meter(), FILES, self.clock)
        self.breaker._cpus = number

    def run(self, seconds: float, share: float) -> list[str]:
        """So many seconds at such a share, ticked once a second; what tripped."""
        said = []
        for _ in range(int(seconds)):
            self.clock.now += 1
            self.spent += share
            said.append(self.breaker.tick())
        return [why for why in said if why]


# --- CPU --------------------------------------------------------------------------------------


def test_a_share_above_the_limit_trips_once_after_half_a_minute() -> None:
    load = Load()
    assert load.run(30, 0.08) == []
    (why,) = load.run(30, 0.08)
    assert why == load.breaker.tripped
    assert "used 0.080 to 0.080 of 1 CPU for 30 s" in why
    assert "limits.cpu_share 0.05" in why


def test_a_share_below_the_limit_never_does() -> None:
    assert Load().run(600, 0.049) == []


def test_a_burst_and_the_start_do_not() -> None:
    load = Load()
    assert load.run(15, 1.0) == []  # starting up
    for pause in range(10, 20):  # wherever in a window it begins
        assert load.run(pause, 0.01) == []
        assert load.run(20, 1.0) == []


def test_of_more_processors_the_share_is_smaller() -> None:
    assert Load(number=4).run(120, 0.19) == []
    assert len(Load(number=4).run(120, 0.21)) == 1


def test_one_is_no_limit() -> None:
    load = Load(share=1.0)
    assert load.run(120, 1.5) == []
    load.breaker._failures = {}
    for _ in range(20):
        fail(load.breaker, 1000)
        assert load.run(1, 1.5) == []


def test_switched_on_again_it_counts_anew() -> None:
    load = Load()
    assert load.run(40, 0.5)
    load.breaker.reset()
    assert load.breaker.tripped == ""
    assert load.run(29, 0.5) == []
    assert len(load.run(6, 0.5)) == 1


def test_a_forked_child_begins_anew_but_stays_tripped() -> None:
    load = Load()
    load.run(25, 0.5)
    load.breaker.forget()
    assert load.run(29, 0.5) == []
    assert load.run(6, 0.5)
    load.breaker.forget()
    assert load.breaker.tripped


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "50000 100000\n"}, 0.5),
        ({"cpu.max": "nonsense"}, None),
        ({"cpu/cpu.cfs_quota_us": "25000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.25),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "25000\n"}, None),
    ],
)
def test_a_containers_quota_counts(
    tmp_path: Path, files: dict[str, str], expected: float | None
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    unlimited = cpus(str(tmp_path / "nowhere"))
    assert unlimited >= 1
    assert cpus(str(tmp_path)) == (expected or unlimited)


# --- errors -----------------------------------------------------------------------------------


def fail(breaker: Breaker, times: int, *, step: Callable[[], None] | None = None) -> None:
    """So many errors as the guard catches them."""

    def broken() -> None:
        raise ValueError("secret-of-alice")

    code = compile("try:\n step()\nexcept Exception as fault:\n failed(fault)", min(FILES), "exec")
    for _ in range(times):
        exec(
            code,
            {"__name__": "ws_audit.hooks.guard", "step": step or broken, "failed": breaker.failed},
        )


class Odd(dict[str, Any]):
    """A payload that some reader of ours chokes on."""


@pytest.fixture
def audited() -> Iterator[Agent]:
    with agent() as made:
        made.patch(Hub)
        made.runtime.breaker._clock = Clock()
        made.runtime.breaker._begin()
        yield made


def second(audited: Agent) -> str:
    audited.runtime.breaker._clock.now += 1  # type: ignore[attr-defined]
    audited.runtime.tick(0)
    return audited.runtime.breaker.tripped


def send(audited: Agent, *messages: dict[str, Any]) -> list[Any]:
    """One connection that is sent these; what arrived."""

    async def handler(socket: Socket) -> None:
        hub = Hub()
        await hub.connect(socket, "alice")
        for message in messages:
            await hub.send_to_user("alice", message)

    (socket,) = audited.serve(handler, Socket("alice"))
    return [json.loads(text) for text in socket.arrived]


def test_a_hook_that_always_raises_trips_and_says_where(
    audited: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    def _fill(*args: Any) -> None:
        raise ValueError("secret-of-alice")

    monkeypatch.setattr(SendHook, "_fill", _fill)
    messages = [{"number": number} for number in range(Breaker.FAILURES - 1)]
    assert send(audited, *messages) == messages
    assert second(audited) == ""
    assert send(audited, {"one": "more"}) == [{"one": "more"}]
    why = second(audited)
    assert "ws_audit.hooks.calls:" in why
    assert "ValueError" in why
    assert f"failed {Breaker.FAILURES} times" in why
    assert "secret" not in why
    assert audited.counted("error") == {("hooks",): Breaker.FAILURES, ("breaker",): 1}
    assert second(audited) == why  # once
    assert audited.counted("error")[("breaker",)] == 1
    assert audited.page()["ws_audit_internal_errors_total{breaker}"] == 1


def test_errors_that_come_slowly_do_not(audited: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    def _fill(*args: Any) -> None:
        raise ValueError

    monkeypatch.setattr(SendHook, "_fill", _fill)
    for _ in range(40):
        send(audited, *({"number": number} for number in range(9)))
        assert second(audited) == ""


def test_a_client_with_an_odd_payload_cannot_switch_the_audit_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its messages make a step of ours raise, by the thousand: one honest one a minute will do."""
    read = Reader.read

    def chokes(self: Reader, content: Any, **kwargs: Any) -> Any:
        if isinstance(content, dict) and "odd" in content:
            raise ValueError
        return read(self, content, **kwargs)

    monkeypatch.setattr(Reader, "read", chokes)
    with agent() as made:
        made.patch(Hub)
        made.runtime.breaker._clock = Clock()
        made.runtime.breaker._begin()
        odd = [{"odd": number} for number in range(300)]
        assert send(made, {"fine": 1}) == [{"fine": 1}]
        for number in range(180):
            # At first the flood finds the meter sampling; from the next second it is exact.
            assert send(made, *odd, *([{"fine": 1}] if number % 50 == 3 else []))
            assert second(made) == "", number
        assert made.counted("error")[("hooks",)] == 180 * 300
        # What a step fails at for everybody is another thing.
        for _ in range(Breaker.SILENT + 2):
            send(made, *odd)
            tripped = second(made)
        assert "before" in tripped


def test_what_comes_in_never_counts(audited: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    def inbound(self: Connection, message: Any) -> None:
        raise ValueError

    monkeypatch.setattr(Connection, "inbound", inbound)

    async def handler(socket: Socket) -> None:
        for _ in range(1000):
            await socket.receive()

    for _ in range(12):
        socket = Socket("alice")
        socket.incoming = [{"type": "websocket.receive", "text": "odd"} for _ in range(1000)]
        audited.serve(handler, socket)
        assert second(audited) == ""
    assert audited.counted("error") == {("sink",): 12_000}


def test_errors_caught_further_in_do_not_count(
    audited: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step goes on: the frame is counted as unattributed(internal_error)."""

    def judge(*args: Any) -> None:
        raise ValueError

    monkeypatch.setattr("ws_audit.sink.judge", judge)
    for _ in range(12):
        send(audited, *({"number": number} for number in range(50)))
        assert second(audited) == ""
    assert audited.counted("error") == {("judge",): 600}


class Slow:
    """An output that takes longer than a slice for each record, and one that counts ticks."""

    def __init__(self) -> None:
        self.ticks: list[float] = []

    def fold(self, record: object) -> None:
        time.sleep(0.005)

    def tick(self, now_ns: int) -> None:
        self.ticks.append(time.monotonic())


def test_a_worker_that_never_catches_up_has_a_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the one case in which the breaker is needed most would be the one it does not see."""
    monkeypatch.setattr(Drain, "TICK_NS", 50_000_000)
    drain, slow = Drain(Tally(), lambda stage, fault: pytest.fail(f"{stage}: {fault}")), Slow()
    drain.outputs([slow])
    for number in range(400):
        drain.hold(number)
    drain.start()
    deadline = time.monotonic() + 20
    while len(slow.ticks) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    left, spent = len(drain), drain.cpu_ns
    drain.stop()
    assert left > 0
    assert spent > 0


# --- the meter ----------------------------------------------------------------------------------


def burn(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def test_the_meter_estimates_what_steps_cost() -> None:
    meter = Meter()
    begun, steps = time.thread_time_ns(), 5 * EVERY * 3 + EXACT
    for number in range(steps):
        meter.left -= 1
        timed = 0 if meter.left > 0 else meter.every
        started = meter.begin() if timed else 0
        burn(0.0001 if number % 3 else 0.0004)
        if timed:
            meter.end(started, burn, timed)
    spent = time.thread_time_ns() - begun
    assert 0.4 < meter.ns / spent < 4
    assert meter.came_through == {burn.__code__: 0}


def test_few_steps_are_timed_unless_some_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    for closely, expected in ((False, EXACT + 9_968 // EVERY), (True, 10_000)):
        meter, timed = Meter(), 0
        meter.tick(5, closely=closely)
        for _ in range(10_000):
            meter.left -= 1
            if meter.left <= 0:
                timed += 1
                meter.end(-meter.begin(), burn, meter.every)
        assert abs(timed - expected) <= 1
        assert meter.came_through == {}


def test_a_hooks_time_is_in_the_metrics(audited: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    fill = SendHook._fill

    def slow(*args: Any) -> None:
        burn(0.0005)
        fill(*args)

    monkeypatch.setattr(SendHook, "_fill", slow)
    send(audited, *({"number": number} for number in range(600)))
    # 0.3 s of work. Some calls stand for all, so one that was preempted counts many times.
    assert 0.1 < audited.page()["ws_audit_agent_cpu_seconds_total{hooks}"] < 100


def test_a_site_is_the_same_timed_or_not(audited: Agent) -> None:
    """A hook counts frames to its caller: the meter must be none of them."""
    for closely in (True, False):
        audited.runtime._meter.tick(1, closely=closely)
        send(audited, *({"number": number} for number in range(300)))
    sites = {call.site for call in audited.calls() if "send_to_user" in call.function}
    (site,) = sites
    assert site.startswith(f"{__name__}:") or ":send.handler:" in site
