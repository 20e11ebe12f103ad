# SPDX-License-Identifier: Apache-2.0
"""The control file: the kill switch that needs no restart.

Why it exists: whoever has to stop the agent at night has a shell and no time. It holds one word;
missing or empty is on. It must never raise, and a word it does not know changes nothing.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Control:
    """What the file at `path` says; without a path it is always on."""

    def __init__(self, path: str, say: Callable[[str], None]) -> None:
        self.path = path
        self._say = say
        self._odd = False

    def allows(self) -> bool | None:
        """Whether the agent may act; None if that cannot be told, which is said once."""
        try:
            with open(self.path, encoding="utf-8", errors="replace") as file:
                word = file.read(64).strip().lower()
        except OSError:
            word = ""
        if word in ("", "on", "off"):
            self._odd = False
            return word != "off"
        if not self._odd:
            self._odd = True
            self._say(
                f"control file {self.path} says {word[:20]!r}, expected on or off;"
                " nothing is changed"
            )
        return None

    def state(self) -> tuple[int, ...]:
        """Something that differs after the file has been written again."""
        try:
            found = os.stat(self.path)
        except (OSError, ValueError):
            return ()
        return found.st_mtime_ns, found.st_ino, found.st_size

    def again(self) -> str:
        """How to switch on what the breaker has switched off."""
        how = f'write "on" into {self.path}' if self.path else "restart"
        return f"{how} or call ws_audit.enable()"
