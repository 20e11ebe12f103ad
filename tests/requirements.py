# SPDX-License-Identifier: Apache-2.0
"""What a test needs from the machine: there, or the test says that it did not run.

Why it exists: a skip is honest on a laptop and a hole in CI. With WS_AUDIT_TEST_REQUIRE_ALL=1 what
is missing fails instead.
"""

from __future__ import annotations

import os
import shutil
import sysconfig
from pathlib import Path
from typing import NoReturn

import pytest

REQUIRE_ALL = os.environ.get("WS_AUDIT_TEST_REQUIRE_ALL") == "1"


# What other people's dashboards, rules and tools are built on, as it was published.
CONTRACT = Path(__file__).parent / "contract"


def missing(what: str) -> NoReturn:
    """Skip the running test because `what` is not there; fail it where all must be there."""
    if REQUIRE_ALL:
        pytest.fail(f"{what} is missing, and WS_AUDIT_TEST_REQUIRE_ALL=1 allows no skip")
    pytest.skip(f"{what} is missing")


def require_binary(name: str) -> Path:
    """The path of the program `name`: from this environment, else from PATH."""
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)])
    found = shutil.which(name, path=path)
    if found is None:
        missing(f"the program {name}")
    return Path(found)
