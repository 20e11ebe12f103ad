# SPDX-License-Identifier: Apache-2.0
"""Metrics of several workers on one page: prometheus_client's multiprocess mode.

Why it exists: with `PROMETHEUS_MULTIPROC_DIR` set, each worker's values are in files there,
and any worker's page can show the sum. prometheus_client leaves it to the parent to call
`mark_process_dead` for a worker that is gone; uvicorn's supervisor does not, nor does gunicorn
unless told so, and the dead worker's heartbeat would be the oldest for ever. So the living
workers look after the dead.

It must never remove a file of a process that is alive, that it cannot tell to be dead, or
that was never audited.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, values
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric

DIRECTORY: Final = "PROMETHEUS_MULTIPROC_DIR"
PREFIX: Final = "ws_audit_"


def active() -> bool:
    """Whether values go to files: decided when prometheus_client was imported first."""
    return bool(getattr(values.ValueClass, "_multiprocess", False))


def directory() -> str:
    """Where the files are."""
    return os.environ.get(DIRECTORY) or os.environ.get(DIRECTORY.lower()) or ""


def page(first: Collector) -> CollectorRegistry:
    """What our endpoint serves: `first` (which brings this process up to date), then all."""
    registry = CollectorRegistry()
    registry.register(first)
    registry.register(Workers(directory()))
    return registry


class Workers(Collector):
    """Our metrics, summed over the workers as each gauge's mode says."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    def collect(self) -> Iterator[Metric]:
        dead = {path for path, _ in _of_the_dead(self._path)}
        # A worker that has just begun a file has not given it a length yet: it can't be read.
        files = [str(it) for it in self._path.glob("*.db") if it not in dead and _length(it)]
        merged = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
        for metric in merged:
            if metric.name.startswith(PREFIX):  # the application's own are on its own page
                yield metric


class Undertaker:
    """Removes the live gauges of workers that have been gone for a while."""

    # The parent may be about to call mark_process_dead itself, which fails on a missing file.
    GRACE: Final = 5.0

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._gone: dict[int, float] = {}  # pid: since when

    def tick(self) -> None:
        """Look once."""
        now = time.monotonic()
        found = list(_of_the_dead(self._path))
        self._gone = {pid: self._gone.get(pid, now) for _, pid in found}
        for path, pid in found:
            if now - self._gone[pid] >= self.GRACE and _audited(path):
                path.unlink(missing_ok=True)


def _of_the_dead(directory: Path) -> Iterator[tuple[Path, int]]:
    """Live gauges of processes that are gone.

    Files are named by pid unless the application numbers its workers itself: if none is named
    by ours, a number in their names says nothing about a process.
    """
    names = [(path, path.stem.rpartition("_")[2]) for path in directory.glob("gauge_live*_*.db")]
    found = [(path, int(pid)) for path, pid in names if pid.isdecimal()]
    if any(pid == os.getpid() for _, pid in found):
        yield from ((path, pid) for path, pid in found if not _alive(pid))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # somebody else's, or no pid at all
        return True
    return True


def _length(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _audited(path: Path) -> bool:
    try:
        return f'["{PREFIX}'.encode() in path.read_bytes()
    except OSError:
        return False
