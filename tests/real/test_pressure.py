# SPDX-License-Identifier: Apache-2.0
"""A ring that is full: records are dropped and counted, and what counts stays exact."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.real.world import at_rest, claimed, drive, eventually, serve
from ws_audit.drain import Drain
from ws_audit.tally import Tally
from ws_audit.tools.demo_cast import Cast

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("defect", ["", "fanout_bug"])
def test_double_entry_holds_when_records_are_dropped(tmp_path: Path, defect: str) -> None:
    with serve(tmp_path, Cast.of(20), app="pressed:app", defects=defect) as service:
        received = drive(service, runs=3, patience=1 if defect else 10)
        page = at_rest(service)
        service.stop()
        review = service.review()
    frames = received.result["frames"]
    leaked = sum(received.pairs().values())
    dropped = page.by("ws_audit_records_dropped_total", "stage")
    print(f"{frames} frames, {leaked} leaked, {dropped['ring']} records dropped")

    assert received.result["errors"] == []
    assert dropped.keys() == {"ring"}
    # Most of what was recorded is gone ...
    assert dropped["ring"] > frames / 4
    assert review["coverage"]["dropped"] == dropped["ring"]
    timed = page.total("ws_audit_send_duration_seconds_count")
    sent = page.by("ws_audit_events_sent_total", "outcome")
    assert timed < sent["ok"]
    # ... and yet every frame has its verdict, every event its outcome, every leak its evidence.
    assert page.balanced() == frames
    verdicts = page.by("ws_audit_verdicts_total", "verdict")
    assert verdicts == {"match": frames - leaked} | ({"violation": leaked} if leaked else {})
    assert sent == {"ok": 20 * 3 * 5}
    assert bool(leaked) == bool(defect)
    assert claimed(review) == received.pairs()
    assert review["coverage"]["frames"] == review["coverage"]["judged"] == frames
    assert page.by("ws_audit_internal_errors_total", "stage") == {}


class Slow:
    """An output that takes longer than a slice for each record."""

    folded = 0

    def fold(self, record: object) -> None:
        time.sleep(Drain.SLICE_NS / 1e9)
        self.folded += 1

    def tick(self, now_ns: int) -> None:
        """Nothing periodic."""


def test_a_scrape_does_not_wait_for_the_pauses_of_the_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may run on the application's event loop: what it waits for, every user waits for."""
    monkeypatch.setattr(Drain, "PAUSE", 0.1)
    slow = Slow()
    drain = Drain(Tally(), lambda stage, fault: pytest.fail(f"{stage}: {fault}"))
    drain.outputs([slow])
    for number in range(300):  # half a minute at the worker's pace, a tenth of a second without
        drain.hold(number)
    drain.start()
    eventually("the worker has begun", 5, lambda: slow.folded)
    begun = time.monotonic()
    drain.fold()
    took = time.monotonic() - begun
    drain.stop()

    assert slow.folded == 300
    assert took < 10
