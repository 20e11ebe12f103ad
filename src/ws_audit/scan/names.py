# SPDX-License-Identifier: Apache-2.0
"""Under which dotted name each file is imported.

Why it exists: `backend/app/hub.py` is `app.hub` in one project and `backend.app.hub` in the next,
and nothing but what the files import tells which.

It must never give two files one name without saying so.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

_UP: Final = 8  # directories above the scanned one


class Named(NamedTuple):
    """Dotted name -> path, and what is to be said."""

    modules: dict[str, str]
    problems: list[str]


def name_all(root: str, paths: Iterable[str], imported: Iterable[str]) -> Named:
    """Name the files at `paths` (relative to `root`); `imported` are absolute modules' names."""
    paths = sorted(paths)
    packages = {path.rpartition("/")[0] for path in paths if path.endswith("__init__.py")}
    pairs: set[tuple[str, str]] = set()
    firsts: set[str] = set()
    for name in imported:
        first, _, rest = name.partition(".")
        firsts.add(first)
        pairs.add((first, rest.partition(".")[0]))
    below: dict[str, set[str]] = {"": set()}
    for path in paths:
        parts = path.removesuffix(".py").split("/")
        for depth in range(len(parts)):
            below.setdefault("/".join(parts[:depth]), set()).add(parts[depth])

    above = _above(root, below[""], pairs)
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
                as_package = any((own, child) in pairs for child in children)
                at_root = depth == parent.count("/") + bool(parent)
                if at_root and not as_package and children & firsts:
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


def _above(root: str, children: set[str], pairs: set[tuple[str, str]]) -> tuple[str, ...]:
    """The names of directories at and above the root that are part of its modules' names."""
    names: list[str] = []
    directory = root
    for _ in range(_UP):
        own = os.path.basename(directory)
        package = os.path.isfile(os.path.join(directory, "__init__.py"))
        if not (package or any((own, child) in pairs for child in children)) or not own:
            break
        names.insert(0, own)
        children = {own}
        directory = os.path.dirname(directory)
    return tuple(names)
