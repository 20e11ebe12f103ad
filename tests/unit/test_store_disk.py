# SPDX-License-Identifier: Apache-2.0
"""What the store promises of a line, whatever happens to the disk and the directory."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

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
from ws_audit.outputs.segments import QUIET_SECONDS, Closed, expendable
from ws_audit.outputs.store import StoreError, hash_key

if TYPE_CHECKING:
    from collections.abc import Iterator


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

    def fail(*_: object) -> int:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(os, "write", fail)
        broken.setattr("ws_audit.outputs.segments._flush", fail)
        assert store.write_violation(VIOLATION) is False
        assert store.sync() is True  # nothing was written that the disk could lack
    assert store.write_violation(VIOLATION) is True
    with monkeypatch.context() as broken:
        broken.setattr("ws_audit.outputs.segments._flush", fail)
        assert [store.sync(), store.sync()] == [False, False]
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
