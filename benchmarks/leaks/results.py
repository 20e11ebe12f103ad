# SPDX-License-Identifier: Apache-2.0
"""The files of a measurement: one JSON for each mode, and the cases of a run not finished yet.

Why it exists: all modes together take the better part of an hour; what was measured of the very
same benchmark and agent need not be measured again because the machine was needed.

It must never mix what two versions of the benchmark or of the agent said.
"""

from __future__ import annotations

import json
import sys
import threading
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import ws_audit

from .freeze import content_hash, frozen
from .report import Entry, document

RESULTS: Final = Path(__file__).with_name("results")


def agent_hash() -> str:
    """Of the agent's source as it is imported here; 16 hex digits."""
    digest = blake2b(digest_size=8)
    root = Path(ws_audit.__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()}\0".encode())
        digest.update(path.read_bytes().replace(b"\r\n", b"\n") + b"\0")
    return digest.hexdigest()


def facts(mode: str, left_out: list[str]) -> dict[str, Any]:
    """What a figure was measured of, and with."""
    now = content_hash()
    return {
        "mode": mode,
        "hash": now,
        "frozen": frozen() == now,
        "agent": agent_hash(),
        "python": ".".join(map(str, sys.version_info[:3])),
        "uvicorn": version("uvicorn"),
        "left_out": left_out,
    }


def write(path: Path, document: dict[str, Any]) -> None:
    """A document, one case a line, so that two runs can be compared."""
    rest = {key: value for key, value in document.items() if key != "cases"}
    lines = ",\n".join(json.dumps(one) for one in document["cases"])
    path.write_text(f'{json.dumps(rest, indent=1)[:-2]},\n "cases": [\n{lines}\n]}}\n')


def read(path: Path) -> dict[str, Any]:
    """What write() has written."""
    found: dict[str, Any] = json.loads(path.read_text())
    return found


class Journal:
    """The cases of one mode that have been played, kept while the others are."""

    def __init__(
        self, folder: Path, about: dict[str, Any], *, fresh: bool = False, name: str = ""
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.about = about
        name = name or about["mode"]
        self.result = folder / f"{name}.json"
        self._partial = folder / f"{name}.partial.jsonl"
        self._lock = threading.Lock()
        self._kept: dict[tuple[str, str], Entry] = {}
        if fresh:
            self._partial.unlink(missing_ok=True)
        else:
            self._take()
        lines = [about, *self._kept.values()]
        self._partial.write_text("".join(json.dumps(one) + "\n" for one in lines))

    def _take(self) -> None:
        for path in (self.result, self._partial):
            if not path.exists():
                continue
            if path == self.result:
                found = read(path)
                head, cases = found, found["cases"]
            else:
                head, *cases = _lines(path) or [{}]
            if all(head.get(key) == value for key, value in self.about.items()):
                # One that could not be played is tried again.
                cases = [one for one in cases if not one["broken"]]
                self._kept.update({(one["list"], one["name"]): one for one in cases})

    def known(self, kind: str, name: str) -> Entry | None:
        """What was measured of a case already."""
        return self._kept.get((kind, name))

    def add(self, case: Entry) -> None:
        """One more was played."""
        with self._lock, self._partial.open("a") as file:
            file.write(json.dumps(case) + "\n")

    def finish(self, cases: list[Entry]) -> dict[str, Any]:
        """All were: the result is written, and returned."""
        whole = document(cases, self.about)
        write(self.result, whole)
        self._partial.unlink()
        return whole


def _lines(path: Path) -> list[dict[str, Any]]:
    found = []
    for line in path.read_text().splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            break  # the last one of a process that was killed
    return found
