# SPDX-License-Identifier: Apache-2.0
"""A crowd of clients at several workers, with a few seeded leaks: does the agent see just those?

    python -m tests.soak.rush --seconds 120 --connections 1000 --workers 4

Three accounts are held against each other: the clients' (each knows its user, and whose secret a
text carries), the application's ledger, and the agent's. Afterwards nothing may be left in any
worker. Prints a table; fails with what does not agree.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.real.world import Page, Pair, claimed, eventually, get, review, surroundings
from ws_audit.tools.demo_cast import Cast
from ws_audit.tools.demo_stage import HOST, free_ports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

APPS = Path(__file__).parent / "apps"
WRONG = 0.02
GROWTH = 32 << 20  # bytes a worker may be larger at the end than when the crowd was all there
PENDING = 12.0  # seconds after which no payload waits for delivery any more


class Stage:
    """The workers, and how to ask them."""

    def __init__(self, folder: Path, cast: Cast, workers: int) -> None:
        self.folder, self.cast, self.workers = folder, cast, workers
        (self.port,) = free_ports(1)
        self.metrics_port = row_of_ports(workers)
        self.store = folder / "trace"
        self.asked = 0

    @contextlib.contextmanager
    def open(self) -> Iterator[subprocess.Popen[bytes]]:
        """The workers, from ready to gone; by SIGTERM, if they are still there at the end."""
        told = {
            "WS_AUDIT_ENABLED": "1",
            "WS_AUDIT_TRACE_DIR": str(self.store),
            "WS_AUDIT_METRICS_ADDR": (
                f"{HOST}:{self.metrics_port}-{self.metrics_port + self.workers - 1}"
            ),
            "WS_AUDIT_HASH_KEY": self.cast.hash_key,
            "AGENT_CHAT_USERS": json.dumps(self.cast.tokens),
        }
        command = [sys.executable, "-m", "uvicorn", "rush:app", "--host", HOST]
        command += ["--port", str(self.port), "--log-level", "critical"]
        command += ["--workers", str(self.workers)]
        with (self.folder / "service.log").open("wb") as log:
            process = subprocess.Popen(
                command,
                env=paths() | told,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            eventually("all workers serve metrics", 30, lambda: len(self.pages()) == self.workers)
            yield process
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                assert process.wait(30) == 0, self.said()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def said(self) -> str:
        return (self.folder / "service.log").read_text(errors="replace")[-3000:]

    def pages(self) -> list[Page]:
        """The metrics of each worker that answers."""
        found = []
        for port in range(self.metrics_port, self.metrics_port + self.workers):
            with contextlib.suppress(OSError):
                found.append(Page(get(f"http://{HOST}:{port}/metrics")))
        return found

    def total(self, name: str, **labels: str) -> int:
        return sum(page.total(name, **labels) for page in self.pages())

    def states(self) -> list[dict[str, Any]]:
        """What each worker holds now."""
        self.asked += 1
        (self.folder / f"ask-{self.asked}").touch()
        pattern = f"state-{self.asked}-*.json"

        def answers() -> list[Path] | None:
            found = list(self.folder.glob(pattern))
            return found if len(found) == self.workers else None

        paths: list[Path] = eventually("all workers answer", 60, answers)
        return [json.loads(path.read_text()) for path in paths]


def paths() -> dict[str, str]:
    found = surroundings()
    found["PYTHONPATH"] = os.pathsep.join([str(APPS), found["PYTHONPATH"]])
    return found


def row_of_ports(count: int) -> int:
    """The first of so many free ports in a row."""
    for _ in range(100):
        (first,) = free_ports(1)
        with contextlib.ExitStack() as held, contextlib.suppress(OSError, OverflowError):
            for port in range(first, first + count):
                held.enter_context(socket.socket()).bind((HOST, port))
            return first
    raise AssertionError("no free ports in a row")


def rush(folder: Path, seconds: float, connections: int, workers: int, seed: int) -> dict[str, Any]:
    """Let the crowd in, see it off, and hold the accounts against each other; the table."""
    more_descriptors(connections * 2 + 500)
    cast = Cast.of(max(10, connections // 2))
    stage = Stage(folder, cast, workers)
    with stage.open():
        before = stage.total("ws_audit_instances_alive")
        rate = min(1.5, 900 / connections)
        with crowd(stage, seconds, connections, rate, seed) as let_in:
            time.sleep(seconds / 4)  # by then everybody is there
            full = stage.states()
            alive = stage.total("ws_audit_connections_alive")
            clients = let_in()
        eventually(
            "all connections are closed",
            20,
            lambda: stage.total("ws_audit_connections_alive") == 0,
        )
        time.sleep(PENDING)
        left = stage.states()
        pages = stage.pages()
    document = json.loads(review(stage.store, "json"))
    return compare(stage, clients, full, left, pages, document, before, alive)


@contextlib.contextmanager
def crowd(
    stage: Stage, seconds: float, connections: int, rate: float, seed: int
) -> Iterator[Callable[[], dict[str, Any]]]:
    """The clients, at work; call what you get to wait for them and read what they saw."""
    files = [stage.folder / f"{name}.json" for name in ("users", "plan", "out")]
    plan = {"connections": connections, "seed": seed, "rate": rate, "wrong": WRONG}
    files[0].write_text(json.dumps(stage.cast.tokens))
    files[1].write_text(json.dumps(plan | {"seconds": seconds}))
    process = subprocess.Popen(
        [sys.executable, str(APPS / "crowd.py"), f"ws://{HOST}:{stage.port}/ws"]
        + [str(path) for path in files],
        env=paths(),
        cwd=stage.folder,
    )

    def told() -> dict[str, Any]:
        assert process.wait(seconds + 90) == 0
        found: dict[str, Any] = json.loads(files[2].read_text())
        return found

    try:
        yield told
    finally:
        process.kill()
        process.wait()


def leaked(stage: Stage, clients: dict[str, Any]) -> Counter[Pair]:
    """What the clients saw of somebody else's, by pair."""
    name = stage.cast.hash_of
    seen: Counter[Pair] = Counter()
    for owner, recipient, number in clients["seen"]:
        if owner != recipient:
            seen[name(owner), name(recipient)] += number
    return seen


def compare(
    stage: Stage,
    clients: dict[str, Any],
    full: list[dict[str, Any]],
    left: list[dict[str, Any]],
    pages: list[Page],
    document: dict[str, Any],
    before: int,
    alive: int,
) -> dict[str, Any]:
    """The table, once everything in it agrees."""
    name = stage.cast.hash_of
    seen = leaked(stage, clients)
    sent: Counter[Pair] = Counter()
    for state in left:
        for owner, recipient, _, number, _ in state["ledger"]:
            if owner != recipient and number:
                sent[name(owner), name(recipient)] += number
    agents = Counter(claimed(document))
    frames = sum(page.balanced() for page in pages)
    gone = {name(user) for user in clients["aborted"]}
    rss = {state["pid"]: state["rss"] for state in full}
    growth = {state["pid"]: state["rss"] - rss[state["pid"]] for state in left}
    counts = clients["count"]
    table = {
        "workers": stage.workers,
        "connections at once, seen by the agent": alive,
        "connections in all": counts["connections"],
        "of them slow readers": counts["slow"],
        "vanished without a word": counts["vanished"],
        "commands": counts["commands"],
        "of them cancelled half way": counts["cancelled"],
        "frames the agent saw leave": frames,
        "frames the clients received": counts["frames"],
        "violations in the review": sum(agents.values()),
        "leaks by the application's ledger": sum(sent.values()),
        "leaks the clients saw": sum(seen.values()),
        "pairs (owner, recipient)": len(agents),
        "violations of a pair that no client saw": sum((agents - seen).values()),
        "of them to users who never vanished": sum(
            number for pair, number in (agents - seen).items() if pair[1] not in gone
        ),
        "leaks seen and not reported": sum((seen - agents).values()),
        "frames judged, of all": document["coverage"]["judged"] / max(1, frames),
        "held by the agents, full": total(full),
        "held by the agents, afterwards": total(left),
        "growth of the workers in MiB": [round(each / 2**20, 1) for each in growth.values()],
        "clients' errors": clients["errors"],
    }
    told = "\n".join(f"{key:42} {value}" for key, value in table.items())
    print(f"\n{told}")

    assert counts["frames"] > 0, told
    assert sum(sent.values()) > 0, told
    assert len({state["pid"] for state in left}) == stage.workers
    assert all(state["connections"] for state in left), told  # each worker had its share
    # The agent's account is the application's, pair by pair: nothing mixed, lost or invented.
    assert agents == sent, ((agents - sent), (sent - agents), told)
    # And the clients': what they saw is reported; what they did not see went to one that was gone.
    assert not seen - agents, (seen - agents, told)
    assert {pair[1] for pair in agents - seen} <= gone, told
    assert document["coverage"]["frames"] == frames, told
    assert frames >= counts["frames"], told
    assert document["problems"] == [], document["problems"]
    for page in pages:
        assert page.troubles() == {"dropped": {}, "errors": {}}, told
    # Nothing is left.
    assert sum(page.total("ws_audit_instances_alive") for page in pages) == before, told
    assert set(total(left).values()) == {0}, told
    assert max(growth.values()) < GROWTH, told
    return table


def total(states: list[dict[str, Any]]) -> dict[str, int]:
    """The sums over all workers."""
    held: Counter[str] = Counter()
    for state in states:
        held.update(state["held"])
    return {name: held[name] for name in states[0]["held"]}


def more_descriptors(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ws-audit-soak-") as folder:
        rush(Path(folder), given.seconds, given.connections, given.workers, given.seed)
    print("\nAll three accounts agree, and nothing is left.")


if __name__ == "__main__":
    main()
