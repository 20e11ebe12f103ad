# SPDX-License-Identifier: Apache-2.0
"""What a review is asked of: trace directories, with or without a cache, or a ClickHouse.

Why it exists: whoever shows a review must not care where it came from.

It must never answer differently because a library is or is not installed.
"""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING, Final, NamedTuple

from .databases import clickhouse
from .segments import gather, lines, read
from .selection import EVERYTHING, Selection

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .segments.keep import Keeper
    from .segments.read import Progress, Review

SourceError = clickhouse.SourceError

# Bytes of segments up to which they are read quicker than a database is loaded.
_SMALL: Final = 8 << 20


class Options(NamedTuple):
    """What only a ClickHouse is asked with."""

    table: str = clickhouse.TABLE
    cluster: str = ""
    timeout: float = clickhouse.TIMEOUT


def examine(
    sources: Sequence[str],
    options: Options,
    progress: Progress | None = None,
    keep: Keeper | None = None,
    asked: Selection = EVERYTHING,
) -> Review:
    """Review trace directories or `clickhouse://HOST:PORT/DATABASE`, narrowed to what is `asked`.

    Several directories are reviewed as one. With `keep`, which gets everything that is stored, they
    are read line by line. Raises OSError if a directory cannot be listed, SourceError if a
    database cannot be asked, SelectionError if what is asked for is not there.
    """
    databases = [source for source in sources if source.partition("://")[1]]
    if databases:
        if len(sources) > 1:
            raise SourceError("it cannot be one of several: expected it alone, or directories")
        address = clickhouse.address(databases[0], *options)
        return clickhouse.examine(address, os.environ, keep, asked)
    directories = gather.directories(sources)
    small = sum(map(_size, directories)) < _SMALL
    if keep is not None or not cached() or small:
        return read.examine(directories, progress, keep, asked)

    import duckdb

    from .databases import columns

    try:
        return columns.examine(directories, progress, asked)
    except (duckdb.Error, MemoryError):
        return read.examine(directories, progress, None, asked)  # slower, and it needs nothing


def cached() -> bool:
    """Whether what is read can be kept in columns (extra `review`)."""
    return importlib.util.find_spec("duckdb") is not None


def _size(directory: Path) -> int:
    total = 0
    with os.scandir(directory) as entries:
        for entry in entries:
            try:
                if lines.SEGMENT.fullmatch(entry.name) and entry.is_file():
                    total += entry.stat().st_size
            except OSError:
                continue
    return total
