# SPDX-License-Identifier: Apache-2.0
"""The content hash of everything that is measured, and whether it is what was frozen.

Why it exists: a benchmark that changes with the product measures nothing. `FROZEN` was
committed before any evidence or policy was tuned.
"""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path
from typing import Final

from .case import APPS

FROZEN: Final = Path(__file__).with_name("FROZEN")
MEASURE: Final = ("actors.py", "case.py", "people.py", "score.py")
SUFFIXES: Final = (".py", ".toml")


def content_hash() -> str:
    """Of the applications, their cases, the clients and the scoring; 16 hex digits."""
    digest = blake2b(digest_size=8)
    files = [Path(__file__).with_name(name) for name in MEASURE]
    files += [path for path in APPS.rglob("*") if path.suffix in SUFFIXES]
    root = APPS.parent
    for path in sorted(files, key=lambda one: one.relative_to(root).as_posix()):
        digest.update(f"{path.relative_to(root).as_posix()}\0".encode())
        digest.update(path.read_bytes().replace(b"\r\n", b"\n") + b"\0")
    return digest.hexdigest()


def frozen() -> str:
    """The hash that was committed; "" before that."""
    return FROZEN.read_text().split()[0] if FROZEN.exists() else ""
