# SPDX-License-Identifier: Apache-2.0
"""`ws-audit review events`: what happened in one trace, on one connection, or to one person.

Why it exists: the review counts leaks; whoever has to explain one wants to see what came before it,
and what else went to that connection.

It must never pass a stored text to the terminal as anything but text, nor say that nothing
happened where it could not look.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import time
from typing import TYPE_CHECKING, Final

from ws_audit.incidents import timestamp
from ws_audit.review.segments import gather
from ws_audit.review.telling.report import plain

from .actions import configured, wrong
from .review import progress, write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ws_audit.review.databases.events import Answer
    from ws_audit.review.databases.happenings import Happening
    from ws_audit.review.databases.loading import Loaded

_COMMAND: Final = "events"
_HASH: Final = 32  # hex digits of a person
_SHORTEST: Final = 8
_BUT: Final = 'with their neighbours; for all: store.events = "all" in the agent\'s settings'


def main(words: list[str]) -> int:
    """Show what `words` ask for; the exit code."""
    options = _parser().parse_args(words)
    sources = options.source or [configured(_COMMAND)]
    if None in sources:
        return 2
    if any(source.partition("://")[1] for source in sources):
        return wrong(
            _COMMAND, "--source is a database; expected a trace directory: ask the database itself"
        )
    if importlib.util.find_spec("duckdb") is None:
        return wrong(_COMMAND, "it needs DuckDB: pip install ws-audit[review]")
    return _show(options, sources)


def _show(options: argparse.Namespace, sources: list[str]) -> int:
    import duckdb

    from ws_audit.review.databases import events, loading

    by, value = next(
        (name, getattr(options, name))
        for name in (events.TRACE, events.CONNECTION, events.USER)
        if getattr(options, name) is not None
    )
    begun = time.perf_counter()
    try:
        loaded = loading.load(gather.directories(sources), progress())
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        named = (error.filename if isinstance(error, OSError) else None) or sources[0]
        return wrong(_COMMAND, f"{named}: {why}; expected a trace directory")
    except duckdb.Error as error:
        return wrong(_COMMAND, f"what was loaded cannot be read: {_first(error)}; try again")
    try:
        took = time.perf_counter() - begun
        answer = events.ask(loaded, by, value, options.limit)
        if options.format == "json":
            told = events.document(loaded, {by: value}, answer)
            write(json.dumps(told, indent=1) + "\n")
        else:
            write(_text(by, value, loaded, answer))
        if options.times:
            read = f", {loaded.read_bytes >> 20:,} MiB of them anew" if loaded.read_bytes else ""
            wrong(
                _COMMAND,
                f"{loaded.events:,} events there{read}: {took * 1000:,.0f} ms;"
                f" asked: {answer.seconds * 1000:,.1f} ms",
            )
        if not answer.rows:
            return wrong(_COMMAND, _nothing(by, value, loaded))
    except duckdb.Error as error:
        return wrong(_COMMAND, f"what was loaded cannot be read: {_first(error)}; try again")
    finally:
        loaded.close()
    return 0


def _first(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _nothing(by: str, value: str, loaded: Loaded) -> str:
    if not loaded.events:
        return f"no {by} {value}: there are no events at all"
    there = f"{loaded.events:,} events from {timestamp(loaded.first_ns)}"
    kept = "" if loaded.all else f". Only violations are kept, {_BUT}"
    return f"no {by} {value} among {there} to {timestamp(loaded.last_ns)}{kept}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ws-audit review events",
        description="Show sends and deliveries of one trace, one connection or one person, oldest"
        ' first. With store.events = "all" these are all there were, else those around violations.'
        " What is read is kept beside the segments, so the next question is answered at once.",
        epilog="Exit code: 0 something is shown, 2 bad input, or there is nothing of that id.",
        allow_abbrev=False,
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--trace", type=_hex(32, 32), metavar="ID", help="32 hex digits")
    which.add_argument(
        "--connection", type=_connection, metavar="ID", help="as spans have it: 0badcafe-12"
    )
    which.add_argument(
        "--user",
        type=_hex(_SHORTEST, _HASH),
        metavar="HASH",
        help="a person's hash, or how it begins: what came to them, and what was theirs",
    )
    parser.add_argument(
        "--source",
        action="append",
        metavar="DIR",
        help="the trace directory, also several times; default: WS_AUDIT_TRACE_DIR, or trace_dir in"
        " the configuration",
    )
    parser.add_argument(
        "--limit",
        type=_number,
        default=1_000,
        metavar="N",
        help="the newest N of what is found; default: %(default)s",
    )
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument("--times", action="store_true", help="say on stderr how long it took")
    return parser


def _hex(least: int, most: int) -> Callable[[str], str]:
    def check(text: str) -> str:
        if not re.fullmatch(f"[0-9a-fA-F]{{{least},{most}}}", text):
            digits = f"{most}" if least == most else f"{least} to {most}"
            raise argparse.ArgumentTypeError(f"{text!r}: expected {digits} hex digits")
        return text.lower()

    return check


def _connection(text: str) -> str:
    if not re.fullmatch("[0-9a-f]{8}-[0-9]+", text):
        raise argparse.ArgumentTypeError(f"{text!r}: expected an id such as 0badcafe-12")
    return text


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= 1_000_000):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number from 1 to 1000000")
    return int(text)


# -- as text --------------------------------------------------------------------------------------


def _text(by: str, value: str, loaded: Loaded, answer: Answer) -> str:
    rows = answer.rows
    said = []
    if rows:
        many = "1 event" if len(rows) == 1 else f"{len(rows):,} events"
        said.append(
            f"{by} {value}: {many}, {timestamp(rows[0].time_ns)} to {timestamp(rows[-1].time_ns)}"
        )
        if answer.left_out:
            said.append(f"{answer.left_out:,} older ones are not shown; --limit N shows more")
        if not loaded.all:
            said.append(f"These are violations {_BUT}")
        said += ["", *_table(rows)]
    if loaded.problems:
        said += ["", "What could not be read, or is missing:"]
        said += [f"  - {plain(problem)}" for problem in loaded.problems]
    return "\n".join(said) + "\n" if said else ""


def _table(rows: list[Happening]) -> list[str]:
    from ws_audit.review.databases.events import owners

    short = _shortener(
        {row.recipient for row in rows} | {name for row in rows for _, name in owners(row)}
    )
    table = [
        (
            "time (UTC)",
            "what",
            "event",
            "manager",
            "site",
            "to",
            "whose it is",
            "verdict",
            "outcome",
        )
    ]
    for row in rows:
        verdict = row.rule or row.reason
        whose: dict[str, list[str]] = {}
        for kind, name in owners(row):
            whose.setdefault(name, []).append(kind)
        table.append(
            (
                timestamp(row.time_ns)[:26].replace("T", " "),
                f"{row.what} x{row.number}" if row.number != 1 else row.what,
                row.event,
                row.manager,
                row.site,
                short(row.recipient),
                ", ".join(f"{short(name)} ({', '.join(kinds)})" for name, kinds in whose.items()),
                f"{row.verdict} {verdict} {row.severity}".strip(),
                row.outcome,
            )
        )
    clean = [[plain(cell) or "-" for cell in line] for line in table]
    widths = [max(len(line[column]) for line in clean) for column in range(len(table[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in clean
    ]


def _shortener(names: Iterable[str]) -> Callable[[str], str]:
    """Hashes as short as they can be told apart."""
    known = {name for name in names if name}
    length = _SHORTEST
    while len({name[:length] for name in known}) < len(known):
        length += 1
    return lambda name: name[:length]
