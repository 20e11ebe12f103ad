# SPDX-License-Identifier: Apache-2.0
"""The wheel, built and installed once for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.startup.interpreters import Environment, build_wheel, create


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the built wheel."""
    directory = tmp_path_factory.mktemp("wheel")
    wheel = build_wheel(Path(__file__).parents[2], directory)
    create(directory / "venv", wheel)
    return directory / "venv"


@pytest.fixture
def app(installed: Path, tmp_path: Path) -> Environment:
    """That environment, and an empty directory for an application."""
    return Environment(installed, tmp_path)
