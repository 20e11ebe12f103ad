# SPDX-License-Identifier: Apache-2.0
"""By which names each manager class can be imported, and files loaded as two modules.

Why it exists: a class that can be had in fifteen places is replaced in fourteen of them. What a
name leads to is asked of the objects: text cannot tell an alias from a second class.

It must never run application code: of modules their dictionary is read, as it lies there, so
that no lazy name is loaded; and no longer at a time than a slice.
"""

from __future__ import annotations

import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

# Past what a lazy module makes of a look.
_names_of: Final[Any] = ModuleType.__dict__["__dict__"].__get__  # type: ignore[index]
_OURS: Final = "ws_audit"
PATHS: Final = 200  # of one class
_NAMES: Final = 512  # looked at between two looks at the clock


class Paths:
    """What the last walk over all modules found."""

    def __init__(self) -> None:
        self.by_class: dict[int, list[str]] = {}
        self.twice: dict[str, list[str]] = {}  # file -> the modules it was loaded as
        self.walked = -1  # how many modules there were

    def walk(self, classes: dict[int, str]) -> Iterator[None]:
        """Look through all modules for classes, given as their id and the file they are from."""
        self.walked = len(sys.modules)
        found: dict[int, list[str]] = {key: [] for key in classes}
        files: dict[str, dict[str, int]] = {}
        wanted = {os.path.basename(file) for file in classes.values() if file}
        looked = 0
        for name, module in list(sys.modules.items()):
            if type(name) is not str or name.partition(".")[0] == _OURS:
                continue
            if not issubclass(type(module), ModuleType):
                continue
            names: dict[str, Any] = _names_of(module)
            for key, value in list(names.items()):
                paths = found.get(id(value))
                if paths is not None and type(key) is str and len(paths) < PATHS:
                    paths.append(f"{name}.{key}")
            file = names.get("__file__")
            if type(file) is str and os.path.basename(file) in wanted:
                files.setdefault(os.path.realpath(file), {})[name] = id(module)
            looked += len(names)
            if looked > _NAMES:
                looked = 0
                yield
        self.by_class = {key: sorted(paths) for key, paths in found.items()}
        self.twice = {
            file: sorted(names)
            for file, names in sorted(files.items())
            if len(set(names.values())) > 1
        }
