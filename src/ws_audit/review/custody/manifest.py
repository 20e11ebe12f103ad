# SPDX-License-Identifier: Apache-2.0
"""The manifest of an export: what every file in it was when it was sealed, and whether it still is.

Why it exists: evidence is copied, mailed and kept for years. Whoever holds the digest that was
printed when it was sealed can say that not a byte has changed since.

It must never pass over a file, follow a link, or look outside the directory that is verified.
"""

from __future__ import annotations

import json
import os
import stat
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any, Final, NamedTuple

from ws_audit import __version__
from ws_audit.incidents import timestamp

FILE: Final = "manifest.json"
VERSION: Final = 1
_MOST: Final = 256 << 20  # bytes of a manifest: none of ours comes near
_BLOCK: Final = 1 << 20


class Checked(NamedTuple):
    """What a verification found: the manifest's digest (empty if it has none), and each fault."""

    digest: str
    files: int
    problems: list[str]


def text(
    root: Path, incident: str, by: str, time_ns: int, source: dict[str, Any], added: list[str]
) -> bytes:
    """Write the manifest of all that is under `root`. Raises OSError."""
    document = {
        "manifest": VERSION,
        "incident": incident,
        "time": timestamp(time_ns),
        "by": by,
        "ws_audit": __version__,
        "source": source,
        "added": added,
        "files": [{"path": name, **_facts(root / name)} for name in sorted(_names(root))],
    }
    return json.dumps(document, indent=1).encode() + b"\n"


def digest(manifest: bytes) -> str:
    """What to write down elsewhere."""
    return sha256(manifest).hexdigest()


def verify(root: Path) -> Checked:
    """Compare a directory with its manifest. Raises OSError if it cannot be listed."""
    found = set(_names(root))
    try:
        _check_regular(root / FILE)
        with (root / FILE).open("rb") as file:
            manifest = file.read(_MOST)
    except FileNotFoundError:
        return Checked("", 0, [f"{FILE}: missing"])
    except OSError as error:
        return Checked("", 0, [f"{FILE}: cannot be read: {error.strerror or error}"])
    try:
        document = json.loads(manifest)
        if document["manifest"] != VERSION:
            return Checked(digest(manifest), 0, [f"{FILE}: not of version {VERSION}"])
        listed = {str(it["path"]): (it["sha256"], it["bytes"]) for it in document["files"]}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return Checked(digest(manifest), 0, [f"{FILE}: no manifest of ws-audit, or changed"])
    problems = [
        f"{name}: {fault}"
        for name, (known, size) in sorted(listed.items())
        if (fault := _fault(root, name, known, size, found))
    ]
    problems += [f"{name}: not in the manifest" for name in sorted(found - listed.keys() - {FILE})]
    return Checked(digest(manifest), len(listed), problems)


def _fault(root: Path, name: str, known: str, size: int, found: set[str]) -> str:
    """What is wrong with a file that the manifest lists; empty if nothing is."""
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        return "not a name of a file in here"
    if name not in found:
        return "missing"
    try:
        facts = _facts(root / name)
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    return "" if (facts["sha256"], facts["bytes"]) == (known, size) else "changed"


def _names(root: Path) -> list[str]:
    """Every file under a directory, and what is no file; directories only if they are empty."""
    names = []

    def fail(error: OSError) -> None:
        raise error

    for folder, folders, files in os.walk(root, onerror=fail):
        links = [name for name in folders if Path(folder, name).is_symlink()]
        empty = not folders and not files and Path(folder) != root
        names += [Path(folder, name).relative_to(root).as_posix() for name in files + links]
        if empty:
            names.append(Path(folder).relative_to(root).as_posix())
    return names


def _facts(path: Path) -> dict[str, Any]:
    _check_regular(path)
    sum_, size, lines = sha256(), 0, 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            sum_.update(block)
            size += len(block)
            lines += block.count(b"\n")
    return {"sha256": sum_.hexdigest(), "bytes": size, "lines": lines}


def _check_regular(path: Path) -> None:
    """Raise OSError unless it is a file: a link leads elsewhere, a pipe keeps us waiting."""
    if not stat.S_ISREG(path.lstat().st_mode):
        raise OSError("not a regular file")
