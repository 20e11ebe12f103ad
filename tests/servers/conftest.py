# SPDX-License-Identifier: Apache-2.0
"""The wheel, built and installed once for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

# These assert, and are no test modules: without this a failure says nothing of what it saw.
pytest.register_assert_rewrite("tests.servers.stage", "tests.real.world")

from tests.servers.stage import Stage  # noqa: E402
from tests.startup.interpreters import build_wheel, create  # noqa: E402


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the built wheel."""
    directory = tmp_path_factory.mktemp("wheel")
    create(directory / "venv", build_wheel(Path(__file__).parents[2], directory))
    return directory / "venv"


@pytest.fixture
def stage(installed: Path, tmp_path: Path) -> Stage:
    """That environment, and a directory with the application."""
    return Stage(installed, tmp_path)
