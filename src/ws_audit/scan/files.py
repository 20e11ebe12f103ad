# SPDX-License-Identifier: Apache-2.0
"""Which files a scan reads, and what is said of those it does not.

Why it exists: a directory holds more than its code: environments, builds, links in circles, tests.
What is left out is said in a line, because what was not looked at was not found clean.

It must never follow a link twice, nor read a file larger than `LARGEST`.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGEST: Final = 2_000_000
_SKIPPED: Final = frozenset({"__pycache__", "node_modules", "site-packages", "dist-packages"})
_TESTS: Final = frozenset({"test", "tests"})
_TEST_FILE: Final = re.compile(r"test_\w*\.py$|\w*_tests?\.py$|(conftest|tests?)\.py$")


class Found(NamedTuple):
    """The files to read, by path relative to the root with slashes; what is to be said."""

    root: str
    files: list[str]
    tests: int  # files of tests, which are left out
    problems: list[str]


def find(path: str) -> Found:
    """All Python files below a directory, or the one named, in one order on every machine."""
    root = os.path.realpath(path)
    found = Found(root, [], 0, [])
    if os.path.isfile(root):
        return Found(os.path.dirname(root), [os.path.basename(root)], 0, [])
    seen: dict[str, str] = {}
    tests = 0
    for name in _below(root, "", seen, found.problems):
        full = os.path.join(root, name)
        if _is_test(name):
            tests += 1
            continue
        if os.path.islink(full):
            target = os.path.realpath(full)
            if not os.path.isfile(target):
                found.problems.append(f"{name}: a link that leads to no file; skipped")
                continue
            inside = os.path.relpath(target, root).replace(os.sep, "/")
            if not inside.startswith("../"):
                found.problems.append(
                    f"{name}: a link to {inside}: one source under two names; read once"
                )
                continue
        try:
            size = os.stat(full).st_size
        except OSError as error:
            found.problems.append(f"{name}: {error.strerror or error}; skipped")
            continue
        if size > LARGEST:
            found.problems.append(f"{name}: {size:,} bytes, more than {LARGEST:,}; skipped")
            continue
        found.files.append(name)
    return found._replace(tests=tests)


def _below(root: str, inner: str, seen: dict[str, str], problems: list[str]) -> Iterator[str]:
    directory = os.path.join(root, inner) if inner else root
    real = os.path.realpath(directory)
    if real in seen:
        what = "a circle" if (directory + os.sep).startswith(seen[real] + os.sep) else "again"
        problems.append(f"{inner}: a link to a directory that was read already ({what}); skipped")
        return
    seen[real] = directory
    try:
        entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
    except OSError as error:
        problems.append(f"{inner or '.'}: {error.strerror or error}; skipped")
        return
    for entry in (one for one in entries if one.is_symlink() or not one.is_dir()):
        if entry.name.endswith(".py") and not entry.is_dir():
            yield _join(inner, entry.name)
    # What lies there comes first, so that a link to it is the second way and not the first.
    for entry in sorted(entries, key=lambda one: (one.is_symlink(), one.name)):
        if not entry.is_dir() or entry.name.startswith(".") or entry.name in _SKIPPED:
            continue
        if os.path.exists(os.path.join(entry.path, "pyvenv.cfg")) or _is_build(entry.path):
            continue
        yield from _below(root, _join(inner, entry.name), seen, problems)


def _is_build(path: str) -> bool:
    """Whether a directory holds what a build copied, and not a package of that name."""
    return os.path.basename(path) == "build" and os.path.isdir(os.path.join(path, "lib"))


def _join(inner: str, name: str) -> str:
    return f"{inner}/{name}" if inner else name


def _is_test(name: str) -> bool:
    *directories, file = name.split("/")
    return not _TESTS.isdisjoint(directories) or _TEST_FILE.fullmatch(file) is not None
