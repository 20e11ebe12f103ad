# SPDX-License-Identifier: Apache-2.0
"""What one audited send costs the caller, beside what else could be put around it.

    python -m benchmarks.inline [--rounds N] [--calls N] [--peers-only] [--format text|json]

Why it exists: the agent's first promise is that it can stay on. Absolute times are worth
nothing on a shared machine, so everything runs in one process in small interleaved blocks, in
a new order each round, and is reported as ratios. "added" is what a variant costs over the
bare call; the budgets are ratios of these. "control" is the bare call once more: how far it is
from nothing added is how far to trust the rest.

It must never let variants do different work: each sends the same payloads to the same users
over its own connections through uvicorn's loaded application and Starlette, and the bytes that
arrive are compared. It must never measure an agent that is not auditing: at the end the agent's
own count of judged frames has to equal what arrived, or this fails.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib
import importlib.util
import itertools
import json
import operator
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine
from importlib.metadata import version
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

import uvicorn

from . import peers

Message = dict[str, Any]
Sends = list[tuple[str, dict[str, Any]]]
Block = Callable[[Any, Sends], Coroutine[Any, Any, int]]

AUDITED_MODULE = f"{__package__}.inline_app"
BARE_MODULE = f"{__package__}.inline_app_bare"
USERS = 10
WARM_UP_ROUNDS = 20
TENTHS = 10

BARE, CONTROL, AUDITED = "bare", "control", "audited"
# The audited send over each peer, added to added: DESIGN's budgets.
BUDGETS = {"hand-written": 1 / 10, "unsampled span": 1 / 2, "wrapt": 6.0}


class InvalidError(Exception):
    """The measurement is not one of what it says."""


# --- the connections ---------------------------------------------------------------------


class Wire:
    """The client's end of one connection, in memory: counts frames and keeps the last."""

    def __init__(self) -> None:
        self.frames = 0
        self.last: Message = {}
        self._opened = asyncio.Event()
        self._connecting = True
        self._closed = asyncio.Event()

    async def receive(self) -> Message:
        if self._connecting:
            self._connecting = False
            return {"type": "websocket.connect"}
        await self._closed.wait()
        return {"type": "websocket.disconnect", "code": 1000}

    async def send(self, message: Message) -> None:
        if message["type"] == "websocket.send":
            self.frames += 1
            self.last = message
        elif message["type"] == "websocket.accept":
            self._opened.set()

    async def open(self, application: Any, user_id: str) -> asyncio.Task[None]:
        scope = {
            "type": "websocket",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "ws",
            "path": "/ws",
            "raw_path": b"/ws",
            "query_string": b"",
            "root_path": "",
            "headers": [(b"host", b"localhost"), (b"authorization", user_id.encode())],
            "client": ("127.0.0.1", 50_000),
            "server": ("127.0.0.1", 8000),
            "subprotocols": [],
            "state": {},
        }
        task = asyncio.create_task(application(scope, self.receive, self.send))
        opened = asyncio.create_task(self._opened.wait())
        await asyncio.wait({task, opened}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            opened.cancel()
            raise InvalidError(f"the application ended before it accepted {user_id}: {task}")
        await asyncio.sleep(0)  # the endpoint goes on from accept to its loop
        return task

    def close(self) -> None:
        self._closed.set()


class Variant:
    """One way to send, connected: a manager, its users' wires, and its own timed block."""

    def __init__(self, manager: Any) -> None:
        self.manager = manager
        self.wires = {f"user-{number}": Wire() for number in range(USERS)}
        # A copy of the code, so that the interpreter specialises each variant's call site for
        # this variant, as it would an application's.
        self.block: Block = FunctionType(timed_block.__code__.replace(), globals())
        self.ns: list[float] = []
        self.drain_ns = 0.0
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self, module: ModuleType) -> Variant:
        application = module.application(self.manager)
        config = uvicorn.Config(
            application, interface="asgi3", proxy_headers=False, log_config=None, ws="none"
        )
        config.load()
        for user_id, wire in self.wires.items():
            self._tasks.append(await wire.open(config.loaded_app, user_id))
        return self

    @property
    def frames(self) -> int:
        return sum(wire.frames for wire in self.wires.values())

    async def close(self) -> None:
        for wire in self.wires.values():
            wire.close()
        await asyncio.gather(*self._tasks)


# --- the variants ------------------------------------------------------------------------


def load_bare() -> ModuleType:
    """The application a second time, from the same file, under a name the agent leaves alone.

    It stands on a copy of what the agent may patch in Starlette, so that bare is bare.
    """
    patchable = ("starlette.websockets", "starlette.routing", "starlette.applications")
    originals = {name: importlib.import_module(name) for name in patchable}
    try:
        for name in patchable:
            load_copy(name, name)
        return load_copy(AUDITED_MODULE, BARE_MODULE)
    finally:
        sys.modules.update(originals)


def load_copy(name: str, under: str) -> ModuleType:
    """Execute the file of module `name` once more, as module `under`."""
    found = importlib.util.find_spec(name)
    assert found is not None
    assert found.origin is not None
    spec = importlib.util.spec_from_file_location(under, found.origin)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[under] = module
    spec.loader.exec_module(module)
    return module


def unaudited(make: Callable[[ModuleType], Any]) -> Callable[[], Awaitable[Variant]]:
    """A variant the agent has nothing to do with, in the bare copy of the application."""

    async def opened() -> Variant:
        module = sys.modules.get(BARE_MODULE) or load_bare()
        return await Variant(make(module)).open(module)

    return opened


async def audited() -> Variant:
    """The real agent, as an application gets it that calls `enable` first thing."""
    agent: Any = importlib.import_module("ws_audit")
    agent.enable()
    module = importlib.import_module(AUDITED_MODULE)
    return await Variant(module.ConnectionManager()).open(module)


# In the order they are made. The audited one is last: until then there is no agent.
VARIANTS: dict[str, Callable[[], Awaitable[Variant]]] = {
    BARE: unaudited(lambda app: app.ConnectionManager()),
    CONTROL: unaudited(lambda app: app.ConnectionManager()),
    "wrapt": unaudited(lambda _: peers.PassThrough()),
    "unsampled span": unaudited(lambda _: peers.Unsampled()),
    "hand-written": unaudited(lambda _: peers.HandWritten()),
    AUDITED: audited,
}


# --- the measurement ---------------------------------------------------------------------


def sends(calls: int) -> Sends:
    """Who is sent what: about 250 bytes, and no two payloads in a block are one object."""
    number = itertools.count()
    return [
        (
            user_id,
            {
                "type": "agent_thinking",
                "user_id": user_id,
                "run_id": f"0b9e7c52-5d0a-4c1e-9a57-{next(number):012d}",
                "thread_id": f"7f1d2c44-93be-4b8f-8d3a-{calls:012d}",
                "data": {"step": 3, "text": "Looking at last quarter's invoices of the customer"},
                "timestamp": 1_780_000_000.25,
            },
        )
        for user_id in itertools.islice(
            itertools.cycle([f"user-{user}" for user in range(USERS)]), calls
        )
    ]


async def timed_block(manager: Any, block: Sends) -> int:
    """Nanoseconds for all these sends, each looked up on the manager as an application does.

    Of this thread's CPU, not of the clock: on a busy machine the slowest variant is interrupted
    most, which would flatter the agent. Waiting for another thread is not counted for the peers.
    """
    started = time.thread_time_ns()
    for user_id, payload in block:
        await manager.send_to_user(user_id, payload)
    return time.thread_time_ns() - started


async def measure(variants: dict[str, Variant], rounds: int, calls: int) -> None:
    block = sends(calls)
    order = list(variants.values())
    dice = random.Random(1)  # the same order each time, but no variant always behind another
    gc.collect()
    gc.freeze()  # what is there by now is searched in nobody's block
    for number in range(WARM_UP_ROUNDS + rounds):
        dice.shuffle(order)
        for variant in order:
            spent = await variant.block(variant.manager, block)
            if number >= WARM_UP_ROUNDS:
                variant.ns.append(spent / calls)
            # What a variant does after the call (a drain, an exporter's thread) it does here.
            await asyncio.sleep(0.001)
        if sys.stderr.isatty() and number % 10 == 0:
            print(f"\r{number * 100 // (WARM_UP_ROUNDS + rounds)} %", end="", file=sys.stderr)
    if sys.stderr.isatty():
        print("\r     \r", end="", file=sys.stderr)


def check(variants: dict[str, Variant], expected: int, functions: dict[str, Any]) -> None:
    """That every variant did the same work, that bare is bare and audited is audited."""
    bare = variants[BARE]
    for name, variant in variants.items():
        if variant.frames != expected:
            raise InvalidError(f"{name}: {variant.frames} frames arrived, {expected} were sent")
        for user_id, wire in variant.wires.items():
            if wire.last != bare.wires[user_id].last:
                raise InvalidError(f"{name}: {user_id} was sent something else than in {BARE}")
    if untouched() != functions:
        raise InvalidError("the agent patched what the bare call runs through")
    if AUDITED in variants:
        check_audited(variants[AUDITED], expected)
        variants[AUDITED].drain_ns = drained() / expected


def untouched() -> dict[str, Any]:
    """What the bare call runs through and an agent might patch."""
    websocket = sys.modules[BARE_MODULE].WebSocket
    manager = sys.modules[BARE_MODULE].ConnectionManager
    return {
        **{f"WebSocket.{name}": value for name, value in vars(websocket).items()},
        **{f"ConnectionManager.{name}": value for name, value in vars(manager).items()},
    }


def check_audited(variant: Variant, expected: int) -> None:
    agent: Any = importlib.import_module("ws_audit")
    from prometheus_client import REGISTRY

    if not agent.flush():
        raise InvalidError("the agent did not flush")
    judged = REGISTRY.get_sample_value(
        "ws_audit_frames_total", {"transport": "asgi", "judged": "true"}
    )
    name = f"{AUDITED_MODULE}:{type(variant.manager).__qualname__}"
    matched = REGISTRY.get_sample_value(
        "ws_audit_verdicts_total", {"manager": name, "verdict": "match"}
    )
    if judged != expected or matched != expected:
        raise InvalidError(
            f"{expected} frames were sent, {judged} judged, {matched} matched for {name}"
        )


# --- the result --------------------------------------------------------------------------


def drained() -> float:
    """CPU nanoseconds of the agent's drain so far."""
    from prometheus_client import REGISTRY

    seconds = REGISTRY.get_sample_value("ws_audit_agent_cpu_seconds_total", {"stage": "drain"})
    return (seconds or 0.0) * 1e9


class Ratio(NamedTuple):
    """Of the whole run, and the lowest and highest of its tenths."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def ratio(variants: dict[str, Variant], above: tuple[str, str], below: tuple[str, str]) -> Ratio:
    """What `above` costs over what `below` costs; a cost is (variant, variant taken off or "").

    Costs are taken off within a round, because the machine's speed drifts between rounds.
    """

    def cost(pair: tuple[str, str], part: slice) -> float:
        one = variants[pair[0]].ns[part]
        off = variants[pair[1]].ns[part] if pair[1] else itertools.repeat(0.0)
        return statistics.median(a - b for a, b in zip(one, off, strict=False))

    def quotient(part: slice) -> float:
        return cost(above, part) / (cost(below, part) or float("nan"))

    rounds = len(variants[BARE].ns)
    edges = [rounds * tenth // TENTHS for tenth in range(TENTHS + 1)]
    tenths = [quotient(slice(*edge)) for edge in itertools.pairwise(edges)]
    return Ratio(quotient(slice(None)), min(tenths), max(tenths))


def report(variants: dict[str, Variant], rounds: int, calls: int) -> dict[str, Any]:
    rows: dict[str, Any] = {}
    bare = variants[BARE].ns
    for name, variant in variants.items():
        median = statistics.median(variant.ns)
        deciles = statistics.quantiles(variant.ns, n=10)
        rows[name] = {
            "ns": round(median),
            "p10_ns": round(deciles[0]),
            "p90_ns": round(deciles[-1]),
            "added_ns": round(statistics.median(map(operator.sub, variant.ns, bare))),
            "drain_ns": round(variant.drain_ns),
            "over_bare": ratio(variants, (name, ""), (BARE, ""))._asdict(),
        }
    over = {
        peer: {
            **ratio(variants, (AUDITED, BARE), (peer, BARE))._asdict(),
            "total": ratio(variants, (AUDITED, ""), (peer, ""))._asdict(),
            "budget": budget,
        }
        for peer, budget in BUDGETS.items()
        if AUDITED in variants
    }
    return {
        "schema": 1,
        "baseline": peers.BASELINE,
        "rounds": rounds,
        "calls": calls,
        "payload_bytes": len(json.dumps(sends(1)[0][1], separators=(",", ":"))),
        "python": platform.python_version(),
        "versions": {
            name: version(name)
            for name in ("starlette", "uvicorn", "wrapt", "opentelemetry-sdk", "prometheus-client")
        },
        "variants": rows,
        "audited_over": over,
    }


def text(result: dict[str, Any]) -> str:
    lines = [
        f"{result['rounds']} rounds of {result['calls']} sends of {result['payload_bytes']} bytes",
        f"Python {result['python']}, baseline {result['baseline']} of the peers",
        "",
        f"{'one send':<16} {'CPU ns':>8} {'p10..p90':>16} {'added':>8}   over bare (tenths)",
    ]
    for name, row in result["variants"].items():
        spread = f"{row['p10_ns']}..{row['p90_ns']}"
        lines.append(
            f"{name:<16} {row['ns']:>8} {spread:>16} {row['added_ns']:>8}   "
            f"{Ratio(**row['over_bare'])}"
        )
    if AUDITED in result["variants"]:
        drain = result["variants"][AUDITED]["drain_ns"]
        lines += ["", f"{'drain':<16} {drain:>8}   CPU ns a send, in a thread of its own"]
    if result["audited_over"]:
        lines += ["", f"{'audited over':<16} {'budget':>8}   added to added (tenths)"]
    for name, row in result["audited_over"].items():
        shown = Ratio(row["value"], row["low"], row["high"])
        lines.append(f"{name:<16} {row['budget']:>8.3f}   {shown}")
    return "\n".join(lines)


async def run(names: list[str], rounds: int, calls: int) -> dict[str, Any]:
    variants: dict[str, Variant] = {}
    functions: dict[str, Any] = {}
    for name in names:
        if name == names[-1]:
            functions = untouched()
        variants[name] = await VARIANTS[name]()
    await measure(variants, rounds, calls)
    check(variants, (WARM_UP_ROUNDS + rounds) * calls, functions)
    for variant in variants.values():
        await variant.close()
    return report(variants, rounds, calls)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=500, help="blocks of each variant")
    parser.add_argument("--calls", type=int, default=100, help="sends in a block")
    parser.add_argument("--peers-only", action="store_true", help="without the agent")
    parser.add_argument(
        "--events", choices=("violations", "all"), default="violations", help="store.events"
    )
    parser.add_argument("--format", choices=("text", "json"), default="text")
    arguments = parser.parse_args()
    names = [name for name in VARIANTS if name != AUDITED or not arguments.peers_only]

    # The agent reads these when it is enabled. Nobody else's settings belong in a comparison.
    for name in list(os.environ):
        if name.startswith(("WS_AUDIT_", "OTEL_")):
            del os.environ[name]
    os.environ["WS_AUDIT_INCLUDE"] = AUDITED_MODULE
    os.environ["WS_AUDIT_EXCLUDE"] = BARE_MODULE
    with tempfile.TemporaryDirectory(prefix="ws-audit-") as directory:
        config = Path(directory, "ws-audit.toml")
        # Here nothing but sends happens: the breaker would be right, and of no use.
        config.write_text(f'[store]\nevents = "{arguments.events}"\n[limits]\ncpu_share = 1.0\n')
        os.environ["WS_AUDIT_TRACE_DIR"] = str(Path(directory, "trace"))
        os.environ["WS_AUDIT_CONFIG"] = str(config)
        try:
            result = asyncio.run(run(names, max(arguments.rounds, 2 * TENTHS), arguments.calls))
        except InvalidError as failure:
            print(f"no result: {failure}", file=sys.stderr)
            return 3
    print(json.dumps(result, indent=2) if arguments.format == "json" else text(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
