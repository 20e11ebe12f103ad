# SPDX-License-Identifier: Apache-2.0
"""Proves, when a server takes the application, that imports from now on are seen.

Why it exists: another import hook may answer in our place or throw us off `sys.meta_path`,
silently; armed, silent and blind is the failure to design against.

It must never move the finder at any other time: that would break those who insert a hook of
theirs, import, and take it out again.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ws_audit import bootstrap

if TYPE_CHECKING:
    from collections.abc import Callable


class Proof:
    """Whether the import hook works; `works` is None until it has been tried."""

    def __init__(self, say: Callable[[str], None], failed: Callable[[Exception], None]) -> None:
        self.works: bool | None = None
        self._say = say
        self._failed = failed
        self._told: set[bool] = set()

    def prove(self) -> None:
        """See to it that our finder is there and first, and that imports are seen."""
        place = bootstrap.place()
        if place == 0 and self.works:
            return
        worked, rival = self._tried(), _rival()
        if place != 0:
            bootstrap.install()
            self.works = worked or self._tried()
        else:
            self.works = worked
        if worked or self.works in self._told:
            return
        self._told.add(self.works)
        if self.works:
            what = f"{rival} stood in the way" if place > 0 else "taken off sys.meta_path"
            self._say(
                f"imports were not seen for a while ({what}) and are again; classes imported"
                " meanwhile are hooked now, what they did before is missing"
            )
        else:
            self._say(
                f"imports are not seen: {rival} stands in the way; manager classes imported from"
                " now on are not hooked, those imported before are. Import them before the server"
                " starts, or do without that import hook"
            )

    def _tried(self) -> bool:
        try:
            return bootstrap.sees()
        except Exception as fault:  # somebody's hook fails for our module: blind all the same
            self._failed(fault)
            return False


def _rival() -> str:
    """Who answers imports before us, for people."""
    for finder in sys.meta_path:
        kind = finder if isinstance(finder, type) else type(finder)
        if kind is not bootstrap.Finder:
            return f"{kind.__module__}.{kind.__qualname__}"
    return "another import hook"
