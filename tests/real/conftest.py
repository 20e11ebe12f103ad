# SPDX-License-Identifier: Apache-2.0
"""Runs that several tests look at: made once, because each takes seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.real.world import Page, Received, Service, at_rest, drive, get, serve
from ws_audit.tools.demo_cast import Cast
from ws_audit.tools.demo_stage import HOST

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Run:
    """A finished run: both accounts."""

    received: Received
    metrics: Page  # after the last client had left
    review: dict[str, Any]
    service: Service


@pytest.fixture(scope="session")
def run_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Run]:
    """The example with a seeded defect ("" for none), ten users, five runs each."""
    made: dict[str, Run] = {}

    def make(defect: str) -> Run:
        if defect not in made:
            folder = tmp_path_factory.mktemp(defect or "clean")
            with serve(folder, Cast.of(10), defects=defect, app="collected:app") as service:
                # Frames of a defect that never come are waited for: no longer than this.
                received = drive(service, patience=1.0 if defect else 5.0)
                at_rest(service)
                get(f"http://{HOST}:{service.port}/collect")
                metrics = service.metrics()
                service.stop()
                made[defect] = Run(received, metrics, service.review(), service)
        return made[defect]

    return make
