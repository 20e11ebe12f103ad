# SPDX-License-Identifier: Apache-2.0
"""A night's trace directory and its page, and one browser for all who look at it."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import pytest

from tests.requirements import missing, require_binary
from tests.review import scene, warehouse
from tests.review.browser import Browser
from ws_audit.review.segments import keep, read
from ws_audit.review.telling import story

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = scene.START + 25 * scene.MINUTE + 30 * scene.SECOND


def told(directory: Path, source: str = "") -> story.Story:
    """The story of a trace directory."""
    keeper = keep.Keeper()
    review = read.review(directory, NOW, None, keeper)
    return story.tell(review, keeper.all(), NOW, source or str(directory))


@pytest.fixture(scope="session")
def night(tmp_path_factory: pytest.TempPathFactory) -> story.Story:
    directory = tmp_path_factory.mktemp("night")
    scene.night(directory)
    return told(directory, "/var/lib/ws-audit")


@pytest.fixture(scope="session")
def _warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[warehouse.Server]:
    if importlib.util.find_spec("chdb") is None:
        missing("chDB (extra `chdb`)")
    with warehouse.started(tmp_path_factory.mktemp("rotel")) as server:
        yield server


@pytest.fixture
def server(_warehouse: warehouse.Server) -> warehouse.Server:
    """A ClickHouse with an empty table."""
    _warehouse.put("TRUNCATE TABLE otel_traces")
    return _warehouse


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    chromium = Browser(require_binary("chromium"), tmp_path_factory.mktemp("profile"))
    yield chromium
    chromium.close()
