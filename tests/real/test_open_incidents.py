# SPDX-License-Identifier: Apache-2.0
"""An incident stays open over restarts until a person acknowledges it, and everybody agrees.

A real server leaks and is killed; the next one on its trace directory has never seen a leak.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.real.receivers import webhook
from tests.real.test_killed import leak
from tests.real.world import SECOND, Service, eventually, get, leaks, nanoseconds, serve
from tests.unit.recorder import Recorder
from ws_audit.tools.demo_cast import Cast
from ws_audit.tools.demo_stage import HOST, environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WITHIN = 10.0  # seconds: "a few", on a machine with other things to do
OPEN = "ws_audit_open_incidents"
LAST = "ws_audit_last_violation_timestamp_seconds"


def ack(store: Path, incident: str, note: str = "seen") -> subprocess.CompletedProcess[str]:
    """`ws-audit review ack`, with the directory from the environment as the service has it."""
    words = ["review", "ack", incident, "--by", "Ada Example", "--note", note]
    return subprocess.run(
        [sys.executable, "-m", "ws_audit", *words],
        env=environment() | {"WS_AUDIT_TRACE_DIR": str(store)},
        cwd=store.parent,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def is_open(service: Service, number: int) -> float:
    """How long it took until the service said so; fails if it never does."""
    begun = time.monotonic()
    eventually(f"{number} open", WITHIN, lambda: service.metrics().total(OPEN) == number)
    return time.monotonic() - begun


def test_open_until_acknowledged_over_kill_and_restart(tmp_path: Path) -> None:
    store, cast = tmp_path / "trace", Cast.of(2)
    with serve(tmp_path / "1", cast, defects="last_socket", store=store) as service:
        assert service.metrics().total(OPEN) == 0
        with leak(service):
            is_open(service, 1)
            service.kill()
        (first,) = leaks(service.review())

    with (
        webhook() as hook,
        serve(
            tmp_path / "2", cast, defects="last_socket", config=hook.config, store=store
        ) as service,
    ):
        print(f"open again {is_open(service, 1):.2f} s after the start")
        labels = {"rule": first["rule"], "severity": first["severity"], "synthetic": "false"}
        (restored,) = service.metrics().series(LAST, **labels).values()
        assert restored == pytest.approx(nanoseconds(first["last_seen"]) / SECOND, abs=0.001)
        assert service.metrics().total("ws_audit_violations_total") == 0  # this one found none
        assert [line for line in service.said().splitlines() if "1 incident open" in line]
        # What the killed process had no webhook for is sent now, as it is in the store.
        eventually("the webhook has it", 5, lambda: hook.bodies)
        assert hook.incidents[0]["id"] == first["id"]

        done = ack(store, first["id"])
        assert done.returncode == 0, done.stderr
        assert "acknowledged: none" in done.stdout
        assert f"{store} (environment variable WS_AUDIT_TRACE_DIR)" in done.stderr
        print(f"closed {is_open(service, 0):.2f} s after the acknowledgement")

        with leak(service):
            is_open(service, 1)
        second = f"{first['id']}-2"
        eventually("the webhook has the next", 5, lambda: len(hook.bodies) >= 2)
        assert [it["id"] for it in hook.incidents] == [first["id"], second]
        assert [it["incident"]["id"] for it in service.alarms()] == [second]
        assert hook.incidents[1]["acknowledged"] is False
        assert hook.incidents[1]["attempted"] == 1
        found = {it["id"]: it["acknowledged"] for it in leaks(service.review())}
        assert found == {first["id"]: True, second: False}
        service.kill()

    # A third one: the store and the journal say the same as the processes that saw it happen.
    with serve(tmp_path / "3", cast, store=store) as service:
        is_open(service, 1)
        assert ack(store, second).returncode == 0
        is_open(service, 0)
        assert service.stop() == -15
        assert all(it["acknowledged"] for it in leaks(service.review()))


def test_a_leak_goes_on_in_the_incident_that_was_restored(tmp_path: Path) -> None:
    store, cast = tmp_path / "trace", Cast.of(2)
    with (
        serve(tmp_path / "1", cast, defects="last_socket", store=store) as service,
        leak(service),
    ):
        service.kill()
    with serve(tmp_path / "2", cast, defects="last_socket", store=store) as service:
        is_open(service, 1)
        with leak(service):
            pass
        time.sleep(2.5)  # and has looked at the directory once more, its own lines among it
        (alarm,) = service.alarms()
        (incident,) = leaks(service.review())
        assert service.metrics().total(OPEN) == 1
    assert alarm["incident"]["id"] == incident["id"]
    assert alarm["incident"]["attempted"] == incident["attempted"] == 2
    assert alarm["incident"]["first_seen"] == incident["first_seen"]


def test_a_large_store_is_read_while_the_server_serves(tmp_path: Path) -> None:
    """Requests are not held up: their times while it is read are as those after."""
    store, cast = tmp_path / "trace", Cast.of(2)
    size = fill(store, STORE_BYTES)
    with serve(tmp_path / "1", cast, store=store) as service:
        begun = time.monotonic()
        url = f"http://{HOST}:{service.port}/health"
        meanwhile = [took(url) for _ in range(200)]
        assert service.metrics().total(OPEN) == 0  # it is still being read
        while service.metrics().total(OPEN) != PLACES:
            assert time.monotonic() - begun < 90 + size / STORE_BYTES
            meanwhile += [took(url) for _ in range(50)]
        seconds = time.monotonic() - begun
        after = [took(url) for _ in range(400)]
        cpu = service.metrics().series("ws_audit_agent_cpu_seconds_total", stage="recall")
    print(
        f"{size >> 20} MiB read in {seconds:.1f} s and {sum(cpu.values()):.1f} s of CPU time; a"
        f" request took {median(meanwhile) * 1000:.2f} ms meanwhile, {median(after) * 1000:.2f} ms"
        f" after; the slowest twentieth {slow(meanwhile) * 1000:.2f}, {slow(after) * 1000:.2f} ms"
    )
    assert median(meanwhile) < 4 * median(after) + 0.002
    assert slow(meanwhile) < 6 * slow(after) + 0.01


STORE_BYTES = int(os.environ.get("STORE_MIB", "48")) << 20
PLACES = 20


def fill(store: Path, size: int) -> int:
    """A store of that many bytes, one process's, by repeating what an agent wrote."""
    recorder = Recorder(store, segment_bytes=1 << 30)
    more = {
        f"ws_audit__evidence__{kind}__{field}": "0123456789abcdef" * 2
        for kind in ("connection", "argument", "payload")
        for field in ("hash", "at", "source", "strength")
    }
    for number in range(400):
        place = f"app.ws:Hub.push{number % PLACES}:42"
        recorder.leak(at=number, ws_audit__site=place, user__hash=f"{number % 300:032x}", **more)
        recorder.neighbour()
    recorder.store.close()
    (path,) = store.glob("violations-*.jsonl")
    once = path.read_bytes()
    with path.open("ab") as file:
        for _ in range(size // len(once)):
            file.write(once)
    return path.stat().st_size


def took(url: str) -> float:
    begun = time.perf_counter()
    get(url)
    return time.perf_counter() - begun


def median(times: list[float]) -> float:
    return sorted(times)[len(times) // 2]


def slow(times: list[float]) -> float:
    return sorted(times)[len(times) * 95 // 100]


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """A directory on a disk of its own that has hardly any room."""
    directory = tmp_path / "small"
    directory.mkdir()
    mounted = (
        shutil.which("mount")
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(directory)],
            capture_output=True,
            check=False,
        ).returncode
    )
    if not mounted:
        pytest.skip("no disk of one's own can be mounted here")
    yield directory
    subprocess.run(["umount", "-l", str(directory)], check=False)


def no_room(directory: Path) -> None:
    descriptor = os.open(directory / "rest", os.O_WRONLY | os.O_CREAT)
    with contextlib.suppress(OSError):
        while True:
            os.write(descriptor, b"x" * 4096)
    os.close(descriptor)


def test_on_a_full_disk_the_application_goes_on(full: Path, tmp_path: Path) -> None:
    """What is there is read, what cannot be kept is said once, and nothing is closed by halves."""
    Recorder(full).leak(service__name="elsewhere")
    no_room(full)
    with serve(tmp_path, Cast.of(2), defects="last_socket", store=full) as service:
        is_open(service, 1)
        with leak(service):
            is_open(service, 2)
        time.sleep(2.5)
        assert len([it for it in service.said().splitlines() if "the store cannot" in it]) == 1
        assert service.metrics().troubles()["errors"] == {}
        assert len(service.alarms()) == 1
        (incident,) = leaks(service.review())  # the other's; ours was not kept
        done = ack(full, incident["id"])
        assert (done.returncode, done.stdout) == (2, "")
        assert "No space left on device; nothing is closed" in done.stderr
        assert service.metrics().total(OPEN) == 2
        (full / "rest").unlink()
        assert ack(full, incident["id"]).returncode == 0
        is_open(service, 1)
