# SPDX-License-Identifier: Apache-2.0
"""How long a review takes of a store that stands for ten million deliveries.

    python -m benchmarks.review [--violations N] [--deliveries N] [--keep DIR] [--format text|json]

Why it exists: whoever was woken waits for it. The store is written by the agent's own `Store` and
`SpanMaker`, so its lines are those of a real one: 100,000 violations with their evidence and
outcomes (2,000 pairs of people), and the coverage of eight processes over a week. Each review is a
process of its own, as the command is; cold is without a cache and warm with it. The kernel has the
files in memory both times.

It must never compare reviews that differ: all three answers have to be equal, or this fails.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ws_audit import schema
from ws_audit.model import Span
from ws_audit.outputs.store import Store

WRITERS = 8
PAIRS = 2_000
WEEK = 7 * 86_400 * 1_000_000_000
BEGIN = 1_795_428_000 * 1_000_000_000
MINUTE = 60 * 1_000_000_000
KINDS = ("connection", "argument", "payload", "instance")
SITES = ("app.ws:Hub.push:42", "app.runs:Runner.emit:17", "app.rooms:Rooms.say:88")


def write(directory: Path, violations: int, deliveries: int) -> None:
    """Write the store."""
    chance = random.Random(1)
    people = [f"{chance.getrandbits(128):032x}" for _ in range(500)]
    pairs = [chance.sample(people, 2) for _ in range(PAIRS)]
    for _ in range(WRITERS):
        store = Store(
            directory,
            resource={"service.name": "chat", "service.version": "7.1", "host.name": "bench"},
            max_bytes=1 << 40,
        )
        for number in range(violations // WRITERS):
            at = BEGIN + chance.randrange(WEEK)
            owner, recipient = chance.choice(pairs)
            span = _violation(chance, owner, recipient, at)
            store.write_violation(span)
            store.write_violation(
                span._replace(attributes={schema.OUTCOME: "ok"}, end_ns=at + 200_000)
            )
            if number % 500 == 0:
                store.sync()
        minutes = WEEK // MINUTE
        each = deliveries // WRITERS // minutes
        for minute in range(minutes):
            store.write_coverage(_coverage(chance, each, BEGIN + minute * MINUTE, minutes - minute))
        store.close()


def _violation(chance: random.Random, owner: str, recipient: str, at: int) -> Span:
    attributes: dict[str, str | int | bool | float] = {
        schema.RULE: "payload_vs_connection",
        schema.SEVERITY: "confirmed",
        schema.USER_HASH: recipient,
        schema.OWNER_HASH: owner,
        schema.EVENT: "agent_thinking",
        schema.MANAGER: "app.ws:Hub",
        schema.SITE: chance.choice(SITES),
        schema.BYTES: chance.randrange(4_000),
        schema.KIND: "send",
        schema.TRANSPORT: "asgi",
        schema.CONNECTION_ID: f"0badcafe-{chance.randrange(900)}",
        schema.DELIVERY_ID: f"0badcafe-{chance.getrandbits(24)}",
        schema.FUNCTION: "app.ws.Hub.push",
        schema.INTENT_ID: f"0badcafe-{chance.getrandbits(24)}",
        schema.PAYLOAD_PATH: "user_id",
    }
    for kind in KINDS:
        attributes |= {
            schema.evidence_attribute(kind, "hash"): recipient if kind == "connection" else owner,
            schema.evidence_attribute(kind, "at"): "accept" if kind == "connection" else "call",
            schema.evidence_attribute(kind, "source"): "push.user_id",
            schema.evidence_attribute(kind, "strength"): "strong",
            schema.evidence_attribute(kind, "namespace"): "id:int",
        }
    ids = chance.getrandbits(128) or 1, chance.getrandbits(64) or 1, chance.getrandbits(64) or 1
    attributes[schema.RECORD] = "{}"
    return Span(schema.VIOLATION_SPAN, *ids, at, at, attributes, error=True)


def _coverage(chance: random.Random, frames: int, at: int, left: int) -> Span:
    attributes: dict[str, str | int | bool | float] = {
        schema.FRAMES: frames,
        schema.JUDGED: frames - 3,
        schema.UNATTRIBUTED: 3,
        schema.EXCUSED_COUNT: 0,
        schema.DROPPED: 0,
        f"{schema.UNATTRIBUTED}.no_evidence": 3,
    }
    if left == 1:
        attributes[schema.FINAL] = True
    ids = chance.getrandbits(128) or 1, chance.getrandbits(64) or 1
    return Span(schema.COVERAGE_SPAN, *ids, 0, at, at + MINUTE, attributes)


REVIEW = """
import json, resource, sys, time
from hashlib import blake2b
if __name__ == "__main__":
    begun = time.monotonic()
    if sys.argv[2] == "pure":
        from ws_audit.review.segments.read import examine
    else:
        from ws_audit.review.databases.columns import examine
    found = examine(sys.argv[1]).document(0)
    text = json.dumps(found).encode()
    print(json.dumps({
        "seconds": time.monotonic() - begun,
        "digest": blake2b(text).hexdigest(),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
        "events": sum(it["events"] for it in found["incidents"]),
        "incidents": len(found["incidents"]),
        "pairs": sum(len(it["pairs"]) for it in found["incidents"]),
        "judged": found["coverage"]["judged"],
    }))
"""


def run(directory: Path, kind: str, script: Path) -> dict[str, Any]:
    """One review in a process of its own: what it says, and what it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, str(script), str(directory), kind],
        capture_output=True,
        text=True,
        check=True,
    )
    took = time.monotonic() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    told: dict[str, Any] = json.loads(done.stdout)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {**told, "process_seconds": took, "cpu_seconds": cpu}


def main() -> int:
    """Write a store, review it and say how long that took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--violations", type=int, default=100_000)
    parser.add_argument("--deliveries", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", metavar="DIR", help="use or make the store here, and leave it")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(options.keep or folder, "store")
        if not directory.exists():
            write(directory, options.violations, options.deliveries)
        script = Path(folder, "review.py")
        script.write_text(REVIEW)
        size = sum(it.stat().st_size for it in directory.glob("*.jsonl"))
        results: dict[str, list[dict[str, Any]]] = {"pure": [], "cold": [], "warm": []}
        for _ in range(options.rounds):
            shutil.rmtree(directory / "review.cache", ignore_errors=True)
            results["pure"].append(run(directory, "pure", script))
            results["cold"].append(run(directory, "columns", script))
            results["warm"].append(run(directory, "columns", script))
        cache = sum(it.stat().st_size for it in (directory / "review.cache").iterdir())
    return show(results, size, cache, options.format)


def show(results: dict[str, list[dict[str, Any]]], size: int, cache: int, form: str) -> int:
    """Print the best of each, which is the least disturbed; 3 if the answers differ."""
    best = {name: min(them, key=lambda it: it["process_seconds"]) for name, them in results.items()}
    digests = {it["digest"] for them in results.values() for it in them}
    if form == "json":
        print(json.dumps({"store": size, "cache": cache, "best": best}, indent=1))
    else:
        told = best["pure"]
        print(
            f"Python {platform.python_version()}, DuckDB {version('duckdb')}, "
            f"{os.cpu_count()} CPUs\nstore {size >> 20:,} MiB, cache {cache >> 20:,} MiB; "
            f"{told['events']:,} violations, {told['incidents']} incidents, "
            f"{told['pairs']:,} pairs, {told['judged']:,} judged\n"
        )
        print(f"{'':6}{'process':>9}{'review':>9}{'CPU':>9}{'peak':>10}")
        for name, it in best.items():
            print(
                f"{name:6}{it['process_seconds']:>7.2f} s{it['seconds']:>7.2f} s"
                f"{it['cpu_seconds']:>7.2f} s{it['peak_mib']:>6,} MiB"
            )
    if len(digests) > 1:
        print("the answers differ", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
