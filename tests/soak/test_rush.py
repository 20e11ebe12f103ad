# SPDX-License-Identifier: Apache-2.0
"""A small crowd for each run of the tests; `make soak` lets the large one in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.soak.rush import rush

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.timeout(180)
def test_a_crowd_at_two_workers(tmp_path: Path) -> None:
    rush(tmp_path, seconds=20, connections=200, workers=2, seed=1)
