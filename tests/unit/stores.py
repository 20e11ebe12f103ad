# SPDX-License-Identifier: Apache-2.0
"""What the tests of the store share: lines to write, scripts to run, a strict reader."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import msgspec

from ws_audit.model import Span
from ws_audit.outputs.store import Store

if TYPE_CHECKING:
    from pathlib import Path

RESOURCE = {"service.name": "chat", "service.version": "1.2.3", "host.name": "box"}
VIOLATION = Span(
    name="ws_audit.violation",
    trace_id=0xABC,
    span_id=0xDEF,
    parent_span_id=0x123,
    start_ns=1_795_428_000_000_000_001,
    end_ns=1_795_428_000_000_000_002,
    attributes={
        "security_rule.name": "payload_vs_connection",
        "ws_audit.bytes": 2**40,
        "ws_audit.synthetic": False,
        "ratio": 0.5,
    },
    error=True,
)

# What the scripts below begin with: a store in the directory they are given.
PRELUDE = """
import os, resource, signal, sys, threading
from ws_audit.model import Span
from ws_audit.outputs.store import Store, StoreError, hash_key

def violation(number, **attributes):
    return Span("ws_audit.violation", 1, number, 0, 1, 2, {"number": number, **attributes}, True)

directory = sys.argv[1]
"""


def open_store(directory: Path, **limits: Any) -> Store:
    return Store(directory, resource=RESOURCE, **limits)


def script(text: str, directory: Path) -> list[str]:
    return [sys.executable, "-c", PRELUDE + text, str(directory)]


def run(text: str, directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        script(text, directory), capture_output=True, text=True, timeout=60, check=False
    )


def segments(directory: Path, kind: str = "violations") -> list[Path]:
    return sorted(directory.glob(f"{kind}-*.jsonl"), key=lambda it: int(it.stem.split("-")[-1]))


def lines(directory: Path, kind: str = "violations") -> list[bytes]:
    return [line for path in segments(directory, kind) for line in path.read_bytes().split(b"\n")]


def spans(directory: Path, kind: str = "violations") -> list[dict[str, Any]]:
    """Every span of the directory, by a strict reader that refuses what is not JSON in UTF-8."""
    decoded = [msgspec.json.decode(line) for line in lines(directory, kind) if line]
    return [line["resourceSpans"][0]["scopeSpans"][0]["spans"][0] for line in decoded]


def attributes(span: dict[str, Any]) -> dict[str, Any]:
    return {it["key"]: next(iter(it["value"].values())) for it in span["attributes"]}


def numbers(directory: Path) -> list[int]:
    return [int(attributes(span)["number"]) for span in spans(directory)]


def numbered(number: int, padding: int = 0) -> Span:
    return VIOLATION._replace(attributes={"number": number, "padding": "x" * padding})
