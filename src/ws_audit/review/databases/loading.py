# SPDX-License-Identifier: Apache-2.0
"""Everything the segments of a trace directory tell of, in columns: loaded once, then only asked.

Why it exists: a store of all events is gigabytes of text, and one connection of it is a few lines.
What has been loaded is kept beside the columns of the review, a file for each stretch of a segment.

Files are never changed, only added, each in one step, so loading may be interrupted at any moment,
and any number of processes may load and ask at once. It must never believe a file that is damaged
or of a segment that is not as it was, nor keep what the directory no longer has, nor need more
memory for a larger store.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Final

import duckdb
import msgspec

from ws_audit.review.segments import gather, lines

from . import helpers, parts, shelf, sieve, stretches
from .stretches import Stretch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future
    from typing import BinaryIO

    from ws_audit.review.segments.read import Progress

PIECE: Final = 16 << 20  # bytes of a segment that are read at once
_WORTH_KEEPING: Final = 256 << 10  # less is read quicker than a file of it is found and checked
_WORTH_HELP: Final = 24 << 20
_ATTEMPTS: Final = 3


class Loaded:
    """All that was loaded, and what is to be said of it."""

    def __init__(self, database: duckdb.DuckDBPyConnection) -> None:
        self.database = database
        self.problems: list[str] = []
        self.events = 0
        self.first_ns = 0
        self.last_ns = 0
        self.all = False  # whether there are segments of every event
        self.read_bytes = 0  # what was not loaded before
        self.read_events = 0
        self.files: list[tuple[Path, Stretch]] = []
        self._temporary = contextlib.ExitStack()

    def among(self, keys: Sequence[int]) -> str:
        """What to select from to find what has one of these keys (see `sieve`); none: all."""
        files = [
            file
            for file, it in self.files
            if not keys or any(sieve.may_hold(it.ids, key) for key in keys)
        ]
        if not files:
            return "fresh"
        names = ", ".join(f"'{shelf.quoted(str(file))}'" for file in files)
        return f"(SELECT * FROM read_parquet([{names}]) UNION ALL SELECT * FROM fresh)"

    def folder(self) -> Path:
        """A folder that is gone with this."""
        folder = tempfile.TemporaryDirectory(prefix="ws-audit-")
        return Path(self._temporary.enter_context(folder))

    def close(self) -> None:
        """Let go of everything that is not kept."""
        self.database.close()
        self._temporary.close()


def load(directories: Sequence[Path], progress: Progress | None = None) -> Loaded:
    """Load what is new and give all of it to be asked. Raises OSError if there is no directory.

    What can be read is loaded, what cannot is named in `problems`.
    """
    for _ in range(_ATTEMPTS - 1):
        try:
            return _load(directories, progress)
        except duckdb.IOException:
            continue  # a file was replaced by somebody else's meanwhile
    return _load(directories, progress)


def _load(directories: Sequence[Path], progress: Progress | None) -> Loaded:
    loaded = Loaded(duckdb.connect(config={"memory_limit": "1GB"}))
    with contextlib.ExitStack() as undo:
        undo.callback(loaded.close)
        loading = _Loading(loaded, progress)
        for directory in directories:
            loading.look(directory)
        loading.choose()
        loading.read()
        loading.finish()
        undo.pop_all()
    return loaded


class _Job:
    """A stretch that is to be read, and where it is to be kept (None: not at all)."""

    def __init__(self, path: Path, stretch: Stretch, place: Path | None) -> None:
        self.path, self.stretch, self.place = path, stretch, place


class _Loading:
    def __init__(self, loaded: Loaded, progress: Progress | None) -> None:
        self._loaded = loaded
        self._progress = progress
        self._jobs: list[_Job] = []
        self._files = loaded.files
        self._known: list[Stretch] = []
        self._segments: dict[str, list[Path]] = {}  # a copied one stands in two directories
        self._kept: dict[Path, dict[str, list[tuple[Path, Stretch]]]] = {}
        self._places: dict[Path, Path] = {}
        self._done = 0
        self._total = 0

    # -- what there is -------------------------------------------------------------------------

    def look(self, directory: Path) -> None:
        """Find the segments of a directory, and what is kept of them. Raises OSError."""
        for path in sorted(directory.iterdir()):
            events = lines.EVENTS.fullmatch(path.name)
            segment = lines.SEGMENT.fullmatch(path.name)
            if events or (segment and segment[1] == "violations"):
                self._segments.setdefault(path.name, []).append(path)
                self._loaded.all |= events is not None
        self._kept[directory] = _kept(directory)
        self._places[directory] = self._place(directory)

    def choose(self) -> None:
        """Find out what is loaded, and what is to be read."""
        for name, copies in self._segments.items():
            path, problems = gather.longest(copies)
            self._loaded.problems += problems
            kept = self._kept[path.parent].get(name, [])
            try:
                if not path.is_file():
                    raise OSError("not a regular file")  # a pipe would keep us waiting
                self._segment(path, kept, self._places[path.parent])
            except OSError as error:
                self._problem(name, f"cannot be read: {error.strerror or error}")
        used = {file for file, _ in self._files}
        for directory, segments in self._kept.items():
            for name, files in segments.items():
                gone = not (directory / name).exists()
                for file, _ in files:
                    # One of two that overlap may be what somebody else is asking just now.
                    if gone or (file not in used and shelf.abandoned(file)):
                        with contextlib.suppress(OSError):
                            file.unlink()

    def _place(self, directory: Path) -> Path:
        for place in shelf.places(directory):
            with contextlib.suppress(OSError):
                place.mkdir(mode=0o700, exist_ok=True)
                shelf.check_private(place)
                if os.access(place, os.W_OK):
                    return place
        # Nothing can be kept, and memory is not for gigabytes.
        return self._loaded.folder()

    def _segment(self, path: Path, kept: list[tuple[Path, Stretch]], place: Path) -> None:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            at = 0
            while True:
                more = [
                    (it.end, known, it)
                    for known, it in kept
                    if it.start == at and it.end > at and _still(it, status, file)
                ]
                if not more:
                    break
                at, known, it = max(more, key=lambda one: one[0])
                self._files.append((known, it))
                self._known.append(it)
            whole = parts.whole_lines(file, status.st_size)
            for start, end in [*_pieces(file, at, whole), (max(at, whole), status.st_size)]:
                if start >= end:
                    continue
                stretch = Stretch(
                    stretches.VERSION,
                    path.name,
                    start,
                    end,
                    status.st_ino,
                    status.st_mtime_ns,
                    status.st_size,
                    parts.fingerprint(file, end),
                )
                worth = end <= whole and end - start >= _WORTH_KEEPING
                self._jobs.append(_Job(path, stretch, place if worth else None))
                self._total += end - start

    # -- what is new ---------------------------------------------------------------------------

    def read(self) -> None:
        """Read what is not loaded yet."""
        stretches.put(self._loaded.database, "fresh", b"")
        kept = [job for job in self._jobs if job.place is not None]
        for job in self._jobs:
            if job.place is None:
                self._here(job)
        many = helpers.wanted(len(kept))
        size = sum(job.stretch.end - job.stretch.start for job in kept)
        if many < 2 or size < _WORTH_HELP:
            for job in kept:
                self._keep(job)
        else:
            self._there(kept, many)

    def _there(self, jobs: list[_Job], many: int) -> None:
        """Have other processes read; those that are at it when we are interrupted finish theirs."""
        pool = helpers.pool(many)
        try:
            waiting = list(jobs)
            asked: dict[Future[tuple[Path, Stretch]], _Job] = {}
            while waiting or asked:
                while waiting and len(asked) < 2 * many:
                    job = waiting.pop(0)
                    future = pool.submit(stretches.keep, job.path, job.stretch, job.place or Path())
                    asked[future] = job
                done, _ = wait(asked, return_when="FIRST_COMPLETED")
                for future in done:
                    job = asked.pop(future)
                    try:
                        self._took(job, *future.result())
                    except BrokenExecutor:  # no memory for another process, or somebody ended it
                        waiting = [*asked.values(), job, *waiting]
                        asked.clear()
                        for one in waiting:
                            self._keep(one)
                        return
                    except duckdb.Error:
                        self._here(job)
                    except OSError as error:
                        self._unread(job, error)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _keep(self, job: _Job) -> None:
        try:
            self._took(job, *stretches.keep(job.path, job.stretch, job.place or Path()))
        except duckdb.Error:
            self._here(job)
        except OSError as error:
            self._unread(job, error)

    def _here(self, job: _Job) -> None:
        """Read a stretch into memory."""
        job.stretch.lines, job.stretch.faults = 0, {}
        try:
            rows = stretches.read(job.path, job.stretch)
        except OSError as error:
            self._unread(job, error)
            return
        try:
            stretches.put(self._loaded.database, "fresh", rows)
        except duckdb.Error as error:
            what = str(error).partition("\n")[0]
            self._problem(job.path.name, f"cannot be loaded: {what}")
            return
        self._took(job, None, job.stretch)

    def _took(self, job: _Job, file: Path | None, stretch: Stretch) -> None:
        if file is not None:
            self._files.append((file, stretch))
        self._known.append(stretch)
        self._loaded.read_bytes += stretch.end - stretch.start
        self._loaded.read_events += stretch.events
        self._done += job.stretch.end - job.stretch.start
        if self._progress is not None:
            self._progress(min(self._done, self._total), self._total)

    def _unread(self, job: _Job, error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):  # else deleted meanwhile
            self._problem(job.path.name, f"cannot be read: {error.strerror or error}")

    # -- all of it -------------------------------------------------------------------------------

    def finish(self) -> None:
        loaded = self._loaded
        if self._progress is not None and self._total:
            self._progress(self._total, self._total)
        before: dict[str, int] = {}
        faults: dict[tuple[str, str], tuple[int, int]] = {}
        for it in sorted(self._known, key=lambda it: (it.segment, it.start)):
            seen = before.get(it.segment, 0)
            for fault, (line, count) in it.faults.items():
                first, so_far = faults.get((it.segment, fault), (seen + line, 0))
                faults[it.segment, fault] = (first, so_far + count)
            before[it.segment] = seen + it.lines
            loaded.events += it.events
            if it.events:
                loaded.first_ns = min(loaded.first_ns or it.first_ns, it.first_ns)
                loaded.last_ns = max(loaded.last_ns, it.last_ns)
        for (name, fault), (first, count) in faults.items():
            more = f", and {count - 1:,} more" if count > 1 else ""
            self._problem(f"{name} line {first}{more}", f"{fault}, not shown")

    def _problem(self, where: str, what: str) -> None:
        self._loaded.problems.append(f"{where}: {what}")


def _kept(directory: Path) -> dict[str, list[tuple[Path, Stretch]]]:
    """The whole files there are, by the name of their segment."""
    files = []
    for place in shelf.places(directory):
        with contextlib.suppress(OSError):
            shelf.check_private(place)
            files += list(place.glob("*@*.parquet"))
            shelf.sweep(place)
    found: dict[str, list[tuple[Path, Stretch]]] = {}
    if not files:
        return found
    with ThreadPoolExecutor(helpers.wanted(len(files))) as threads:
        whole = threads.map(_intact, files)
        intact = [path for path, sure in zip(files, whole, strict=True) if sure]
    good = {path: it for path, it in _told(intact) if it.version == stretches.VERSION}
    for path, it in good.items():
        found.setdefault(it.segment, []).append((path, it))
    for path in set(files) - good.keys():
        with contextlib.suppress(OSError):
            path.unlink()
    return found


def _intact(path: Path) -> bool:
    try:
        return path.name.endswith(f"-{shelf.digest(path)}.parquet")
    except OSError:
        return False


def _told(files: list[Path]) -> Iterator[tuple[Path, Stretch]]:
    """What each file says of itself; one that says nothing understood here is left out."""
    question = (
        f"SELECT file_name, decode(value) FROM parquet_kv_metadata(?) WHERE key = '{stretches.KEY}'"
    )
    names = [str(path) for path in files]
    rows: list[tuple[str, str]] = []
    with duckdb.connect() as database:
        try:
            rows = database.execute(question, [names]).fetchall()
        except duckdb.Error:  # one is none, or was replaced just now
            for one in names:
                with contextlib.suppress(duckdb.Error):
                    rows += database.execute(question, [[one]]).fetchall()
    for name, text in rows:
        with contextlib.suppress(msgspec.MsgspecError):
            yield Path(name), msgspec.json.decode(text, type=Stretch)


def _still(it: Stretch, status: os.stat_result, file: BinaryIO) -> bool:
    """Whether a segment is as it was, or has only grown."""
    unchanged = (it.changed, it.size) == (status.st_mtime_ns, status.st_size)
    grown = it.inode == status.st_ino and it.size < status.st_size
    return (unchanged or grown) and parts.fingerprint(file, it.end) == it.print


def _pieces(file: BinaryIO, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Whole lines from `start` to `end`, not too many at once."""
    while start < end:
        stop = min(start + PIECE, end)
        if stop < end:
            stop = parts.whole_lines(file, stop)
            if stop <= start:  # a line that is longer than this: none of ours
                stop = end
        yield start, stop
        start = stop
