# SPDX-License-Identifier: Apache-2.0
"""A trace directory in columns: what was read once is kept in a cache, and asked by SQL.

Why it exists: a store of a month is hundreds of megabytes of text, and who was woken by an alert
must not wait for it to be read again and again.

The cache is one Parquet file in a folder of the trace directory (or in a temporary place, where
the directory cannot be written). It is never changed, only replaced by a new one in one step, so
any number of reviews may use and renew it at once, and none waits for another.

It must never change an answer: whatever in it is not sure to be what the segments say now is read
again from them. And it must never keep what the directory no longer has.
"""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import tempfile
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import duckdb
import msgspec

from ws_audit import journal
from ws_audit.incidents import incident_id
from ws_audit.review.segments import gather, lines, read
from ws_audit.review.selection import EVERYTHING

from . import helpers, parts, queries, shelf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future
    from typing import BinaryIO

    from duckdb import DuckDBPyConnection

    from ws_audit.model import Finding
    from ws_audit.review.segments.gather import Where
    from ws_audit.review.segments.lines import Faults
    from ws_audit.review.segments.read import Progress, Review, Writer
    from ws_audit.review.selection import Selection

VERSION: Final = 2  # of what the cache holds; one of another version is not looked at

_WORTH_KEEPING: Final = 1 << 20  # bytes read anew: less is read quicker than a cache is written
_WORTH_HELP: Final = 32 << 20  # bytes to read: from here on other processes help
_ATTEMPTS: Final = 3  # at a cache that another review replaces meanwhile

_DUCKDB: Final = queries.Dialect("({} // {})", "findings", "(part << 32) + row")
_TYPES: Final = {"str": "VARCHAR", "int": "BIGINT", "bool": "BOOLEAN"}
_COLUMNS: Final = {name: _TYPES[form] for name, form in parts.Row.__annotations__.items()}
_OTHERS: Final = ", ".join(name for name in _COLUMNS if name != "part")


class Segment(msgspec.Struct):
    """One segment: how it looked when it was read, and its parts with their numbers in the rows."""

    inode: int
    changed: int
    size: int
    print: str
    parts: list[tuple[int, parts.Part]]


class Contents(msgspec.Struct):
    """What stands in a cache beside its rows."""

    version: int
    segments: dict[str, Segment]


class _Stretch(NamedTuple):
    """Bytes of a segment that are still to be read. Not `whole`: a last line without its end."""

    path: Path
    kind: str
    start: int
    end: int
    whole: bool


def examine(
    where: Where, progress: Progress | None = None, asked: Selection = EVERYTHING
) -> Review:
    """Review trace directories as `read.examine` does; a single one with the help of its cache.

    The findings in `stored` are condensed: fewer, with the same sums. Raises OSError if a
    directory cannot be listed, SelectionError if what is asked for is not there.
    """
    columns = Columns(where, progress, asked)
    try:
        stored = columns.read()
        # After the findings: what was acknowledged meanwhile had been found before.
        said = gather.said(gather.directories(where))
        findings = columns.findings({mark.cause for mark in said.marks})
        return read.assemble(stored._replace(findings=findings), said, None, asked)
    finally:
        columns.close()


class Columns(read.Reader):
    """Trace directories, read into an in-memory table; one alone with the help of its cache."""

    def __init__(self, where: Where, progress: Progress | None, asked: Selection) -> None:
        super().__init__(where, progress, None, asked)
        self._cache = Cache(self._directories)
        self._erased = self._erasures()
        self._database = duckdb.connect()
        self._parts: dict[str, list[tuple[int, parts.Part]]] = {}
        self._homes: dict[int, str] = {}  # part -> the host that wrote it
        self._waiting: dict[int, dict[str, tuple[int, int, int]]] = {}
        self._settled: list[tuple[int, int, int]] = []  # part, row, how many went out after all

    def read(self) -> read.Stored:
        """Read everything. The findings are in the table, not in what is returned."""
        stored = super().read()
        if self._settled:
            self._database.execute("CREATE TABLE settled (part BIGINT, row BIGINT, out BIGINT)")
            self._database.executemany("INSERT INTO settled VALUES (?, ?, ?)", self._settled)
            self._database.execute(
                "UPDATE findings SET delivered = settled.out FROM settled "
                "WHERE findings.part = settled.part AND findings.row = settled.row"
            )
        return stored

    def close(self) -> None:
        """Release the table."""
        self._database.close()

    def findings(self, watched: set[str]) -> list[Finding]:
        """As few findings as give the same incidents; those of a cause in `watched` one by one.

        Where somebody has acknowledged an incident, its end depends on single findings.
        """
        causes = self._database.execute(queries.causes(_DUCKDB)).fetchall()
        single = [cause for cause in causes if incident_id(*cause) in watched]
        among = " OR ".join(
            f"(service = ${it} AND rule = ${it + 1} AND place = ${it + 2})"
            for it in range(1, 3 * len(single), 3)
        )
        among = among or "1 = 0"
        values = [name for cause in single for name in cause]

        def ask(query: str) -> list[tuple[Any, ...]]:
            return self._database.execute(query, values).fetchall()

        found = queries.condensed(
            ask(queries.sums(_DUCKDB, f"NOT ({among})", self._asked)),
            ask(queries.traces(_DUCKDB, f"NOT ({among})", self._asked)),
        )
        if single:
            found += [queries.finding(*row) for row in ask(queries.each(_DUCKDB, among))]
        return found

    def _erasures(self) -> int:
        """How often a person has been erased from the directories."""
        with contextlib.suppress(OSError):
            return sum(len(journal.deeds(it, journal.ERASE)) for it in self._directories)
        return -1

    # -- what there is, and what of it is new -----------------------------------------------------

    def _segments(self) -> list[tuple[Path, str, Writer]]:
        found = super()._segments()
        contents = self._cache.load(self._database)
        work: list[_Stretch] = []
        segments: dict[str, Segment] = {}
        for path, kind, _ in found:
            # What cannot be opened is named when its turn comes.
            with contextlib.suppress(OSError):
                if path.is_file():
                    known = contents.segments.get(path.name)
                    segments[path.name], more = _look(path, kind, known)
                    work += more

        fresh = self._take(work, 1 + _last(contents))
        for stretch, number, part in fresh:
            segments[stretch.path.name].parts.append((number, part))
        numbers = [n for path, _, _ in found for n, _ in _parts(segments.get(path.name))]
        self._join(numbers)
        ranks = {number: rank for rank, number in enumerate(numbers)}
        for segment in segments.values():
            segment.parts = [(ranks[number], part) for number, part in segment.parts]
        self._homes = {
            number: writer.host
            for path, _, writer in found
            for number, _ in _parts(segments.get(path.name))
        }
        self._parts = {
            self._title(path): segments[path.name].parts
            for path, _, _ in found
            if path.name in segments
        }

        stale = any(
            name not in segments or known.parts[0][1] is not segments[name].parts[0][1]
            for name, known in contents.segments.items()
            if known.parts
        )
        read_anew = sum(part.end - part.start for _, _, part in fresh)
        worth_it = stale or read_anew >= _WORTH_KEEPING
        # Somebody erased meanwhile may be among what was read before.
        if worth_it and self._erased == self._erasures():
            tails = {ranks[number] for stretch, number, _ in fresh if not stretch.whole}
            for segment in segments.values():
                segment.parts = [it for it in segment.parts if it[0] not in tails]
            self._cache.keep(self._database, Contents(VERSION, segments), tails)
        return found

    def _take(self, work: list[_Stretch], first: int) -> list[tuple[_Stretch, int, parts.Part]]:
        """Read what is new into the table `fresh`; return the parts and their numbers."""
        done = []
        with tempfile.TemporaryDirectory(prefix="ws-audit-") as folder:
            rows = Path(folder, "rows.jsonl")
            with rows.open("wb") as file:
                for (number, stretch), answer in _read_all(list(enumerate(work, first))):
                    try:
                        part, text = answer()
                    except OSError:
                        continue  # deleted meanwhile; named when its turn comes
                    file.write(text)
                    done.append((stretch, number, part))
                    self._done += stretch.end - stretch.start
                    if self._progress is not None:
                        self._progress(min(self._done, self._total), self._total)
            columns = ", ".join(f"{name}: '{form}'" for name, form in _COLUMNS.items())
            self._database.execute(
                f"CREATE TABLE fresh AS SELECT * FROM read_json(?, format = 'newline_delimited', "
                f"columns = {{{columns}}})",
                [str(rows)],
            )
        return done

    def _join(self, numbers: list[int]) -> None:
        """Put what the cache has and what is new into one table, in the order of the segments."""
        self._database.execute("CREATE TABLE ranks (number BIGINT, rank BIGINT)")
        self._database.execute(
            "INSERT INTO ranks SELECT unnest(?), unnest(?)", [numbers, list(range(len(numbers)))]
        )
        self._database.execute(
            f"CREATE TABLE findings AS SELECT rank AS part, {_OTHERS} FROM "
            "(SELECT * FROM cached UNION ALL SELECT * FROM fresh) AS rows "
            "JOIN ranks ON rows.part = ranks.number"
        )
        self._database.execute("DROP TABLE cached; DROP TABLE fresh; DROP TABLE ranks")

    def _moments(self) -> dict[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = {}
        rows = self._database.execute(
            "SELECT part, trace_id, min(first_ns) FROM findings WHERE n = 1 AND NOT synthetic "
            "GROUP BY part, trace_id QUALIFY count(*) OVER (PARTITION BY trace_id) > 1"
        )
        for part, trace, first_ns in rows.fetchall():
            seen = found.setdefault(self._homes[part], {})
            seen[trace] = min(first_ns, seen.get(trace, first_ns))
        return found

    # -- segment by segment, as `read.Reader` goes through them ------------------------------------

    def _file(self, name: str, kind: str, writer: Writer, file: BinaryIO) -> None:
        faults: Faults = {}
        before = 0
        for number, part in self._parts.get(name, ()):
            for fault, (line, count) in part.faults.items():
                first, so_far = faults.get(fault, (before + line, 0))
                faults[fault] = (first, so_far + count)
            before += part.lines
            self._part(number, part, writer)
        self._name(name, faults)

    def _part(self, number: int, part: parts.Part, writer: Writer) -> None:
        for service, (first_ns, last_ns) in part.services.items():
            self._seen(service, first_ns, last_ns)
        if self._asked.since_ns or self._asked.services:
            for minute in part.minutes():
                if self._asked.covers(minute.service, minute.last_ns):
                    self._add(dict(zip(lines.COUNTS, minute.counts, strict=True)), minute.reasons)
        else:
            self._add(part.coverage, part.reasons)
        writer.wrote |= part.wrote
        if part.finished is not None:
            writer.finished = part.finished
        writer.orphans += part.orphans
        writer.key = part.key or writer.key

        waiting = self._waiting.setdefault(id(writer), {})
        for span_id, (told, out) in part.carried.items():
            known = waiting.pop(span_id, None)
            if known is None:
                writer.orphans += 1
                continue
            number_then, row, count = known
            delivered = min(told, count) if told >= 0 else count if out else 0
            self._settled.append((number_then, row, delivered))
        if waiting:
            # A violation that comes twice takes the place of the first.
            again = self._database.execute(
                "SELECT DISTINCT span_id FROM findings WHERE part = ? AND pended", [number]
            ).fetchall()
            for (span_id,) in again:
                waiting.pop(span_id, None)
        for span_id, (row, count) in part.open.items():
            waiting[span_id] = (number, row, count)


class Cache:
    """The file in which the columns of one trace directory are kept, and its name.

    Of several together nothing is kept: what one of them deletes, it could not take from another.
    The name holds a digest of the whole file: one that is damaged is not looked at.
    """

    def __init__(self, directories: tuple[Path, ...]) -> None:
        (alone,) = directories if len(directories) == 1 else (None,)
        self._places = [] if alone is None else shelf.places(alone)

    def load(self, database: DuckDBPyConnection) -> Contents:
        """Read the newest cache there is into the table `cached`."""
        for _ in range(_ATTEMPTS):
            for path in self._files():
                try:
                    if not _intact(path):
                        continue
                    (row,) = database.execute(
                        "SELECT decode(value) FROM parquet_kv_metadata(?) WHERE key = 'ws_audit'",
                        [str(path)],
                    ).fetchall()
                    contents = msgspec.json.decode(row[0], type=Contents)
                    database.execute(
                        "CREATE OR REPLACE TABLE cached AS SELECT * FROM read_parquet(?)",
                        [str(path)],
                    )
                except (OSError, ValueError, duckdb.Error, msgspec.MsgspecError):
                    continue  # another version, or replaced just now
                if contents.version == VERSION:
                    return contents
            if not self._files():
                break
        columns = ", ".join(f"{name} {form}" for name, form in _COLUMNS.items())
        database.execute(f"CREATE OR REPLACE TABLE cached ({columns})")
        return Contents(VERSION, {})

    def keep(self, database: DuckDBPyConnection, contents: Contents, tails: set[int]) -> None:
        """Write the table `findings`, save for the parts in `tails`, and remove what is older.

        Nothing is said of a cache that cannot be written: it would only have been quicker.
        """
        without = ", ".join(map(str, sorted(tails))) or "-1"
        told = msgspec.json.encode(contents).decode()
        for place in self._places:
            try:
                place.mkdir(mode=0o700, exist_ok=True)
                shelf.check_private(place)
                shelf.sweep(place)
                new = place / f"{shelf.UNFINISHED}{secrets.token_hex(8)}"
                try:
                    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                    os.close(descriptor)
                    database.execute(
                        f"COPY (SELECT * FROM findings WHERE part NOT IN ({without})) "
                        f"TO '{shelf.quoted(str(new))}' (FORMAT parquet, COMPRESSION zstd, "
                        f"KV_METADATA {{ws_audit: '{shelf.quoted(told)}'}})"
                    )
                    new.chmod(0o600)
                    kept = new.rename(place / f"columns-{shelf.digest(new)}.parquet")
                finally:
                    new.unlink(missing_ok=True)
            except (OSError, duckdb.Error):
                continue
            for path in self._files():
                if path != kept:
                    with contextlib.suppress(OSError):
                        path.unlink()
            return

    def _files(self) -> list[Path]:
        """The caches there are, newest first."""
        found = []
        for place in self._places:
            try:
                shelf.check_private(place)
                found += [(it.stat().st_mtime_ns, it) for it in place.glob("columns-*.parquet")]
            except OSError:
                continue
        return [path for _, path in sorted(found, reverse=True)]


def _look(path: Path, kind: str, known: Segment | None) -> tuple[Segment, list[_Stretch]]:
    """Look at a segment: what of it is known, and what is still to be read. Raises OSError."""
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        done = known.parts if known is not None and _still(known, status, file) else []
        end = parts.whole_lines(file, status.st_size)
        seen = Segment(
            status.st_ino,
            status.st_mtime_ns,
            status.st_size,
            parts.fingerprint(file, end),
            list(done),
        )
    start = done[-1][1].end if done else 0
    stretches = [
        _Stretch(path, kind, start, end, whole=True),
        _Stretch(path, kind, end, status.st_size, whole=False),
    ]
    return seen, [it for it in stretches if it.start < it.end]


def _still(known: Segment, status: os.stat_result, file: BinaryIO) -> bool:
    """Whether a segment is as it was, or has only grown."""
    unchanged = (known.changed, known.size) == (status.st_mtime_ns, status.st_size)
    grown = known.inode == status.st_ino and known.size < status.st_size
    end = known.parts[-1][1].end if known.parts else 0
    return (unchanged or grown) and parts.fingerprint(file, end) == known.print


def _read_all(
    work: list[tuple[int, _Stretch]],
) -> Iterator[tuple[tuple[int, _Stretch], Callable[[], tuple[parts.Part, bytes]]]]:
    """Read stretches, with the help of other processes if there are many bytes of them."""

    def here(number: int, it: _Stretch) -> tuple[parts.Part, bytes]:
        return parts.read(it.path, it.kind, it.start, it.end, number)

    def there(future: Future[tuple[parts.Part, bytes]], *one: Any) -> tuple[parts.Part, bytes]:
        try:
            return future.result()
        except BrokenExecutor:
            return here(*one)  # no memory for another process, or somebody ended it

    size = sum(stretch.end - stretch.start for _, stretch in work)
    many = helpers.wanted(len(work))
    if size < _WORTH_HELP or many < 2:
        for one in work:
            yield one, functools.partial(here, *one)
        return
    with helpers.pool(many) as pool:
        asked = [
            pool.submit(parts.read, it.path, it.kind, it.start, it.end, number)
            for number, it in work
        ]
        for one, future in zip(work, asked, strict=True):
            yield one, functools.partial(there, future, *one)


def _parts(segment: Segment | None) -> list[tuple[int, parts.Part]]:
    return segment.parts if segment is not None else []


def _last(contents: Contents) -> int:
    return max((n for it in contents.segments.values() for n, _ in it.parts), default=-1)


def _intact(path: Path) -> bool:
    return path.name == f"columns-{shelf.digest(path)}.parquet"
