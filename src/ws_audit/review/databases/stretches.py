# SPDX-License-Identifier: Apache-2.0
"""A stretch of a segment as a Parquet file: what happened in it, and how its segment looked then.

Why it exists: stretches are read by themselves, by several processes, and each is kept as soon as
it is read; who interrupts has lost nothing of what was done.

It must never leave half a file under a name that is believed.
"""

from __future__ import annotations

import gc
import os
import secrets
import tempfile
from typing import TYPE_CHECKING, Final

import duckdb
import msgspec

from ws_audit.review.segments import lines

from . import shelf, sieve
from .happenings import CORRUPT, DELIVERY, MOST, Happening, happenings

if TYPE_CHECKING:
    from pathlib import Path

    from duckdb import DuckDBPyConnection

VERSION: Final = 2  # of what such a file holds; one of another version is read again
KEY: Final = "ws_audit_events"


_TYPES: Final = {"str": "VARCHAR", "int": "BIGINT"}
_IDS: Final = ("high", "low", "span", "parent", "alike")  # of 64 bits
COLUMNS: Final = {
    name: "UBIGINT" if name in _IDS else _TYPES[form]
    for name, form in Happening.__annotations__.items()
}
_FORM: Final = ", ".join(f"{name}: '{form}'" for name, form in COLUMNS.items())


class Stretch(msgspec.Struct):
    """Bytes of a segment, and what the segment was when they were read.

    `print` is what the bytes before `end` look like. `faults` counts lines from the stretch's own
    beginning. `first_ns` and `last_ns` are 0 where nothing happened. `ids` is the sieve of what one
    may ask for.
    """

    version: int
    segment: str
    start: int
    end: int
    inode: int
    changed: int
    size: int
    print: str
    lines: int = 0
    events: int = 0
    first_ns: int = 0
    last_ns: int = 0
    faults: dict[str, tuple[int, int]] = {}
    ids: bytes = b""


def read(path: Path, it: Stretch) -> bytes:
    """Read a stretch and complete it; the rows as JSON lines. Raises OSError."""
    found: list[Happening] = []
    match = lines.SEGMENT.fullmatch(path.name) or lines.EVENTS.fullmatch(path.name)
    began = min(int(match[match.re.groups - 1]), MOST) if match is not None else 0
    collecting = gc.isenabled()
    gc.disable()  # nothing in here is a cycle
    try:
        with path.open("rb") as file:
            file.seek(it.start)
            at, whole = it.start, True
            while at < it.end and (line := file.readline(min(lines.LONGEST, it.end - at))):
                if whole:
                    it.lines += 1
                    _line(it, line, began, found)
                at += len(line)
                whole = line.endswith(b"\n")
        it.events = len(found)
        if found:
            it.first_ns = min(one.time_ns for one in found)
            it.last_ns = max(one.time_ns for one in found)
        it.ids = sieve.sieve(_ids(found))
        return msgspec.json.Encoder().encode_lines(found)
    finally:
        if collecting:
            gc.enable()


def _line(it: Stretch, line: bytes, began: int, found: list[Happening]) -> None:
    if not line.strip():
        return
    try:
        found += happenings(line, began)
    except (lines.ForeignError, *CORRUPT) as error:
        fault = lines.fault(line, error)
        first, count = it.faults.get(fault, (it.lines, 0))
        it.faults[fault] = (first, count + 1)


def _ids(found: list[Happening]) -> set[int]:
    number = sieve.number
    persons = {one.recipient for one in found}
    for owners in {one.owners for one in found}:
        persons.update(piece.partition(" ")[2] for piece in owners.split(","))
    return {
        *[number("trace", it) for it in {one.low for one in found}],
        *[number("span", it) for it in {one.span for one in found if one.what != DELIVERY}],
        *[number("span", it) for it in {one.parent for one in found}],
        *[number("connection", it) for it in {one.connection for one in found}],
        *[number("person", it) for it in persons],
    }


def put(database: DuckDBPyConnection, table: str, rows: bytes) -> None:
    """Append rows to a table, which is made if it is not there."""
    with tempfile.NamedTemporaryFile(prefix="ws-audit-", suffix=".jsonl") as file:
        file.write(rows)
        file.flush()
        taken = f"read_json(?, format = 'newline_delimited', columns = {{{_FORM}}})"
        database.execute(
            f"CREATE TABLE IF NOT EXISTS {table} AS SELECT * FROM {taken} LIMIT 0", [file.name]
        )
        database.execute(f"INSERT INTO {table} SELECT * FROM {taken}", [file.name])


def keep(path: Path, it: Stretch, place: Path) -> tuple[Path, Stretch]:
    """Read a stretch and keep it in a file of its own. Raises OSError or duckdb.Error."""
    rows = read(path, it)
    new = place / f"{shelf.UNFINISHED}{secrets.token_hex(8)}"
    with duckdb.connect(config={"threads": 1, "memory_limit": "512MB"}) as database:
        put(database, "happenings", rows)
        told = msgspec.json.encode(it).decode()
        try:
            os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            database.execute(
                f"COPY happenings TO '{shelf.quoted(str(new))}' (FORMAT parquet, "
                f"COMPRESSION zstd, KV_METADATA {{{KEY}: '{shelf.quoted(told)}'}})"
            )
            new.chmod(0o600)
            name = f"{path.name.removesuffix('.jsonl')}@{it.start}-{shelf.digest(new)}.parquet"
            return new.rename(place / name), it
        finally:
            new.unlink(missing_ok=True)
