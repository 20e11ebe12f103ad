# SPDX-License-Identifier: Apache-2.0
"""How fast every event of a store is loaded, and how long one trace or connection of it takes.

    python -m benchmarks.events [--deliveries N] [--violations N] [--keep DIR] [--format text|json]

Why it exists: `store.events = "all"` is worth its disk only if somebody gets an answer out of it.
The store is written by the agent's own parts: half a million deliveries, each with its send, beside
the violations and coverage of `benchmarks.review`. Measured are, each in a process of its own: the
review of the violations, cold and warm, with the events beside it; loading, killed in the middle
and gone on with; and questions to what is loaded. The kernel has the files in memory.

It must never call a store loaded of which an event is missing: counts are compared, or this fails.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import review
from ws_audit.messages.intents import send_ids
from ws_audit.model import STRONG, Call, Delivery, Evidence, Principal, Verdict
from ws_audit.outputs.deliveries import Deliveries
from ws_audit.outputs.spans import SpanMaker
from ws_audit.outputs.store import Store
from ws_audit.principals.identity import Hasher
from ws_audit.process.allowance import Allowance
from ws_audit.tally import Tally

QUESTIONS = 5  # of each kind

LOAD = """
import json, resource, sys, time
from pathlib import Path
if __name__ == "__main__":
    begun = time.monotonic()
    from ws_audit.review.databases import loading
    loaded = loading.load([Path(sys.argv[1])])
    peak = [resource.getrusage(it).ru_maxrss >> 10
            for it in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(json.dumps({
        "seconds": time.monotonic() - begun,
        "events": loaded.events,
        "read_events": loaded.read_events,
        "read_bytes": loaded.read_bytes,
        "peak_mib": peak[0],
        "helper_peak_mib": peak[1],
    }))
    loaded.close()
"""


def write(directory: Path, deliveries: int) -> dict[str, str]:
    """Write events beside what is there; something to ask for."""
    chance = random.Random(2)
    people = [Principal(None, f"user-{number}", "id", "opaque") for number in range(2_000)]
    asked: dict[str, str] = {}
    for writer in range(review.WRITERS):
        store = Store(
            directory,
            resource={"service.name": "chat", "service.version": "7.1", "host.name": "bench"},
            max_bytes=1 << 50,
            events=True,
        )
        maker = SpanMaker(Hasher("a key that is only for a benchmark, and long"), "chat", "7.1")
        free = Allowance(1, dict)
        out = Deliveries(maker, store, Tally(), lambda: 0, free, print)
        each = deliveries // review.WRITERS
        for number in range(1, each + 1):
            at = review.BEGIN + number * review.WEEK // each
            # Ids go on from writer to writer: here all are one process.
            delivery, call = _message(chance, people, writer * each + number, at)
            out.fold(delivery)
            out.fold(call)
            if number % 2_000 == 0:
                store.sync()
        asked = {
            "trace": f"{send_ids(call.intent_id, 0)[0]:032x}",
            "connection": f"{maker.prefix}-{delivery.connection_id}",
            "user": maker.hash(delivery.evidence[0].principal),
        }
        out.flush()
        store.close()
    return asked


def _message(
    chance: random.Random, people: list[Principal], number: int, at: int
) -> tuple[Delivery, Call]:
    """A delivery and its send: one user's 10 connections, one message after the other."""
    connection = chance.randrange(20_000)
    who = people[connection % len(people)]
    site = chance.choice(review.SITES)
    event = chance.choice(("agent_started", "agent_thinking", "tool_executing", "agent_completed"))
    told = tuple(
        Evidence(name, who, point, "user_id", STRONG)
        for name, point in (("connection", "accept"), ("argument", "call"), ("payload", "content"))
    )
    delivery = Delivery(
        *(1, number, at + 50_000, "asgi", connection, number, "send", "app.ws:Hub"),
        *("app.ws:Hub.push:42", event, "", told, "", chance.randrange(4_000), Verdict("match")),
        *("ok", 0, 0, 0),
    )
    call = Call(
        *(1, number, at, 200_000, "send", "app.ws:Hub", "app.ws:Hub.push:42", event, site, "ok"),
        *(1, told[1:], 0, 0, False),
    )
    return delivery, call


def run(*command: str) -> tuple[subprocess.CompletedProcess[str], float, float]:
    """A process: how it ended, how long it took, and what it and its helpers used."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.monotonic()
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    took = time.monotonic() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done, took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def load(directory: Path, script: Path) -> dict[str, Any]:
    """Load, in a process of its own."""
    done, took, cpu = run(str(script), str(directory))
    if done.returncode:
        raise SystemExit(done.stderr)
    told: dict[str, Any] = json.loads(done.stdout)
    return {**told, "process_seconds": took, "cpu_seconds": cpu}


def killed(directory: Path, script: Path, size: int) -> None:
    """Load until half is done, then SIGKILL."""
    process = subprocess.Popen([sys.executable, str(script), str(directory)])
    cache = directory / "review.cache"
    pieces = size // (16 << 20)
    while process.poll() is None and len(list(cache.glob("*@*.parquet"))) < pieces // 2:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(2)  # for helpers to notice


def ask(directory: Path, asked: dict[str, str]) -> dict[str, dict[str, float]]:
    """Ask each kind of question a few times; medians in milliseconds."""
    found = {}
    for kind, value in asked.items():
        times: dict[str, list[float]] = {"process": [], "open": [], "question": []}
        for _ in range(QUESTIONS):
            words = ["review", "events", "--source", str(directory), f"--{kind}", value, "--times"]
            done, took, _cpu = run("-m", "ws_audit", *words, "--format", "json")
            if done.returncode or not json.loads(done.stdout)["events"]:
                raise SystemExit(done.stderr)
            *_, opened, _ms, _asked, question, _ms2 = done.stderr.split()
            times["process"].append(took * 1000)
            times["open"].append(float(opened.replace(",", "")))
            times["question"].append(float(question.replace(",", "")))
        found[kind] = {name: statistics.median(them) for name, them in times.items()}
    return found


def main() -> int:
    """Write a store, load it, ask it, and say how long that took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--deliveries", type=int, default=500_000)
    parser.add_argument("--violations", type=int, default=100_000)
    parser.add_argument("--keep", metavar="DIR", help="use or make the store here, and leave it")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        base = Path(options.keep or folder)
        directory, note = base / "store", base / "asked.json"
        if not directory.exists():
            review.write(directory, options.violations, 10_000_000)
            note.write_text(json.dumps(write(directory, options.deliveries)))
        asked = json.loads(note.read_text())
        loader, reviewer = Path(folder, "load.py"), Path(folder, "review.py")
        loader.write_text(LOAD)
        reviewer.write_text(review.REVIEW)
        sizes = {
            kind: sum(it.stat().st_size for it in directory.glob(f"{kind}-*.jsonl"))
            for kind in ("events", "violations")
        }
        cache = directory / "review.cache"
        shutil.rmtree(cache, ignore_errors=True)
        told: dict[str, Any] = {"sizes": sizes}
        told["review"] = {
            name: review.run(directory, "columns", reviewer) for name in ("cold", "warm")
        }
        told["load"] = load(directory, loader)
        for path in cache.glob("*@*.parquet"):
            path.unlink()
        killed(directory, loader, sum(sizes.values()))
        told["resumed"] = load(directory, loader)
        told["warm_review"] = review.run(directory, "columns", reviewer)
        told["cache"] = sum(it.stat().st_size for it in cache.glob("*@*.parquet"))
        told["questions"] = ask(directory, asked)
    return show(told, options.format)


def show(told: dict[str, Any], form: str) -> int:
    """Print what was measured; 3 if anything was lost."""
    load, resumed = told["load"], told["resumed"]
    if form == "json":
        print(json.dumps(told, indent=1))
    else:
        print(
            f"Python {platform.python_version()}, DuckDB {version('duckdb')}, "
            f"{os.cpu_count()} CPUs\nevents {told['sizes']['events'] >> 20:,} MiB, violations "
            f"{told['sizes']['violations'] >> 20:,} MiB; loaded {told['cache'] >> 20:,} MiB, "
            f"{load['events']:,} events"
        )
        for name in ("cold", "warm"):
            it = told["review"][name]
            print(f"review {name:4} {it['process_seconds']:.2f} s, {it['peak_mib']:,} MiB")
        for name, it in (("load", load), ("resumed", resumed)):
            print(
                f"{name:11} {it['process_seconds']:.2f} s, CPU {it['cpu_seconds']:.2f} s, "
                f"{it['read_events']:,} events, {it['read_events'] / it['seconds']:,.0f} a second, "
                f"{it['read_events'] / it['cpu_seconds']:,.0f} a second of CPU, peak "
                f"{it['peak_mib']:,} MiB and {it['helper_peak_mib']:,} MiB a helper"
            )
        for kind, it in told["questions"].items():
            print(
                f"{kind:11} question {it['question']:.0f} ms, opening {it['open']:.0f} ms, "
                f"command {it['process']:.0f} ms"
            )
    same = load["events"] == resumed["events"] and resumed["read_events"] < load["read_events"]
    if not same or told["warm_review"]["digest"] != told["review"]["cold"]["digest"]:
        print("something was lost, or nothing had been kept", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
