# SPDX-License-Identifier: Apache-2.0
"""Scripts in real processes, and the two accounts of what they sent: the wire's and the agent's.

It must never leave a process behind, whatever hangs: each script is a process group of its own,
which is killed as a whole.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.real.world import claimed, review, surroundings
from ws_audit.principals.identity import Hasher, principal

APPS = Path(__file__).parent / "apps"
KEY = "processes"
LIMIT = 100.0

Pairs = Counter[tuple[str, str]]  # (hash of whose data, hash of whose connection)
Line = tuple[int, dict[str, Any]]  # the pid it names, and a span's attributes with its id
_hash = Hasher(KEY)


@dataclass
class Played:
    """A script that has ended."""

    folder: Path
    pid: int
    code: int
    out: str
    err: str

    @property
    def store(self) -> Path:
        return self.folder / "trace"

    @property
    def told(self) -> list[dict[str, Any]]:
        """What its processes told."""
        return [json.loads(line) for line in self.out.splitlines()]

    @cached_property
    def frames(self) -> list[dict[str, Any]]:
        """What went over the wire."""
        path = self.folder / "wire"
        return [json.loads(line) for line in path.read_text().splitlines()]

    @property
    def pids(self) -> set[int]:
        """The processes that sent."""
        return {frame["pid"] for frame in self.frames}

    def leaked(self, pid: int = 0) -> Pairs:
        """Frames that came to somebody else, of all processes or of one."""
        return Counter(
            (_hash(principal(frame["owner"])), _hash(principal(frame["recipient"])))
            for frame in self.frames
            if frame["owner"] != frame["recipient"] and pid in (0, frame["pid"])
        )

    def review(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(review(self.store, "json"))
        return document

    @cached_property
    def violations(self) -> list[Line]:
        return self._lines("violations")

    @cached_property
    def coverage(self) -> list[Line]:
        return self._lines("coverage")

    def _lines(self, kind: str) -> list[Line]:
        found = []
        for path in sorted(self.store.glob(f"{kind}-*.jsonl")):
            for line in path.read_text().splitlines():
                for resource in json.loads(line)["resourceSpans"]:
                    pid = int(_plain(resource["resource"]["attributes"])["process.pid"])
                    found += [
                        (pid, _plain(span["attributes"]) | {"id": span["spanId"]})
                        for scope in resource["scopeSpans"]
                        for span in scope["spans"]
                    ]
        return found

    @property
    def sends(self) -> list[Line]:
        """The neighbours of violations."""
        return [line for line in self.violations if "ws_audit.deliveries" in line[1]]

    def stored(self, pid: int) -> Pairs:
        """The violations a process has written."""
        pairs: Pairs = Counter()
        for writer, span in self.violations:
            if writer == pid and "security_rule.name" in span:
                pair = span["ws_audit.owner.hash"], span["user.hash"]
                pairs[pair] += int(span.get("ws_audit.count", 1))
        return pairs

    def ids(self, name: str) -> list[str]:
        """An id of every violation that has a line of its own."""
        lines = [span for _, span in self.violations if "security_rule.name" in span]
        return [span[name] for span in lines if name in span]

    def covered(self, pid: int) -> int:
        """The frames a process says it has seen."""
        return sum(
            int(span.get("ws_audit.frames", 0)) for writer, span in self.coverage if writer == pid
        )


def _plain(attributes: list[dict[str, Any]]) -> dict[str, Any]:
    return {each["key"]: next(iter(each["value"].values())) for each in attributes}


def play(folder: Path, script: str, *words: str, code: int | None = 0, **settings: str) -> Played:
    """Run a script of `apps` to its end, and that of all its children."""
    command = [sys.executable, str(APPS / f"{script}.py"), *words]
    with start(folder, command, **settings) as process:
        try:
            out, err = process.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGABRT)
            raise AssertionError(f"hangs: {process.communicate()[1][-4000:]}") from None
        finally:
            end(process)
    assert code is None or process.returncode == code, err[-4000:]
    assert "most recent call first" not in err, err[-4000:]  # the watchdog of a child
    return Played(folder, process.pid, process.returncode, out, err)


def start(folder: Path, command: list[str], **settings: str) -> subprocess.Popen[str]:
    """A process group of its own with the agent in it."""
    told = {
        "WS_AUDIT_ENABLED": "1",
        "WS_AUDIT_TRACE_DIR": str(folder / "trace"),
        "WS_AUDIT_HASH_KEY": KEY,
        "WIRE": str(folder / "wire"),
        **settings,
    }
    surrounding = surroundings()
    surrounding["PYTHONPATH"] = os.pathsep.join([str(APPS), surrounding["PYTHONPATH"]])
    return subprocess.Popen(
        command,
        env=surrounding | told,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def end(process: subprocess.Popen[str]) -> None:
    """Nothing of the group lives on."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def agrees(played: Played, *, covered: bool = True) -> None:
    """Both accounts are the same: per process, in sum, nothing twice, every id once."""
    assert played.frames
    for pid in played.pids:
        assert played.stored(pid) == played.leaked(pid), pid
        if covered:
            frames = sum(frame["pid"] == pid for frame in played.frames)
            assert played.covered(pid) == frames, pid
    assert {pid for pid, _ in played.violations} <= played.pids
    document = played.review()
    assert claimed(document) == played.leaked()
    if covered:
        assert document["coverage"]["frames"] == len(played.frames)
        assert document["coverage"]["judged"] == len(played.frames)
    for name in ("id", "ws_audit.delivery.id"):
        ids = played.ids(name)
        assert ids
        assert len(set(ids)) == len(ids)
    # The sends beside a violation are the process's own, too.
    sends = [(pid, span["ws_audit.intent.id"]) for pid, span in played.sends]
    assert len({intent for _, intent in sends}) == len(sends)
    for pid in played.pids:
        frames = sum(frame["pid"] == pid for frame in played.frames)
        assert sum(writer == pid for writer, _ in sends) <= frames
