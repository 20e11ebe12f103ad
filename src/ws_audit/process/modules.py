# SPDX-License-Identifier: Apache-2.0
"""What a module is called, and whether it is the application's or an installed library's.

Why it exists: a script's module is called `__main__`, and settings name what it is a file of.

It must never touch more of a module than its spec and file.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ws_audit import bootstrap

if TYPE_CHECKING:
    from types import ModuleType


def name_of(module: ModuleType) -> str:
    """What a module is called in settings; empty for an interactive `__main__`."""
    name = module.__name__
    if name in ("__main__", "__mp_main__"):  # the latter in a spawned process
        spec = getattr(module, "__spec__", None)
        path = getattr(module, "__file__", None)
        if spec is not None:
            return str(spec.name)
        return os.path.basename(path or "").partition(".")[0]
    return name


def is_installed(module: ModuleType) -> bool:
    """Whether a module comes from an installed library rather than application code."""
    origin = origin_of(module)
    return isinstance(origin, str) and bootstrap.is_installed(origin)


def is_standard(name: str, module: ModuleType) -> bool:
    """Whether a module is the standard library's."""
    return bootstrap.is_standard(name, origin_of(module))


def origin_of(module: ModuleType) -> object:
    """Where a module comes from, if it says so: a file, as a rule."""
    return getattr(getattr(module, "__spec__", None), "origin", None) or getattr(
        module, "__file__", None
    )
