# SPDX-License-Identifier: Apache-2.0
"""Trace directories, read back: findings, coverage, and what could not be read.

Why it exists: after an incident the directory is the only witness, and it may have been
through a full disk, a kill and a copy. Whatever can be read is read; whatever cannot is named.

It must never give up on a directory because of one file or line, never pass over a gap in
silence, and never change anything in the directory.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ws_audit import journal, model, schema
from ws_audit.book import Book
from ws_audit.incidents import timestamp
from ws_audit.review.selection import EVERYTHING, Selection

from . import clocks, gather, lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from ws_audit.incidents import Incident, Mark

    from .gather import Where
    from .keep import Keeper

    Progress = Callable[[int, int], None]

NO_SEGMENT: Final = (
    "no segment is here: no process has recorded anything, or it is another directory"
)
NAMED_KEYS: Final = 3
NAMED_FOREIGN: Final = 10  # foreign files named one by one before they are only counted

# Other files that belong in a trace directory: hash key, kill switch, what was pushed already.
_OTHERS: Final = re.compile(
    rf"state-.+-[0-9]+\.json(\.new)?|{lines.EVENTS.pattern}"  # what doctor reads, and `events`
)
_PUSHED: Final = "pushed.jsonl"
_COMPANIONS: Final = ("hash.key", "control", _PUSHED, journal.FILE, lines.CACHE)


class Stored(NamedTuple):
    """What a trace directory holds.

    `findings` are in the order they were read, synthetic ones included. `coverage` has the
    sums of the review's five figures, `reasons` why those that are unattributed could not be
    judged. `first_ns` and `last_ns` span everything read; both are 0 if that is nothing. Of a
    narrowed review these four are of what was asked for, and so is the list of findings.
    `services` are all that have left a record, None if that is not known.
    """

    findings: list[model.Finding]
    coverage: dict[str, int]
    reasons: dict[str, int]
    first_ns: int
    last_ns: int
    problems: list[str]
    services: frozenset[str] | None = None


def read(
    where: Where,
    progress: Progress | None = None,
    keep: Keeper | None = None,
    asked: Selection = EVERYTHING,
) -> Stored:
    """Read every violation and coverage segment of a trace directory, or of several as of one.

    `progress` is called with the bytes read and the bytes there are; `keep` gets everything
    that is stored beside the findings. Coverage is narrowed to what was `asked` for; findings are
    not, which make up the incidents only together. Raises OSError if a
    directory itself cannot be listed; anything less is named in `problems`.
    """
    return Reader(where, progress, keep, asked).read()


class Review(NamedTuple):
    """A trace directory and its journal, put together: incidents with the worst first.

    `asked` is what it was narrowed to, and `whole` are the incidents of everything.
    """

    incidents: list[Incident]
    stored: Stored
    problems: list[str]
    asked: Selection = EVERYTHING
    whole: Sequence[Incident] = ()

    @property
    def acks(self) -> dict[str, Mark]:
        """Who has acknowledged which incident, by its id."""
        return {it.id: it.ack for it in self.incidents if it.ack is not None}

    @property
    def only(self) -> str:
        """What it is narrowed to, for whoever may take it for the whole; "" if it is that."""
        told = self.asked.told()
        shown, there = len(self.incidents), len(self.whole)
        return told and f"{told} ({shown:,} of {there:,} incident{'' if there == 1 else 's'})"

    def document(self, now_ns: int) -> dict[str, Any]:
        """Give the review as its JSON has it, as of `now_ns`."""
        stored = self.stored
        seen = bool(stored.last_ns)
        return {
            "schema": 1,
            "incidents": [incident.as_dict(now_ns) for incident in self.incidents],
            "coverage": stored.coverage,
            "window": {
                "first": timestamp(stored.first_ns) if seen else None,
                "last": timestamp(stored.last_ns) if seen else None,
            },
            "problems": self.problems,
        }


def examine(
    where: Where,
    progress: Progress | None = None,
    keep: Keeper | None = None,
    asked: Selection = EVERYTHING,
) -> Review:
    """Read trace directories and their journals, and narrow that to what was asked for.

    Incidents come with the worst severity first, of these the one seen last. Synthetic
    findings are no incidents. Raises OSError as `read` does, SelectionError as `assemble` does.
    """
    stored = read(where, progress, keep, asked)
    # After the findings: what was acknowledged meanwhile had been found before.
    return assemble(stored, gather.said(gather.directories(where)), keep, asked)


def assemble(
    stored: Stored,
    said: journal.Journal,
    keep: Keeper | None = None,
    asked: Selection = EVERYTHING,
    *,
    patient: bool = False,
) -> Review:
    """Make incidents of what is stored and what the journal says of it, and narrow them.

    Raises SelectionError if what was asked for is not there, unless `patient`: it may come.
    """
    found = (it for it in stored.findings if not it.synthetic)
    everything = Book(marks=said.marks).fold(found)
    if keep is not None:
        keep.journal(mark for mark in said.marks if mark.time_ns)
    everything.sort(key=_rank)
    asked = asked.settled(everything, stored.services, patient=patient)
    incidents = sorted(asked.narrow(everything), key=_rank)
    if asked != EVERYTHING:
        left = [it for it in stored.findings if it.synthetic and asked.takes(it)]
        left += [it for incident in incidents for it in incident.findings or ()]
        stored = stored._replace(findings=left)
    problems = stored.problems + said.problems
    return Review(incidents, stored, problems, asked, everything)


def _rank(incident: Incident) -> tuple[int, int, str]:
    return model.SEVERITIES.index(incident.severity), -incident.last_ns, incident.id


def review(
    where: Where,
    now_ns: int,
    progress: Progress | None = None,
    keep: Keeper | None = None,
    asked: Selection = EVERYTHING,
) -> dict[str, Any]:
    """Give the review of a trace directory as its JSON has it, as of `now_ns`."""
    return examine(where, progress, keep, asked).document(now_ns)


class Writer:
    """What the segments of one process add up to."""

    def __init__(self, host: str, pid: str, began: str) -> None:
        self.began = int(began)
        self.host = host
        self.name = f"process {pid} on {host}"
        self.wrote = False
        self.finished = False  # the last coverage line is the final one
        self.pending: dict[str, int] = {}  # span id -> index of a finding without outcome
        self.orphans = 0
        self.key = ""  # which one its hashes were made with


class Reader:
    """One pass over directories, file by file and line by line."""

    def __init__(
        self,
        where: Where,
        progress: Progress | None,
        keep: Keeper | None,
        asked: Selection = EVERYTHING,
    ) -> None:
        self._directories = gather.directories(where)
        self._progress = progress
        self._keep = keep
        self._asked = asked
        self._services: set[str] = set()
        self._writers: dict[tuple[str, str, str], Writer] = {}
        self._findings: list[model.Finding] = []
        self._coverage = dict.fromkeys(lines.COUNTS, 0)
        self._reasons = dict.fromkeys(schema.REASONS, 0)
        self._first_ns = 0
        self._last_ns = 0
        self._problems: list[str] = []
        self._texts: lines.Texts = {}
        self._hosts: set[str] = set()
        self._seen_on: dict[str, dict[str, int]] = {}  # host -> trace -> first violation, ns
        self._done = 0
        self._total = 0

    def read(self) -> Stored:
        segments = self._segments()
        self._hosts = {writer.host for _, _, writer in segments}
        for path, kind, writer in segments:
            try:
                if path.exists() and not path.is_file():
                    raise OSError("not a regular file")  # a pipe would keep us waiting
                with path.open("rb") as file:
                    self._file(self._title(path), kind, writer, file)
            except OSError as error:
                why = error.strerror or error
                self._problems.append(f"{self._title(path)}: cannot be read: {why}")
        for writer in self._writers.values():
            self._account(writer)
        self._compare_keys()
        self._compare_clocks(path for path, kind, _ in segments if kind == "coverage")
        first_ns, last_ns = self._asked.window(self._first_ns, self._last_ns)
        return Stored(
            self._findings,
            self._coverage,
            self._reasons,
            first_ns,
            last_ns,
            self._problems,
            frozenset(self._services),
        )

    def _segments(self) -> list[tuple[Path, str, Writer]]:
        """List the segments, those of one process together and in the order it wrote them."""
        segments: dict[tuple[str, ...], list[Path]] = {}
        foreign = []
        for path in self._files():
            match = lines.SEGMENT.fullmatch(path.name)
            if match is not None:
                segments.setdefault(match.groups(), []).append(path)
            elif path.name not in _COMPANIONS and not _OTHERS.fullmatch(path.name):
                foreign.append(self._title(path))

        self._problems += [
            f"{name}: no segment of ours, ignored" for name in foreign[:NAMED_FOREIGN]
        ]
        if len(foreign) > NAMED_FOREIGN:
            self._problems.append(
                f"{len(foreign) - NAMED_FOREIGN} more files are no segments of ours, ignored"
            )
        used = {path.parent for copies in segments.values() for path in copies}
        for bare in (it for it in self._directories if it not in used):
            several = len(self._directories) > 1
            self._problems.append(f"{bare}: {NO_SEGMENT}" if several else NO_SEGMENT)

        found: list[tuple[tuple[str, int, int, int, str], Path, str, Writer]] = []
        for (kind, host, pid, start, number), copies in segments.items():
            path, problems = gather.longest(copies) if len(copies) > 1 else (copies[0], [])
            self._problems += problems
            writer = self._writers.setdefault((host, pid, start), Writer(host, pid, start))
            found.append(((host, int(pid), int(start), int(number), kind), path, kind, writer))
            try:
                self._total += path.stat().st_size
            except OSError:
                pass  # it is opened next, and the problem named there
        found.sort(key=lambda item: item[0])
        return [(path, kind, writer) for _, path, kind, writer in found]

    def _files(self) -> list[Path]:
        """All there is in the directories. Raises OSError."""
        return [path for it in self._directories for path in sorted(it.iterdir())]

    def _title(self, path: Path) -> str:
        """What a file is called."""
        return gather.title(path, self._directories)

    def _file(self, name: str, kind: str, writer: Writer, file: BinaryIO) -> None:
        faults: lines.Faults = {}
        begin, number = self._done, 0
        for number, line in lines.numbered(file):
            self._done += len(line)
            if self._progress is not None and number % 1000 == 0:
                self._progress(self._done, self._total)
            try:
                self._line(kind, writer, line)
            except (lines.ForeignError, *lines.CORRUPT) as error:
                fault = lines.fault(line, error)
                first, count = faults.get(fault, (number, 0))
                faults[fault] = (first, count + 1)
        if self._progress is not None:
            self._progress(self._done, self._total)
        if self._keep is not None:
            self._keep.file(name, self._done - begin, number)

        self._name(name, faults)

    def _name(self, name: str, faults: lines.Faults) -> None:
        """Name what is wrong with a file, each kind of fault once."""
        for fault, (first, count) in faults.items():
            more = f", and {count - 1:,} more" if count > 1 else ""
            self._problems.append(f"{name} line {first}{more}: {fault}, not counted")

    def _line(self, kind: str, writer: Writer, line: bytes) -> None:
        """Take in one line. Raises what `lines.spans` does."""
        if not line.strip():
            return  # a torn line's end, named when its beginning was read
        played = lines.PLAYED in line  # by a self-test: it says nothing of what was seen, and when
        if not played:
            writer.wrote = True

        # All spans are looked at before any is counted: a line counts whole or not at all.
        spans = lines.spans(line, self._texts)
        for span in spans:
            if not played:
                self._seen(span.service, span.start_ns, span.end_ns)
            self._span(kind, writer, span)
        if self._keep is not None and not played:
            self._keep.line(writer.began, spans, coverage=kind == "coverage")

    def _seen(self, service: str, first_ns: int, last_ns: int) -> None:
        """Something was recorded of a service between two moments."""
        self._services.add(service)
        if not self._asked.services or service in self._asked.services:
            self._first_ns = min(self._first_ns or first_ns, first_ns)
            self._last_ns = max(self._last_ns, last_ns)

    def _span(self, kind: str, writer: Writer, span: lines.StoredSpan) -> None:
        if span.counts is not None and kind == "coverage":
            if self._asked.covers(span.service, span.end_ns):
                self._add(span.counts, span.reasons)
            writer.finished = span.final
        elif span.key:
            writer.key = span.key
        elif span.finding is not None:
            if not span.settled:
                writer.pending[span.id] = len(self._findings)
            self._findings.append(span.finding)
            if len(self._hosts) > 1 and span.finding.count == 1 and not span.finding.synthetic:
                seen = self._seen_on.setdefault(writer.host, {})
                trace, first_ns = span.finding.trace_id, span.finding.first_ns
                seen[trace] = min(first_ns, seen.get(trace, first_ns))
        elif span.settled and span.name == schema.VIOLATION_SPAN:
            self._settle(writer, span)

    def _add(self, counts: dict[str, int], reasons: dict[str, int]) -> None:
        for key, count in counts.items():
            self._coverage[key] += count
        for reason, count in reasons.items():
            self._reasons[reason] += count

    def _settle(self, writer: Writer, span: lines.StoredSpan) -> None:
        """Add the outcome to a violation that was written before it was known."""
        index = writer.pending.pop(span.id, None)
        if index is None:
            writer.orphans += 1
            return
        finding = self._findings[index]
        self._findings[index] = finding._replace(delivered=span.delivered(finding.count))

    def _account(self, writer: Writer) -> None:
        """Say what is missing from one process, now that all of it has been read."""
        if writer.wrote and not writer.finished:
            self._problems.append(
                f"{writer.name} has not written its last coverage record (still running or "
                "killed): up to 60 s of its traffic are not in the coverage figures"
            )
        if writer.orphans:
            self._problems.append(
                f"{writer.name}: {writer.orphans:,} violations are known by their outcome only, "
                "their record was lost (disk full or segment deleted): not counted"
            )

    def _compare_clocks(self, coverage: Iterable[Path]) -> None:
        """Name the clocks that were set, or that disagree: times are told as they were stored."""
        told = clocks.read(coverage, (it / _PUSHED for it in self._directories))
        self._problems += told.problems(time.time_ns())
        if len(self._hosts) > 1:
            self._problems += clocks.between(self._moments())

    def _moments(self) -> dict[str, dict[str, int]]:
        """For each host when it first saw a violation of which trace."""
        return self._seen_on

    def _compare_keys(self) -> None:
        """Say that one person may have several hashes."""
        made: dict[str, list[str]] = {}
        for writer in self._writers.values():
            if writer.key:
                made.setdefault(writer.key, []).append(writer.name)
        if len(made) < 2:
            return
        users = [
            names[0] + (f" and {len(names) - 1:,} more" if len(names) > 1 else "")
            for names in made.values()
        ]
        more = "; ..." if len(users) > NAMED_KEYS else ""
        self._problems.append(
            f"{len(users):,} hash keys were in use ({'; '.join(users[:NAMED_KEYS])}{more}): a "
            "person has another hash with each, and counts as another one"
        )
