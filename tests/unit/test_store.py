# SPDX-License-Identifier: Apache-2.0
"""What the store promises of a line, whatever happens to the process and the disk."""

from __future__ import annotations

import base64
import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from google.protobuf import json_format  # type: ignore[import-untyped]
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from ws_audit.model import Span
from ws_audit.outputs.segments import QUIET_SECONDS, Closed, expendable
from ws_audit.outputs.store import Store, StoreError, hash_key

if TYPE_CHECKING:
    from collections.abc import Iterator

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
import time, ws_audit.outputs.store as module
def slow(resource, lines=module.Lines):
    time.sleep(0.1)  # long enough for every thread to come in
    return lines(resource)
module.Lines = slow
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


# --- the disk ------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 64 KiB."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(mounted)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("may not mount a small disk here (needs root)")
    yield mounted
    subprocess.run(["umount", "-l", str(mounted)], check=True)


def test_a_full_disk_loses_only_what_did_not_fit(small_disk: Path) -> None:
    store = open_store(small_disk / "traces")
    stored = [number for number in range(200) if store.write_violation(numbered(number, 900))]
    assert 10 < len(stored) < 60
    assert store.dropped == 200 - len(stored)
    assert "No space left" in store.last_error or "bytes written" in store.last_error
    assert str(small_disk / "traces") in store.last_error
    store.sync()  # says nothing, breaks nothing

    # Only the torn line is lost once there is room again, which nobody needs to announce.
    subprocess.run(["mount", "-o", "remount,size=1m", str(small_disk)], check=True)
    assert store.write_violation(numbered(1000, 900))
    whole, torn = [], 0
    for line in lines(small_disk / "traces"):
        try:
            span = json.loads(line)["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
            whole.append(int(attributes(span)["number"]))
        except ValueError:
            torn += bool(line)
    assert whole == [*stored, 1000]
    assert torn == 1


def test_a_full_disk_at_the_start_is_waited_out(small_disk: Path) -> None:
    with (small_disk / "filler").open("wb") as filler, pytest.raises(OSError, match="No space"):
        filler.write(b"x" * 100_000)
    store = open_store(small_disk)
    assert not store.write_violation(VIOLATION)
    (small_disk / "filler").unlink()
    assert store.write_violation(numbered(1))
    assert numbers(small_disk) == [1]


def test_a_file_size_limit_costs_a_line_and_a_new_segment(tmp_path: Path) -> None:
    done = run(
        """
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
store = Store(directory, resource={})
kept = []
for number in range(30):
    if store.write_violation(violation(number, padding="x" * 800)):
        kept.append(number)
    else:
        store.write_violation(violation(99))  # at the limit for certain
        store.sync()
print(kept, store.dropped)
""",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    kept, dropped = done.stdout.rsplit(" ", 1)
    assert len(json.loads(kept)) >= 25
    whole = []
    for line in lines(tmp_path):
        try:
            whole.append(json.loads(line)["resourceSpans"][0]["scopeSpans"][0]["spans"][0])
        except ValueError:
            continue
    assert [int(it["spanId"], 16) for it in whole] == json.loads(kept)
    assert int(dropped) > 0


def test_an_io_error_is_counted_and_never_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(tmp_path)
    with monkeypatch.context() as broken:

        def fail(*_: object) -> int:
            raise OSError(5, "Input/output error")

        broken.setattr(os, "write", fail)
        broken.setattr("ws_audit.outputs.segments._flush", fail)
        assert store.write_violation(VIOLATION) is False
        store.sync()
        store.close()
    assert store.dropped == 1
    assert "Input/output error" in store.last_error
    assert store.write_violation(VIOLATION) is True


def test_a_removed_directory_comes_back(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    directory = tmp_path / "traces"
    store = open_store(directory)
    store.write_violation(numbered(1))
    (gone,) = segments(directory)
    gone.unlink()
    assert store.write_violation(numbered(2))
    assert numbers(directory) == [2]

    for path in directory.iterdir():
        path.unlink()
    directory.rmdir()
    assert store.write_violation(numbered(3))
    assert numbers(directory) == [3]

    directory.rename(tmp_path / "away")
    (tmp_path / "away").joinpath(segments(tmp_path / "away")[0].name).unlink()
    directory.write_text("a file now")
    assert store.write_violation(numbered(4)) is False
    assert "Not a directory" in store.last_error
    store.sync()
    directory.unlink()
    assert store.write_violation(numbered(5))
    assert numbers(directory) == [5]
    store.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_sync_waits_for_the_disk_without_stopping_a_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(tmp_path)
    store.write_violation(numbered(1))
    reached, release = threading.Event(), threading.Event()

    def slow(_: int) -> None:
        reached.set()
        release.wait(10)

    monkeypatch.setattr("ws_audit.outputs.segments._flush", slow)
    syncing = threading.Thread(target=store.sync)
    syncing.start()
    assert reached.wait(10)
    begun = time.monotonic()
    assert store.write_violation(numbered(2))
    assert time.monotonic() - begun < 5
    release.set()
    syncing.join()


def test_sync_asks_the_disk_only_for_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[int] = []
    monkeypatch.setattr("ws_audit.outputs.segments._flush", flushed.append)
    store = open_store(tmp_path)
    counts = []
    for write in (lambda: None, lambda: store.write_violation(VIOLATION), lambda: None):
        write()
        store.sync()
        counts.append(len(flushed))
    assert counts == [0, 1, 1]


# --- segments ------------------------------------------------------------------------------


def test_full_segments_are_left_for_the_next(tmp_path: Path) -> None:
    store = open_store(tmp_path, segment_bytes=5_000)
    for number in range(20):
        store.write_violation(numbered(number, 900))
        store.sync()
    assert len(segments(tmp_path)) >= 4
    assert all(path.stat().st_size < 7_000 for path in segments(tmp_path))
    assert numbers(tmp_path) == list(range(20))


def test_the_oldest_whole_segments_go_first(tmp_path: Path) -> None:
    store = open_store(tmp_path, segment_bytes=5_000, max_bytes=20_000)
    (tmp_path / "hash.key").write_text("k" * 64)
    (tmp_path / "notes.txt").write_text("not ours " * 10_000)
    for number in range(100):
        store.write_violation(numbered(number, 900))
        store.sync()
        assert sum(path.stat().st_size for path in segments(tmp_path)) < 27_000
    left = numbers(tmp_path)
    assert left == list(range(left[0], 100))
    assert len(left) > 5
    assert (tmp_path / "hash.key").exists()
    assert (tmp_path / "notes.txt").exists()


def test_old_segments_of_dead_processes_go(tmp_path: Path) -> None:
    old = tmp_path / "violations-host-1-1-1.jsonl"
    young = tmp_path / "violations-host-2-2-1.jsonl"
    for path, days in ((old, 31), (young, 29)):
        path.write_text("{}\n")
        then = time.time() - days * 86_400
        os.utime(path, (then, then))
    open_store(tmp_path).sync()
    assert not old.exists()
    assert young.exists()


NOW = 1_795_428_000.0


def closed(
    writer: str, number: int, age: float, size: int = 10, kind: str = "violations"
) -> Closed:
    return Closed(f"{kind}-{writer}-{number}.jsonl", kind, writer, number, size, NOW - age)


def names(chosen: list[Closed]) -> list[str]:
    return [it.name for it in chosen]


def test_what_a_live_process_writes_is_not_deleted_for_size() -> None:
    # Its violations have been silent for days, but its coverage is not.
    quiet = closed("a-1-1", 2, 5 * 86_400, 100)
    full = closed("a-1-1", 1, 4 * 86_400, 100)
    coverage = closed("a-1-1", 3, 30, 100, "coverage")
    chosen = expendable([quiet, full, coverage], set(), NOW, 0, 30 * 86_400)
    assert names(chosen) == [full.name]


def test_what_a_dead_process_left_is_deleted_for_size() -> None:
    left = [closed("a-1-1", 1, QUIET_SECONDS + it, 100) for it in (1, 3)]
    left += [closed("b-2-2", 1, QUIET_SECONDS + 2, 100, "coverage")]
    chosen = expendable(left, set(), NOW, 100, 30 * 86_400)
    assert [round(NOW - it.changed - QUIET_SECONDS) for it in chosen] == [3, 2]


def test_ours_are_never_deleted() -> None:
    ours = closed("a-1-1", 1, 40 * 86_400, 100)
    assert expendable([ours], {ours.name}, NOW, 0, 30 * 86_400) == []


def test_age_alone_suffices() -> None:
    left = [closed("a-1-1", 1, 31 * 86_400), closed("b-2-2", 1, 29 * 86_400)]
    assert names(expendable(left, set(), NOW, 10**9, 30 * 86_400)) == [left[0].name]


def test_a_process_thought_dead_loses_nothing_further(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.sync()
    store.write_violation(numbered(1))
    then = time.time() - 2 * QUIET_SECONDS  # its machine was suspended
    for path in tmp_path.iterdir():
        os.utime(path, (then, then))
    done = run("Store(directory, resource={}, max_bytes=0).sync()", tmp_path)
    assert done.returncode == 0, done.stderr
    assert spans(tmp_path) == []
    assert store.write_violation(numbered(2))
    assert numbers(tmp_path) == [2]


def test_close_leaves_no_empty_file_and_no_descriptor(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    store = open_store(tmp_path)
    store.sync()
    store.write_coverage(VIOLATION)
    store.close()
    store.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert [path.name.split("-")[0] for path in tmp_path.iterdir()] == ["coverage"]


# --- the directory and the key -------------------------------------------------------------


def test_a_file_in_the_directorys_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "traces"):
        with pytest.raises(StoreError) as caught:
            open_store(path)
        assert str(path) in str(caught.value)
        assert "a file is in its place" in str(caught.value)
        assert "WS_AUDIT_TRACE_DIR" in str(caught.value)


def test_a_directory_that_is_not_writable_is_named() -> None:
    # As nobody, in a directory nobody may only read: root may write anywhere.
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o555)
        done = run(
            """
if os.getuid() == 0: os.setuid(65534)
for path in (directory, directory + "/traces"):
    try: Store(path, resource={})
    except StoreError as error: print(error)
try: hash_key(directory)
except StoreError as error: print(error)
""",
            Path(name),
        )
        assert done.returncode == 0, done.stderr
        first, second, third = done.stdout.splitlines()
        assert f"{name}: not writable" in first
        assert f"{name}/traces: cannot be created: Permission denied" in second
        assert "not writable" in third
        assert all("WS_AUDIT_TRACE_DIR" in it for it in (first, second, third))


def test_the_key_is_made_once(tmp_path: Path) -> None:
    key = hash_key(tmp_path / "traces")
    assert len(bytes.fromhex(key.decode())) == 32
    assert hash_key(tmp_path / "traces") == key
    assert (tmp_path / "traces" / "hash.key").read_bytes().strip() == key
    assert hash_key(tmp_path / "other") != key


def test_processes_that_start_together_get_one_key(tmp_path: Path) -> None:
    text = "print(hash_key(directory).decode())"
    children = [
        subprocess.Popen(script(text, tmp_path / "traces"), stdout=subprocess.PIPE, text=True)
        for _ in range(12)
    ]
    keys = {child.communicate(timeout=60)[0].strip() for child in children}
    assert len(keys) == 1
    assert len(keys.pop()) == 64


def test_a_key_being_made_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "hash.key"
    path.touch()
    writer = threading.Timer(0.2, path.write_text, ["k" * 64])
    writer.start()
    assert hash_key(tmp_path) == b"k" * 64
    writer.join()


@pytest.mark.parametrize("content", ["", "  \n", "short"])
def test_a_key_that_keeps_no_secret_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "hash.key").write_text(content)
    with pytest.raises(StoreError, match=r"hash\.key: \d characters, expected at least 32"):
        hash_key(tmp_path)


def test_an_unreadable_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "hash.key").mkdir()
    with pytest.raises(StoreError, match=r"hash\.key: Is a directory"):
        hash_key(tmp_path)


def test_a_full_disk_leaves_no_half_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda *_: 3)
        with pytest.raises(StoreError, match="No space left"):
            hash_key(tmp_path)
    assert len(hash_key(tmp_path)) == 64
