# SPDX-License-Identifier: Apache-2.0
"""The inventory of this process: an output of the drain, worked out when there is time.

Why it exists: fragmentation is invisible from inside one file. Which classes do the same duty,
by how many names each is reached, whether factories agree and who makes instances past them are
facts of the running process, and the same facts of its neighbours.

It must never be on the call path, take longer than a slice at a time (one function's code is the
smallest piece), grow with traffic, or keep a class alive.
"""

from __future__ import annotations

import sys
import time
import weakref
from itertools import islice
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from ws_audit.model import CREATE
from ws_audit.process.forks import Undivided
from ws_audit.process.modules import name_of
from ws_audit.schema import MAX_PAIRS

from .fingerprint import Fingerprint
from .implementations import (
    DUTIES,
    FACTORY,
    Implementation,
    duty,
    kinds_of,
    signatures,
)
from .paths import Paths
from .told import told
from .traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from ws_audit.hooks.install import Installer
    from ws_audit.labels import Managers
    from ws_audit.tally import Counts, Tally

    from .living import Living

SLICE_NS: Final = 200_000
_AGAIN_NS: Final = 5_000_000_000  # names are bound, and classes made, after the first look
_SELDOM_NS: Final = 60_000_000_000  # when there was nothing new
_LAST_NS: Final = 300_000_000
CLASSES: Final = 500
_LOCAL: Final = 3  # classes of one name made in a function that are looked at


class Figures:
    """What the metrics show; replaced as a whole."""

    def __init__(
        self,
        duties: dict[str, int],
        infos: tuple[tuple[str, str, str], ...],
        paths: dict[str, int],
    ) -> None:
        self.duties = duties
        self.infos = infos  # (manager, module, fingerprint)
        self.paths = paths


class Inventory:
    """Everything known of implementations, ways to them, factories and instances."""

    def __init__(
        self,
        installer: Callable[[], Installer],
        managers: Managers,
        tally: Tally,
        living: Living,
        ours: Collection[str],
    ) -> None:
        """`ours` are the files of wrappers that the agent has put around methods."""
        self._installer = installer
        self._managers = managers
        self._tally = tally
        self._living = living
        self._ours = ours
        self.traffic = Traffic()
        self._paths = Paths()
        self._known: dict[int, tuple[Any, Implementation]] = {}  # id -> (weak reference, what)
        self._left = 0  # classes past the bound
        self._work: Iterator[None] | None = None
        self._one_at_it = Undivided()
        self._next_ns = 0
        self._pause_ns = _AGAIN_NS
        self._seen = (-1, -1)  # how many classes and modules there were
        self.complete = False

    # -- an output of the drain -----------------------------------------------------------------

    def fold(self, record: Any) -> None:
        """Who delivers what, and who makes instances."""
        self.traffic.fold(record)

    def tick(self, now_ns: int) -> None:
        """Nothing: see `step`."""

    def forget(self) -> None:
        """In a forked child: the same classes, none of the traffic, and nobody in the middle."""
        self.traffic.forget()
        self._work = None
        self._next_ns = 0

    # -- looking --------------------------------------------------------------------------------

    def step(self) -> bool:
        """A slice of looking at classes and modules; whether there is more."""
        if self._work is None and time.monotonic_ns() < self._next_ns:
            return False
        return self._read(SLICE_NS)

    def finish(self) -> None:
        """At the end of the process: what is left, for a moment."""
        if not self.complete:
            self._read(_LAST_NS)

    def _read(self, budget_ns: int) -> bool:
        with self._one_at_it:
            begun = time.perf_counter_ns()
            if self._work is None:
                self._work = self._look()
            for _ in self._work:
                if time.perf_counter_ns() - begun > budget_ns:
                    return True
            self._work = None
            seen = len(self._installer()), len(sys.modules)
            new, self._seen = seen != self._seen, seen
            self._pause_ns = _AGAIN_NS if new else min(2 * self._pause_ns, _SELDOM_NS)
            self._next_ns = time.monotonic_ns() + self._pause_ns
            self.complete = True
            return False

    def _look(self) -> Iterator[None]:
        """All classes that were taken, then all modules."""
        installer = self._installer()
        names: dict[str, int] = {}
        self._left = max(0, len(installer) - CLASSES)
        for cls in list(islice(installer, CLASSES)):
            known = self._known.get(id(cls))
            if known is not None and known[0]() is cls:
                continue
            local = "<locals>" in cls.__qualname__
            name = f"{cls.__module__}:{cls.__qualname__}"
            names[name] = names.get(name, 0) + 1
            if local and names[name] > _LOCAL:
                continue
            yield from self._add(cls, name, installer)
        yield from self._living.count()
        yield from self._paths.walk({key: one.file for key, one in self._implementations()})

    def _add(self, cls: type, name: str, installer: Installer) -> Iterator[None]:
        targets = {
            id(base): installer.target(base)
            for base in type.__dict__["__mro__"].__get__(cls)
            if base in installer
        }
        what = duty(kinds_of(cls, targets))
        own = targets[id(cls)].methods if id(cls) in targets else ()
        if not what or all(method.kind == CREATE for method in own):
            return  # it delivers nothing, or nothing that its base does not
        work = Fingerprint(cls, lambda code: code.co_filename in self._ours)
        while work.step():
            yield
        module, file = _home(cls)
        found = Implementation(name, module, file, what, work.text(), signatures(cls))
        key = id(cls)
        known = self._known

        def gone(_: object) -> None:
            # Runs inside the garbage collector: only atomic steps, and nobody to raise to.
            try:
                known.pop(key, None)
            except Exception:
                pass

        known[key] = (weakref.ref(cls, gone), found)

    def _implementations(self) -> list[tuple[int, Implementation]]:
        return [
            (key, found) for key, (ref, found) in list(self._known.items()) if ref() is not None
        ]

    # -- telling --------------------------------------------------------------------------------

    def figures(self) -> Figures:
        """For the metrics."""
        found = self._implementations()
        counts = self._tally.total()
        duties: dict[str, int] = dict.fromkeys(DUTIES, 0)
        for what, _ in {(one.duty, (one.name, one.fingerprint)) for _, one in found}:
            duties[what] += 1
        duties[FACTORY] = len(self._factories(counts))
        known = self._managers.known
        infos = {(one.name, one.module, one.fingerprint): None for _, one in found}
        paths: dict[str, int] = {}
        for key, one in found:
            if one.name in known:
                reached = len(self._paths.by_class.get(key, ()))
                paths[one.name] = paths.get(one.name, 0) + reached
        return Figures(
            duties,
            tuple(info for info in infos if info[0] in known)[:MAX_PAIRS],
            paths if self.complete else {},
        )

    def _factories(self, counts: Counts) -> dict[str, dict[str, dict[str, int]]]:
        """Factory -> product -> how it came -> how often; of those that handed out a manager."""
        found: dict[str, dict[str, dict[str, int]]] = {}
        for key, amount in counts.items():
            if key[0] == "product":
                _, factory, product, how = key
                ways = found.setdefault(factory, {}).setdefault(product, {"made": 0, "reused": 0})
                ways[how] += amount
        known = self._managers.known
        return {name: made for name, made in found.items() if any(one in known for one in made)}

    def document(self) -> dict[str, Any]:
        """For the store: see `ws-audit check --list`."""
        counts = self._tally.total()
        found = self._implementations()
        return {
            "complete": self.complete,
            "left_out": self._left,
            **told(
                [(one, self._paths.by_class.get(key, [])) for key, one in found],
                self._factories(counts),
                self.traffic,
                self._living,
                counts,
            ),
            "loaded_twice": [
                {"file": "/".join(file.split("/")[-2:]), "modules": modules}
                for file, modules in list(self._paths.twice.items())[:100]
            ],
        }


def _home(cls: type) -> tuple[str, str]:
    """A class's module as settings call it, and the file it comes from, if it is there."""
    module = sys.modules.get(cls.__module__)
    if type(module) is not ModuleType:
        return cls.__module__, ""
    file = vars(module).get("__file__")
    return name_of(module), file if type(file) is str else ""
