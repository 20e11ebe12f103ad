# SPDX-License-Identifier: Apache-2.0
"""The evidence of one incident, taken out of a trace directory and sealed.

Why it exists: segments are deleted after a month, and hold everybody's records. Whoever must
prove an incident later, or hand it on, needs all of this one, nothing of the others, and a way
to tell that it is still what was stored.

It must never alter a stored line, never leave half an export under its name, never copy the hash
key, and never hand out what does not give the same incident when it is reviewed again.
"""

from __future__ import annotations

import io
import json
import os
import secrets
import shutil
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ws_audit import journal
from ws_audit.book import Book, cause_of
from ws_audit.incidents import Mark, incident_id, timestamp
from ws_audit.review.segments import keep, read

from . import manifest, timeline

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from typing import BinaryIO

    from ws_audit.incidents import Incident
    from ws_audit.model import Finding
    from ws_audit.review.segments.lines import StoredSpan
    from ws_audit.review.segments.read import Progress, Review, Writer
    from ws_audit.review.segments.rows import ViolationRow

TRACE: Final = "trace"  # laid out as a trace directory
_BLOCK: Final = 1 << 20


class ExportError(Exception):
    """An export that cannot be made; the text says why."""


class UnknownError(ExportError):
    """There is no such incident; `review` has those there are."""

    def __init__(self, review: Review) -> None:
        super().__init__("no such incident")
        self.review = review


class Sealed(NamedTuple):
    """An export that was made: how much is in it, and the digest to write down."""

    incident: str
    violations: int
    files: int
    digest: str


class _Place(NamedTuple):
    """A stored line: its segment and its bytes, the last one excluded."""

    segment: str
    begin: int
    end: int


def export(
    source: Path, incident: str, target: Path, by: str, now_ns: int, progress: Progress | None
) -> Sealed:
    """Seal the evidence of an incident in the directory `target`, which it makes.

    Raises ExportError, or OSError if the source cannot be read or there is no room. Nothing is
    left behind then, and nothing is in the journal.
    """
    if not source.is_dir():
        raise ExportError(f"{source}: no directory; expected a trace directory")
    check_target(source, target)
    try:
        journal.check(source)
    except OSError as error:
        raise ExportError(
            f"{journal.path(source)}: {error.strerror or error}; an export is written into the "
            "journal of the trace directory, so nothing is exported"
        ) from error

    reader = _Reader(source, progress)
    stored = reader.read()
    said = journal.read(source)
    review = read.assemble(stored, said)
    found = next((it for it in review.incidents if it.id == incident), None)
    if found is None:
        raise UnknownError(review)
    places = reader.places_of(_members(stored.findings, said.marks, found))

    # Beside where it will be, so that giving it its name is one step.
    partial = target.parent / f".{target.name}.{secrets.token_hex(8)}.partial"
    partial.mkdir(mode=0o700)
    try:
        (partial / TRACE).mkdir(mode=0o700)
        for name, stretches in places.items():
            _write(partial / TRACE / name, _stretches(source / name, stretches))
        _write(partial / TRACE / journal.FILE, [journal.about(source, _cause(found))])
        violations, added = _read_back(partial / TRACE, found, now_ns)
        _write(partial / "timeline.csv", [timeline.text(violations).encode("utf-8", "replace")])
        document = review.document(now_ns)
        del document["incidents"]
        whole = {**document, "incident": found.as_dict(now_ns), "as_of": timestamp(now_ns)}
        _write(partial / "incident.json", [json.dumps(whole, indent=1).encode() + b"\n"])
        sealed = manifest.text(partial, incident, by, now_ns, _source(source, places), added)
        _write(partial / manifest.FILE, [sealed])
        for folder in (partial / TRACE, partial):
            _sync(folder)

        digest = manifest.digest(sealed)
        first_ns, last_ns = found.first_ns, found.last_ns
        mark = Mark(_cause(found), found.number, first_ns, last_ns, now_ns, by)
        journal.exported(source, mark, digest)  # first: none may be without its entry
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)  # nothing, once it has its name
    _sync(target.parent)
    others = 4  # journal, timeline, incident, manifest
    return Sealed(incident, len(violations), len(places) + others, digest)


def check_target(source: Path, target: Path) -> None:
    """Raise ExportError unless an export can be given that name."""
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise ExportError(f"{target}: is no directory; expected one that is empty or not there")
    if target.is_dir() and any(target.iterdir()):
        raise ExportError(f"{target}: is not empty; expected a directory that is, or is not there")
    if not target.parent.is_dir():
        raise ExportError(f"{target}: there is no directory {target.parent}")
    inside = target.resolve()
    if source.resolve() in (inside, *inside.parents):
        raise ExportError(f"{target}: is in the trace directory, where old files are deleted")


class _Reader(read.Reader):
    """Reads a trace directory as ever, and remembers where each line is."""

    def __init__(self, directory: Path, progress: Progress | None) -> None:
        super().__init__(directory, progress, None)
        self._at: tuple[str, BinaryIO] = ("", io.BytesIO())
        self._place = _Place("", 0, 0)
        self._of_finding: list[list[_Place]] = []
        self._of_coverage: dict[tuple[str, str, str], list[_Place]] = {}  # by writer

    def places_of(self, members: Iterable[int]) -> dict[str, list[_Place]]:
        """Where the lines of these findings are, and the coverage of those who wrote them."""
        chosen = {place for index in members for place in self._of_finding[index]}
        writers = {_writer(place.segment) for place in chosen}
        chosen.update(place for it in writers for place in self._of_coverage.get(it, ()))
        found: dict[str, list[_Place]] = {}
        for place in sorted(chosen):
            known = found.setdefault(place.segment, [])
            if known and known[-1].end == place.begin:
                known[-1] = known[-1]._replace(end=place.end)
            else:
                known.append(place)
        return found

    def _file(self, name: str, kind: str, writer: Writer, file: BinaryIO) -> None:
        self._at = name, file
        super()._file(name, kind, writer, file)

    def _line(self, kind: str, writer: Writer, line: bytes) -> None:
        name, file = self._at
        end = file.tell()
        self._place = _Place(name, end - len(line), end)
        super()._line(kind, writer, line)
        if kind == "coverage" and line.strip():
            self._of_coverage.setdefault(_writer(name), []).append(self._place)

    def _span(self, kind: str, writer: Writer, span: StoredSpan) -> None:
        super()._span(kind, writer, span)
        if len(self._findings) > len(self._of_finding):
            self._of_finding.append([self._place])

    def _settle(self, writer: Writer, span: StoredSpan) -> None:
        index = writer.pending.get(span.id)
        super()._settle(writer, span)
        if index is not None:
            self._of_finding[index].append(self._place)


def _members(findings: list[Finding], marks: list[Mark], incident: Incident) -> list[int]:
    """Which findings, by their index, the book folds into that incident."""
    cause = _cause(incident)
    of_cause = [
        index
        for index, finding in enumerate(findings)
        if not finding.synthetic
        and finding.rule == incident.rule
        and incident_id(*cause_of(finding)) == cause
    ]
    book = Book(marks=marks)
    of_cause.sort(key=lambda index: book.begins(findings[index]))
    homes = [(index, book.add(findings[index])) for index in of_cause]
    book.fold(())
    return [index for index, home in homes if home.id == incident.id]


def _read_back(
    trace: Path, expected: Incident, now_ns: int
) -> tuple[list[ViolationRow], list[str]]:
    """Review what was written: its violations, and what had to be added to its journal.

    Raises ExportError if it does not give the same incident.
    """
    cause = _cause(expected)
    added: list[str] = []
    while True:
        keeper = keep.Keeper()
        found = read.examine(trace, None, keeper)
        its = [it for it in found.incidents if it.id.partition("-")[0] == cause]
        if [it.as_dict(now_ns) for it in its] == [expected.as_dict(now_ns)]:
            rows = keeper.all().violations
            return [row for row in rows if incident_id(*cause_of(row.finding)) == cause], added
        if added or len(its) != 1 or its[0].id == expected.id:
            raise ExportError(
                "what was written does not give the same incident when it is read back: the "
                "trace directory has changed meanwhile; try again"
            )
        # Its number came from the evidence of earlier ones, which is not taken along.
        begun = Mark(cause, expected.number, expected.first_ns, expected.first_ns)
        journal.append(trace, [begun])
        added = [f"{TRACE}/{journal.FILE}: the last line, to keep the number {expected.number}"]


def _source(source: Path, places: dict[str, list[_Place]]) -> dict[str, Any]:
    """Where the lines were: `begin-end` in bytes of each segment, the end excluded."""
    return {
        "directory": str(source.resolve()),
        "hosts": sorted({_writer(name)[0] for name in places}),
        "segments": [
            {"name": name, "ranges": " ".join(f"{it.begin}-{it.end}" for it in stretches)}
            for name, stretches in sorted(places.items())
        ],
    }


def _stretches(path: Path, stretches: list[_Place]) -> Iterator[bytes]:
    with path.open("rb") as file:
        for place in stretches:
            file.seek(place.begin)
            left = place.end - place.begin
            while left:
                block = file.read(min(left, _BLOCK))
                if not block:
                    raise OSError(f"{path.name} has become shorter while it was read; try again")
                left -= len(block)
                yield block


def _write(path: Path, blocks: Iterable[bytes]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        for block in blocks:
            file.write(block)
        file.flush()
        os.fsync(descriptor)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _cause(incident: Incident) -> str:
    return incident.id.partition("-")[0]


def _writer(segment: str) -> tuple[str, str, str]:
    """Host, pid and start, as the name of a segment has them."""
    kind_and_host, pid, start, _ = segment.rsplit("-", 3)
    return kind_and_host.partition("-")[2], pid, start
