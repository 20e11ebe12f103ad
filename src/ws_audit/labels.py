# SPDX-License-Identifier: Apache-2.0
"""Label values under a bound: manager classes and event names.

Why it exists: one unbounded label has brought down more Prometheus servers than traffic
has. A manager is named by its class, the first fifty of them; an event by a name the
developers wrote, never by what a client sent.

It must never let a value in that did not come from code or settings.
"""

from __future__ import annotations

from .model import NONE, OTHER
from .naming import EVENTS
from .schema import MAX_MANAGERS


class Managers:
    """Class -> `module:qualname`, the first fifty in order of patching, then `other`."""

    def __init__(self) -> None:
        self.known: dict[str, None] = {}  # a set that keeps its order

    def label(self, cls: type) -> str:
        """The label of a class; it takes one of the fifty places if there is one left."""
        return self.name(f"{cls.__module__}:{cls.__qualname__}")

    def name(self, name: str) -> str:
        """The same for a name that stands in code."""
        if name in self.known:
            return name
        if len(self.known) >= MAX_MANAGERS:
            return OTHER
        self.known[name] = None
        return name


class Events:
    """Event names that may be labels: built in, declared, or constants of patched modules."""

    LIMIT = 20_000

    def __init__(self, declared: tuple[str, ...]) -> None:
        self._allowed = {*EVENTS, *declared}

    def allow(self, names: set[str]) -> None:
        """String constants of a patched module: the names its developers wrote."""
        if len(self._allowed) < self.LIMIT:
            self._allowed |= names

    def label(self, name: str) -> str:
        """The name itself if a developer wrote it, else `other`; `none` for an empty one."""
        if not name:
            return NONE
        return name if name in self._allowed else OTHER
