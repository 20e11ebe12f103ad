# SPDX-License-Identifier: Apache-2.0
"""What the records say of the clocks they were dated by: set, ahead, behind.

Why it exists: first and last times, and which of two hosts began, are worth as much as the clocks
they were read from. Processes record beside their coverage how their clock stands to others.

It must never change a time, and never call two clocks alike of which it only knows nothing.
"""

from __future__ import annotations

import json
from statistics import median
from typing import TYPE_CHECKING, Final, NamedTuple

from ws_audit import schema
from ws_audit.incidents import timestamp

from . import lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    Sample = tuple[int, int]  # when a line was written, and the base that it tells

NOTICED_NS: Final = 1_000_000_000  # less than this may be a busy machine
ROUGHLY_NS: Final = 3_000_000_000  # the same of a receiver, which tells whole seconds
_CENTURY_S: Final = 3.2e9  # more than that is garbage
ALIKE: Final = 3  # traces that must agree before two hosts are compared by them
_SECOND: Final = 1_000_000_000
_DIGITS: Final = 21  # of the longest number, its sign and what ends it
_NAMED: Final = 10  # of each kind of finding; the rest is counted
_DIRECTION: Final = {True: "forward", False: "back"}


_BASE: Final = f'"{schema.CLOCK_BASE}","value":{{"intValue":"'.encode()
_DISK: Final = f'"{schema.CLOCK_DISK}","value":{{"intValue":"'.encode()
_END: Final = b'"endTimeUnixNano":"'
_BLOCK: Final = 1 << 22


class Step(NamedTuple):
    """A clock was set between two lines of one process."""

    first_ns: int
    last_ns: int
    by_ns: int


class Clocks:
    """Gathers what coverage segments say, those of one process in its order."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str, str], Sample] = {}
        self._steps: dict[str, list[Step]] = {}
        self._disks: dict[str, dict[Path, list[int]]] = {}
        self._latest: dict[str, int] = {}
        self._receivers: dict[str, list[float]] = {}  # host -> seconds behind the webhook's

    def segment(self, path: Path) -> None:
        """Take in one coverage segment. Raises OSError."""
        match = lines.SEGMENT.fullmatch(path.name)
        if match is None or match[1] != "coverage":
            return
        host, process = match[2], (match[2], match[3], match[4])
        before = self._last.get(process)
        disk: list[int] = []
        for end_ns, base_ns, ahead_ns in _told(path):
            if ahead_ns is not None:
                disk.append(-ahead_ns)
            if before is not None and abs(base_ns - before[1]) >= NOTICED_NS:
                self._step(host, Step(before[0], end_ns, base_ns - before[1]))
            before = end_ns, base_ns
        if disk:
            self._disks.setdefault(host, {}).setdefault(path.parent, []).extend(disk)
        if before is not None:
            self._last[process] = before
            self._latest[host] = max(before[0], self._latest.get(host, 0))

    def receipts(self, path: Path) -> None:
        """Take in what receivers of incidents have answered, and when. Raises OSError."""
        with path.open("rb") as file:
            while line := file.readline(lines.LONGEST):
                try:
                    entry = json.loads(line)
                    host, ahead_s = str(entry["host"]), float(entry["ahead_s"])
                except lines.CORRUPT:
                    continue  # told nothing of clocks
                if abs(ahead_s) < _CENTURY_S:
                    self._receivers.setdefault(host, []).append(-ahead_s)

    def _step(self, host: str, step: Step) -> None:
        steps = self._steps.setdefault(host, [])
        if not any(_same(step, known) for known in steps):
            steps.append(step)

    def problems(self, now_ns: int) -> list[str]:
        """What is wrong with the clocks, a sentence each; `now_ns` is the time it is here."""
        return [
            *self._set(),
            *self._beside_the_disk(),
            *self._beside_receivers(),
            *self._after(now_ns),
        ]

    def _set(self) -> list[str]:
        told = [
            f"host {host}: its clock was set {_DIRECTION[step.by_ns > 0]} by {_long(step.by_ns)} "
            f"between {timestamp(min(step[:2]))} and {timestamp(max(step[:2]))} by that clock, or "
            "the machine slept: times before and after do not go together"
            for host, steps in sorted(self._steps.items())
            for step in steps
        ]
        return _few(told, "more clocks were set")

    def _beside_the_disk(self) -> list[str]:
        """Clocks against those of the disks they write to, and so against one another's."""
        ahead: dict[Path, dict[str, float]] = {}
        for host, disks in self._disks.items():
            for directory, values in disks.items():
                ahead.setdefault(directory, {})[host] = median(values)
        told = []
        for hosts in ahead.values():
            right = min(hosts, key=lambda host: (abs(hosts[host]), host))
            for host, its in sorted(hosts.items()):
                by = its - hosts[right]
                if host != right and abs(by) >= NOTICED_NS:
                    told.append(
                        f"the clock of host {host} is about {_long(by)} {_side(by)} that of host "
                        f"{right}, by the disk both write to: its times are as it said them"
                    )
            by = hosts[right]
            if abs(by) >= NOTICED_NS:
                told.append(
                    f"the clock of host {right} is about {_long(by)} {_side(by)} that of the disk "
                    "it writes to: its times are as it said them"
                )
        return _few(told, "more clocks are not those of the disk")

    def _beside_receivers(self) -> list[str]:
        told = [
            f"the clock of host {host} is about {_long(by)} {_side(by)} that of the webhook's "
            "receiver: its times are as it said them"
            for host, values in sorted(self._receivers.items())
            if abs(by := median(values) * _SECOND) >= ROUGHLY_NS
        ]
        return _few(told, "more clocks are not those of the webhook's receiver")

    def _after(self, now_ns: int) -> list[str]:
        told = [
            f"records of host {host} are dated up to {timestamp(latest)}, which is after now: its "
            "clock is ahead, or that of this machine behind"
            for host, latest in sorted(self._latest.items())
            if latest - now_ns >= NOTICED_NS
        ]
        return _few(told, "more hosts have records dated after now")


def between(hosts: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Clocks of hosts against each other, by traces that went through both.

    `hosts` has for each host and trace when a violation was first seen. A trace lasts no time, or
    the same order of time: where each is hours older on one host, its clock is.
    """
    told = []
    names = sorted(hosts)
    for index, one in enumerate(names):
        for other in names[index + 1 :]:
            common = hosts[one].keys() & hosts[other].keys()
            by = sorted(hosts[other][trace] - hosts[one][trace] for trace in common)
            if len(by) < ALIKE:
                continue
            middle = median(by)
            spread = by[-1] - by[0]
            if abs(middle) >= NOTICED_NS and spread <= max(NOTICED_NS, abs(middle) / 10):
                told.append(
                    f"the clock of host {other} is about {_long(middle)} {_side(middle)} that of "
                    f"host {one}, by {len(by):,} traces that went through both: their times are as "
                    "each said them"
                )
    return _few(told, "more pairs of hosts disagree")


def read(segments: Iterable[Path], receipts: Iterable[Path]) -> Clocks:
    """What these files say; one that cannot be read is named where its lines are counted."""
    clocks = Clocks()
    for take, paths in ((clocks.segment, segments), (clocks.receipts, receipts)):
        for path in paths:
            try:
                if path.is_file():
                    take(path)
            except OSError:
                continue
    return clocks


def _told(path: Path) -> Iterator[tuple[int, int, int | None]]:
    """When each line was written that tells of the clock, its base, and that of the disk.

    Lines are not read as such: a month of them must cost next to nothing. Raises OSError.
    """
    with path.open("rb") as file:
        rest = b""
        while block := file.read(_BLOCK):
            whole, ends, rest = (rest + block).rpartition(b"\n")
            if not ends and len(rest) > lines.LONGEST:
                rest = b""  # no line of ours
            at = whole.find(_BASE)
            while at >= 0:
                end = whole.find(b"\n", at)
                end = len(whole) if end < 0 else end
                written = whole.rfind(_END, whole.rfind(b"\n", 0, at) + 1, at)
                end_ns, base_ns = _number(whole, written, _END), _number(whole, at, _BASE)
                if end_ns is not None and base_ns is not None:
                    yield end_ns, base_ns, _number(whole, whole.find(_DISK, at, end), _DISK)
                at = whole.find(_BASE, end)


def _number(text: bytes, at: int, name: bytes) -> int | None:
    """Read the number behind a name that stands there; None if there is none."""
    if at < 0:
        return None
    at += len(name)
    end = text.find(b'"', at, at + _DIGITS)
    try:
        return int(text[at:end]) if end > at else None
    except ValueError:
        return None  # corrupt: named where it is counted


def _same(one: Step, other: Step) -> bool:
    """Whether two processes of a host tell of one and the same."""
    together = min(one[:2]) <= max(other[:2]) and min(other[:2]) <= max(one[:2])
    return together and abs(one.by_ns - other.by_ns) < NOTICED_NS


def _side(by: float) -> str:
    return "ahead of" if by > 0 else "behind"


def _long(ns: float) -> str:
    """How long that is, to the second, or to a tenth of one below a minute."""
    tenths = round(abs(ns) * 10 / _SECOND)
    if tenths < 600:
        return f"{tenths // 10}.{tenths % 10} s"
    minutes, seconds = divmod(round(tenths / 10), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "h"), (minutes, "min"), (seconds, "s")]
    return " ".join(f"{count} {unit}" for count, unit in parts if count)


def _few(told: list[str], more: str) -> list[str]:
    rest = len(told) - _NAMED
    return told if rest <= 0 else [*told[:_NAMED], f"{rest:,} {more}"]
