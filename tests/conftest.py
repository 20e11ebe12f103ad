# SPDX-License-Identifier: Apache-2.0
"""How the tests are shared among processes: by file, and what a file has begun serves all of it.

A folder named here has begun something larger, which all its files look at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from xdist.scheduler import LoadScopeScheduling
    from xdist.workermanage import Producer

TOGETHER = ("tests/stack/",)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
        def _split_scope(self, nodeid: str) -> str:
            for folder in TOGETHER:
                if nodeid.startswith(folder):
                    return folder
            return nodeid.partition("::")[0]

    return ByFile(config, log)
