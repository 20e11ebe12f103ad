# SPDX-License-Identifier: Apache-2.0
"""Under which dotted name each file is imported.

Why it exists: `backend/app/hub.py` is `app.hub` in one project and `backend.app.hub` in the next,
and nothing but what the files import tells which.

It must never give two files one name without saying so.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

_UP: Final = 8  # directories above the scanned one


class Named(NamedTuple):
    """Dotted name -> path, and what is to be said."""

    modules: dict[str, str]
    problems: list[str]


def name_all(root: str, paths: Iterable[str], imported: Iterable[str]) -> Named:
    """Name the files at `paths`, relative to `root`.

    `imported` are the names of absolute modules, each as often as it is imported.
    """
    paths = sorted(paths)
    packages = {path.rpartition("/")[0] for path in paths if path.endswith("__init__.py")}
    votes = _Votes(imported)
    below: dict[str, set[str]] = {"": set()}
    for path in paths:
        parts = path.removesuffix(".py").split("/")
        for depth in range(len(parts)):
            below.setdefault("/".join(parts[:depth]), set()).add(parts[depth])

    above = _above(root, below[""], votes)
    begins: dict[str, int] = {}

    def begin(directory: str) -> int:
        """How many of a directory's names stand before its modules' dotted names."""
        if not directory:
            return 0
        if directory not in begins:
            parent, _, own = directory.rpartition("/")
            depth = begin(parent)
            if directory not in packages and parent not in packages and not above:
                children = below[directory]
                at_root = depth == parent.count("/") + bool(parent)
                if at_root and votes.alone(children) > votes.inside(own, children):
                    depth += 1
            begins[directory] = depth
        return begins[directory]

    named = Named({}, [])
    for path in paths:
        directory = path.rpartition("/")[0]
        parts = path.removesuffix(".py").split("/")[begin(directory) :]
        if parts[-1] == "__init__" and len(above) + len(parts) > 1:
            parts.pop()
        name = ".".join((*above, *parts))
        if name in named.modules:
            named.problems.append(
                f"{path}: a second copy of module {name}, which is {named.modules[name]}; skipped"
            )
            continue
        named.modules[name] = path
    return named


class _Votes:
    """How many imports begin with a name, and with two."""

    def __init__(self, imported: Iterable[str]) -> None:
        self._firsts: Counter[str] = Counter()
        self._pairs: Counter[tuple[str, str]] = Counter()
        for name in imported:
            first, _, rest = name.partition(".")
            self._firsts[first] += 1
            self._pairs[first, rest.partition(".")[0]] += 1

    def alone(self, children: set[str]) -> int:
        """For a directory's modules being imported by their own names."""
        return sum(self._firsts[one] for one in children)

    def inside(self, own: str, children: set[str]) -> int:
        """For their being imported as parts of the directory."""
        return sum(self._pairs[own, one] for one in children)


def _above(root: str, children: set[str], votes: _Votes) -> tuple[str, ...]:
    """The names of directories at and above the root that are part of its modules' names."""
    names: list[str] = []
    directory = root
    for _ in range(_UP):
        own = os.path.basename(directory)
        package = os.path.isfile(os.path.join(directory, "__init__.py"))
        inside = votes.inside(own, children)
        if not own or not (package or (inside and inside >= votes.alone(children))):
            break
        names.insert(0, own)
        children = {own}
        directory = os.path.dirname(directory)
    return tuple(names)
