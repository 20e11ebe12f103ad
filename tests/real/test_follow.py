# SPDX-License-Identifier: Apache-2.0
"""`ws-audit review --follow` beside a server that leaks: what it tells while it happens.

Two of them run as processes of their own from before the first record until after the last.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.real.test_killed import leak
from tests.real.test_open_incidents import ack
from tests.real.world import SECOND, eventually, hears, leaks, nanoseconds, serve
from ws_audit.tools.demo_cast import Cast
from ws_audit.tools.demo_stage import environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WITHIN = 10.0  # seconds: two looks and a little, on a machine with other things to do


class Follower:
    """A review that goes on, and what it has said so far."""

    def __init__(self, folder: Path, name: str, *words: str) -> None:
        self._out, self._err = folder / f"{name}.out", folder / f"{name}.err"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ws_audit", "review", *words, "--follow"],
                env=environment(),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                preexec_fn=hears,  # noqa: PLW1509  (nothing but a system call)
            )

    @property
    def said(self) -> str:
        return self._out.read_text()

    @property
    def wrong(self) -> str:
        return self._err.read_text()

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(10)


@contextlib.contextmanager
def following(folder: Path, name: str, *words: str) -> Iterator[Follower]:
    follower = Follower(folder, name, *words)
    try:
        yield follower
    finally:
        if follower.process.poll() is None:
            follower.process.kill()
            follower.process.wait()


def test_a_leak_is_told_while_it_goes_on(tmp_path: Path) -> None:
    store, cast = tmp_path / "trace", Cast.of(2)
    store.mkdir()
    with (
        following(tmp_path, "text", str(store)) as text,
        following(tmp_path, "json", str(store), "--format=json", "--severity=probable") as lines,
    ):
        eventually("it has looked", WITHIN, lambda: text.said and lines.wrong)
        assert text.said.startswith("NOTHING RECORDED HERE")
        assert "ONLY severity probable or worse (0 of 0 incidents)" in lines.wrong
        with serve(tmp_path / "1", cast, defects="last_socket", store=store) as service:
            with leak(service) as victim:
                eventually("it is told", WITHIN, lambda: " NEW " in text.said)
                eventually("also as JSON", WITHIN, lambda: lines.said)
            (first,) = leaks(service.review())
            assert f"NEW  [incident {first['id']}] {first['rule']} " in text.said
            told = json.loads(lines.said)
            assert told == first
            assert abs(nanoseconds(told["last_seen"]) - victim.came_ns) < SECOND

            assert ack(store, first["id"]).returncode == 0
            eventually("that it is closed", WITHIN, lambda: " ACK " in text.said)
            assert "by Ada Example: seen" in text.said
            with leak(service):
                second = f"NEW  [incident {first['id']}-2]"
                eventually("the next one", WITHIN, lambda: second in text.said)
            assert service.stop() == -15

            # Interrupted, each ends as a review of this moment would.
            codes = text.interrupt(), lines.interrupt()
            assert codes == (1, 1), (text.wrong, lines.wrong)
            latest = {it["id"]: it for it in map(json.loads, lines.said.splitlines())}
            assert sorted(latest) == sorted(it["id"] for it in leaks(service.review()))
            assert list(latest.values()) == sorted(
                leaks(service.review()), key=lambda it: it["first_seen"]
            )
    assert text.wrong == ""
    assert "Traceback" not in text.said + lines.wrong

    with following(tmp_path, "gone", str(store), f"--incident={first['id']}") as late:
        eventually("it has looked", WITHIN, lambda: "To close" in late.said or late.said)
        assert late.said.startswith(f"ONLY incident {first['id']} (1 of 2 incidents)\nNOTHING OPEN")
        shutil.rmtree(store)
        assert late.process.wait(10) == 2
        assert late.wrong == f"ws-audit review: {store}: No such file or directory, but was there\n"
