# SPDX-License-Identifier: Apache-2.0
"""What the store promises of a line, whatever happens to the process."""

from __future__ import annotations

import base64
import json
import os
import signal
import stat
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from google.protobuf import json_format  # type: ignore[import-untyped]
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from tests.unit.stores import (
    VIOLATION,
    attributes,
    lines,
    numbered,
    numbers,
    open_store,
    run,
    script,
    segments,
    spans,
)
from ws_audit.outputs.store import hash_key

if TYPE_CHECKING:
    from pathlib import Path

# --- the form ------------------------------------------------------------------------------


def test_a_line_is_otlp_json(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    assert store.write_violation(VIOLATION) is True
    line, rest = lines(tmp_path)
    assert rest == b""
    assert json.loads(line) == {
        "resourceSpans": [
            {
                "resource": {
                    "attributes": [
                        {"key": "service.name", "value": {"stringValue": "chat"}},
                        {"key": "service.version", "value": {"stringValue": "1.2.3"}},
                        {"key": "host.name", "value": {"stringValue": "box"}},
                        {"key": "process.pid", "value": {"intValue": str(os.getpid())}},
                    ]
                },
                "scopeSpans": [
                    {
                        "scope": {"name": "ws_audit", "version": "1"},
                        "spans": [
                            {
                                "traceId": "00000000000000000000000000000abc",
                                "spanId": "0000000000000def",
                                "parentSpanId": "0000000000000123",
                                "name": "ws_audit.violation",
                                "kind": 1,
                                "startTimeUnixNano": "1795428000000000001",
                                "endTimeUnixNano": "1795428000000000002",
                                "attributes": [
                                    {
                                        "key": "security_rule.name",
                                        "value": {"stringValue": "payload_vs_connection"},
                                    },
                                    {"key": "ws_audit.bytes", "value": {"intValue": str(2**40)}},
                                    {"key": "ws_audit.synthetic", "value": {"boolValue": False}},
                                    {"key": "ratio", "value": {"doubleValue": 0.5}},
                                ],
                                "status": {"code": 2},
                            }
                        ],
                        "schemaUrl": "https://opentelemetry.io/schemas/1.44.0",
                    }
                ],
                "schemaUrl": "https://opentelemetry.io/schemas/1.44.0",
            }
        ]
    }


def test_opentelemetrys_own_types_know_every_field(tmp_path: Path) -> None:
    open_store(tmp_path).write_violation(VIOLATION)
    data = json.loads(lines(tmp_path)[0])
    span = data["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    for key in ("traceId", "spanId", "parentSpanId"):  # hex here, base64 in protobuf's own JSON
        span[key] = base64.b64encode(bytes.fromhex(span[key])).decode()
    parsed = json_format.ParseDict(data, TracesData(), ignore_unknown_fields=False)
    only = parsed.resource_spans[0].scope_spans[0].spans[0]
    assert only.trace_id.hex() == f"{0xABC:032x}"
    assert only.start_time_unix_nano == VIOLATION.start_ns
    assert only.status.code == 2


def test_a_root_without_error_has_neither_parent_nor_code(tmp_path: Path) -> None:
    open_store(tmp_path).write_coverage(VIOLATION._replace(parent_span_id=0, error=False))
    (span,) = spans(tmp_path, "coverage")
    assert "parentSpanId" not in span
    assert span["status"] == {}


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ('quote " backslash \\ newline \n nul \0', 'quote " backslash \\ newline \n nul \0'),
        ("grün \u2028 \U0001f512", "grün \u2028 \U0001f512"),
        ("lone \ud800 surrogate", "lone ? surrogate"),
        (b"caf\xe9".decode("utf-8", "surrogateescape"), "caf?"),
        (True, True),
        (-(2**63), str(-(2**63))),
        (float("nan"), "NaN"),
        (float("inf"), "Infinity"),
        (float("-inf"), "-Infinity"),
        (1e-300, 1e-300),
        ({"secret": "payload"}, "dict"),
        (b"secret", "bytes"),
        (None, "NoneType"),
    ],
)
def test_any_value_is_one_line_of_valid_json(tmp_path: Path, value: Any, stored: Any) -> None:
    store = open_store(tmp_path)
    assert store.write_violation(VIOLATION._replace(attributes={"it": value}))
    (span,) = spans(tmp_path)
    assert attributes(span) == {"it": stored}


def test_files_are_this_users_alone(tmp_path: Path) -> None:
    directory = tmp_path / "deep" / "traces"
    store = open_store(directory)
    store.write_violation(VIOLATION)
    store.write_coverage(VIOLATION)
    hash_key(directory)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}
    (name,) = [path.name for path in segments(directory)]
    assert name.startswith(f"violations-{os.uname().nodename}-{os.getpid()}-")
    assert name.endswith("-1.jsonl")


def test_importing_the_store_loads_nothing_that_changes_an_application() -> None:
    check = (
        "import sys; import ws_audit.outputs.store;"
        "print([it for it in ('ssl', 'socket', 'threading', 'asyncio') if it in sys.modules])"
    )
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:0] = {sys.path}; {check}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"


# --- the process ---------------------------------------------------------------------------


def test_one_line_is_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(tmp_path)
    written: list[bytes] = []
    write = os.write

    def spy(descriptor: int, data: bytes) -> int:
        written.append(data)
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", spy)
    store.write_violation(VIOLATION)
    assert len(written) == 1
    assert written[0].endswith(b"}\n")


def test_a_written_violation_survives_sigkill(tmp_path: Path) -> None:
    done = run(
        """
store = Store(directory, resource={})
assert store.write_violation(violation(7))
os.kill(os.getpid(), signal.SIGKILL)
""",
        tmp_path,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert numbers(tmp_path) == [7]


def test_threads_and_processes_at_once_tear_no_line(tmp_path: Path) -> None:
    text = """
store = Store(directory, resource={}, segment_bytes=100_000)
def write(thread):
    for number in range(500):
        assert store.write_violation(violation(thread * 500 + number, padding="x" * 200))
threads = [threading.Thread(target=write, args=(it,)) for it in range(4)]
for it in threads: it.start()
while any(it.is_alive() for it in threads): store.sync()
store.close()
"""
    children = [subprocess.Popen(script(text, tmp_path)) for _ in range(4)]
    assert [child.wait(60) for child in children] == [0] * 4
    assert sorted(numbers(tmp_path)) == sorted(list(range(2000)) * 4)
    assert len(segments(tmp_path)) > 4


def test_a_forks_child_opens_its_own_files(tmp_path: Path) -> None:
    done = run(
        """
store = Store(directory, resource={"service.name": "chat"})
store.write_violation(violation(1))
store.dropped = 5
child = os.fork()
if child == 0:
    store.write_violation(violation(2))
    store.sync()
    os._exit(store.dropped)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
store.write_violation(violation(3))
print(os.getpid(), child)
""",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    parent, child = done.stdout.split()
    for pid, expected in ((parent, [1, 3]), (child, [2])):
        (path,) = tmp_path.glob(f"violations-*-{pid}-*.jsonl")
        decoded = [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]
        found = [it["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["spanId"] for it in decoded]
        assert [int(it, 16) for it in found] == expected
        resources = [attributes(it["resourceSpans"][0]["resource"]) for it in decoded]
        assert {it["process.pid"] for it in resources} == {pid}


def test_a_fork_while_a_thread_writes_cannot_deadlock_the_child(tmp_path: Path) -> None:
    done = run(
        """
store = Store(directory, resource={})
store._lock.acquire()  # as a thread of the parent would hold it, mid-write, at the fork
store._syncing.acquire()
child = os.fork()
if child == 0:
    def write():
        store.write_violation(violation(2))
        store.sync()
        os._exit(0)
    threading.Thread(target=write).start()
    signal.alarm(10)
    signal.pause()
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
""",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert numbers(tmp_path) == [2]


def test_threads_of_a_new_child_share_its_files(tmp_path: Path) -> None:
    done = run(
        """
store = Store(directory, resource={})
store.sync()
import itertools, time, ws_audit.outputs.store as module
delays, lock = itertools.count(), module.RLock
def late():  # the threads reach the same step one after the other
    time.sleep(0.01 * next(delays))
    return lock()
module.RLock = late
child = os.fork()
if child == 0:
    gate = threading.Barrier(8)
    def write(number):
        gate.wait()
        assert store.write_violation(violation(number))
    threads = [threading.Thread(target=write, args=(it,)) for it in range(8)]
    for it in threads: it.start()
    for it in threads: it.join()
    os._exit(0)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
""",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(numbers(tmp_path)) == list(range(8))
    assert len([path for path in segments(tmp_path) if path.stat().st_size]) == 1


def test_a_daemon_that_closes_all_descriptors_gets_nothing_of_ours(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.write_violation(numbered(1))
    descriptor = store._segments["violations"]._fd
    other = tmp_path / "application.txt"
    os.close(descriptor)
    theirs = os.open(other, os.O_WRONLY | os.O_CREAT)
    assert theirs == descriptor  # the number now means the application's file
    assert store.write_violation(numbered(2))
    store.sync()
    store.close()
    os.write(theirs, b"still open")
    os.close(theirs)
    assert other.read_bytes() == b"still open"
    assert numbers(tmp_path) == [1, 2]


def test_no_descriptor_left_is_no_violation_lost(tmp_path: Path) -> None:
    done = run(
        """
store = Store(directory, resource={})
store.sync()
resource.setrlimit(resource.RLIMIT_NOFILE, (0, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
try: open(directory)
except OSError as error: assert error.errno == 24, error
assert store.write_violation(violation(1)), store.last_error
""",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert numbers(tmp_path) == [1]


def test_a_write_inside_a_write_does_not_hang(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    done = []

    def nested() -> None:  # as a finalizer would that runs while the lock is held
        with store._lock:
            done.append(store.write_violation(VIOLATION))

    thread = threading.Thread(target=nested, daemon=True)
    thread.start()
    thread.join(5)
    assert done == [True]
