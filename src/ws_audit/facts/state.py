# SPDX-License-Identifier: Apache-2.0
"""The file in which a process leaves its facts: `state-<host>-<pid>.json`.

Why it exists: `ws-audit doctor` is another process, and the one it asks about may be gone. The
file is replaced as a whole, so whoever reads it finds all of it or the one before.

It must never let a full disk or a missing directory reach anybody, leave more than a bounded
number of files behind, or write in a forked child that does nothing.
"""

from __future__ import annotations

import json
import os
import re
import time
from typing import TYPE_CHECKING, Any, Final

from ws_audit.process.forks import Undivided

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

NAME: Final = re.compile(r"state-(.+)-([0-9]+)\.json")
_NS: Final = 1_000_000_000
ENCODED: Final = "classes"  # the key whose items are JSON already
INTERVAL_NS: Final = 10 * _NS  # when something has changed
_REPORT_NS: Final = _NS  # when somebody waits for it
_HEARTBEAT_NS: Final = 60 * _NS  # when nothing has: the file's age says that the process lives
_FILES: Final = 200


class State:
    """Writes the facts of this process into some directories."""

    def __init__(
        self,
        directories: Sequence[str],
        gather: Callable[[], dict[str, Any]],
        max_age_days: int,
        *,
        soon: bool = False,
    ) -> None:
        self._directories = [one for one in directories if one]
        self._gather = gather
        self._max_age = max_age_days * 86_400
        self._interval = _REPORT_NS if soon else INTERVAL_NS
        self._looked_ns = 0
        self._written_ns = 0
        self._text = ""
        self._ended = False
        self._writing = Undivided()  # the drain's tick, and the end of the process

    def fold(self, record: Any) -> None:
        """Nothing from records."""

    def tick(self, now_ns: int) -> None:
        """Write if it is time and something has changed."""
        if 0 <= now_ns - self._looked_ns < self._interval:
            return
        self._looked_ns = now_ns
        self.write(now_ns)

    def write(self, now_ns: int, *, ended: bool = False) -> None:
        """Write what is so now; `ended` says that nothing comes after it."""
        if self._directories:
            with self._writing:
                self._write(now_ns, ended)

    def _write(self, now_ns: int, ended: bool) -> None:
        text = _encoded(self._gather())
        # After its last words a process may tick on for a moment: that takes none of them back.
        told = text == self._text and (self._ended or not ended)
        if told and 0 <= now_ns - self._written_ns < _HEARTBEAT_NS:
            return
        self._text, self._written_ns, self._ended = text, now_ns, ended
        document = f'{{"written_ns":{now_ns},"ended":{json.dumps(ended)},{text[1:]}\n'
        for directory in self._directories:
            try:
                _replace(directory, document.encode("utf-8", "backslashreplace"))
                _sweep(directory, self._max_age)
            except OSError:  # the store has said what is wrong with the disk
                pass

    def forget(self) -> None:
        """After a fork: nothing of this process is written yet."""
        self._looked_ns = self._written_ns = 0
        self._text = ""
        self._ended = False


def _encoded(document: dict[str, Any]) -> str:
    """As JSON; a key at a time, so that other threads get between."""
    parts = []
    for key, value in document.items():
        encoded = (
            f"[{','.join(value)}]" if key == ENCODED else json.dumps(value, separators=(",", ":"))
        )
        parts.append(f'"{key}":{encoded}')
    return f"{{{','.join(parts)}}}"


def _name() -> str:
    host = re.sub(r"[^A-Za-z0-9._-]", "_", os.uname().nodename) or "host"
    return f"state-{host}-{os.getpid()}.json"


def _replace(directory: str, document: bytes) -> None:
    path = os.path.join(directory, _name())
    beside = f"{path}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(beside, flags, 0o600)
    try:
        with memoryview(document) as rest:
            done = 0
            while done < len(rest):
                done += os.write(descriptor, rest[done:])
    finally:
        os.close(descriptor)
    os.replace(beside, path)


def _sweep(directory: str, max_age: float) -> None:
    """Delete what processes left that were not heard of for long, and the oldest past a number."""
    found = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if NAME.fullmatch(entry.name.removesuffix(".new")) and entry.name != _name():
                try:
                    found.append((entry.stat(follow_symlinks=False).st_mtime, entry.path))
                except FileNotFoundError:
                    pass
    found.sort(reverse=True)
    now = time.time()
    for number, (written, path) in enumerate(found, 2):
        if number > _FILES or now - written > max_age:
            try:
                os.unlink(path)
            except FileNotFoundError:
                pass
