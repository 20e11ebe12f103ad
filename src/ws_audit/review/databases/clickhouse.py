# SPDX-License-Identifier: Apache-2.0
"""The same review from a ClickHouse: the OpenTelemetry Collector's own table, over HTTP.

Why it exists: who has outgrown one machine has their spans in `otel_traces` already, as the
collector's exporter writes it. No table or column of ours is asked for.

It must never write to the database, never take credentials from where a shell or a log keeps
them, and never send them to anybody but the host that was named.
"""

from __future__ import annotations

import http.client
import json
import re
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import parse_qs, quote, urlsplit

from ws_audit import journal, schema
from ws_audit.review.segments import read
from ws_audit.review.segments.keep import MAX_SENDS
from ws_audit.review.selection import EVERYTHING

from . import queries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ws_audit.review.segments.keep import Keeper
    from ws_audit.review.segments.read import Review
    from ws_audit.review.selection import Selection

SCHEME: Final = "clickhouse"
TABLE: Final = "otel_traces"  # the exporter's own name for it
TIMEOUT: Final = 60.0  # seconds for each of the questions

_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,200}")
# What a page is told from at most. Past the violations it still tells what is newest.
MOST_VIOLATIONS: Final = 100_000
MOST_RECORDS: Final = 200_000

_BLOCK: Final = 1 << 20
_LONGEST: Final = 1 << 16  # of an error
_SHOWN: Final = 200  # characters of an answer that is none

# ClickHouse's own numbers for what goes wrong.
_NO_COLUMN, _NO_TABLE, _NO_DATABASE, _NO_CLUSTER = 47, 60, 81, 701
_REFUSED: Final = {192, 193, 194, 516}
_FORBIDDEN: Final = 497
_LIMITS: Final = {158, 159, 160, 191, 201, 202, 241, 307, 396}
_OTHER_TYPES: Final = {43, 44, 53, 386}


class SourceError(Exception):
    """A database that cannot be asked; the text says why, and what to do about it."""


class Address(NamedTuple):
    """Which table is asked, and where."""

    host: str
    port: int
    secure: bool
    database: str
    table: str = TABLE
    cluster: str = ""
    timeout: float = TIMEOUT


def address(
    source: str, table: str = TABLE, cluster: str = "", timeout: float = TIMEOUT
) -> Address:
    """Read `clickhouse://HOST[:PORT]/DATABASE[?secure=true]`. Raises SourceError."""
    expected = (
        f"expected a trace directory or {SCHEME}://HOST:PORT/DATABASE, with ?secure=true for TLS"
    )
    try:
        parts = urlsplit(source)
        port = parts.port
    except ValueError:
        raise SourceError(expected) from None
    asked = parse_qs(parts.query, keep_blank_values=True)
    if parts.username is not None or parts.password is not None or {"user", "password"} & {*asked}:
        raise SourceError(
            "credentials do not belong in an address, which shells and logs keep: "
            "set CLICKHOUSE_USER and CLICKHOUSE_PASSWORD"
        )
    secure = asked.pop("secure", ["false"]) in (["true"], ["1"])
    database = parts.path.strip("/")
    if parts.scheme != SCHEME or not parts.hostname or not database or asked:
        raise SourceError(expected)
    for what, name in (("database", database), ("--table", table), ("--cluster", cluster)):
        if name and not _NAME.fullmatch(name):
            raise SourceError(f"{what} {name!r}: expected letters, digits, '_', '.' and '-'")
    port = port or (8443 if secure else 8123)
    return Address(parts.hostname, port, secure, database, table, cluster, timeout)


def examine(
    where: Address,
    environ: Mapping[str, str],
    keep: Keeper | None = None,
    asked: Selection = EVERYTHING,
) -> Review:
    """Review the violations in a ClickHouse, narrowed to what is `asked`; see `read.examine`.

    The findings in `stored` are condensed; `keep` gets the newest spans. Raises SourceError if
    nothing can be read, SelectionError if what is asked for is not there; what is missing of the
    rest is named in `problems`.
    """
    server = _Server(where, environ)
    dialect = queries.clickhouse(_relation(where))
    problems: list[str] = []

    def ask(what: str, query: str) -> list[list[Any]]:
        try:
            return list(server.ask(query))
        except SourceError as error:
            problems.append(f"{what} could not be read: {error}")
            return []

    sums = list(server.ask(queries.sums(dialect, asked=asked)))
    narrowed = queries.clickhouse(_relation(where), asked)
    traces = ask("the traces of the incidents", queries.traces(narrowed))
    stored = _coverage(ask, dialect, asked, problems)
    stored = stored._replace(findings=queries.condensed(sums, traces))
    for (name,) in ask("the settings of the server", queries.cuts()):
        problems.append(
            f"this server ends answers early without a word ({name} = break): figures may be too "
            "low"
        )
    if keep is not None:
        _keep(server, dialect, asked, keep, problems)
    return read.assemble(stored, journal.Journal([], []), None, asked)


def _coverage(
    ask: Callable[[str, str], list[list[Any]]],
    dialect: queries.Dialect,
    asked: Selection,
    problems: list[str],
) -> read.Stored:
    """What is stored beside the findings."""
    names = [*queries.COUNTS]
    coverage = dict.fromkeys(names, 0)
    reasons = dict.fromkeys(schema.REASONS, 0)
    for row in ask("the coverage", queries.coverage(dialect, asked)):
        numbers = [int(value) for value in row]
        coverage = dict(zip(names, numbers, strict=False))
        reasons = dict(zip(schema.REASONS, numbers[len(names) :], strict=False))

    services: list[str] = []
    first = last = senseless = processes = finished = 0
    windows = ask("the time that is covered", queries.window(dialect))
    for service, *row in windows:
        its_first, its_last, *counts = map(int, row)
        services.append(service)
        if not asked.services or service in asked.services:
            first, last = min(first or its_first, its_first), max(last, its_last)
        senseless += counts[0]
        processes += counts[1]
        finished += counts[2]
    if senseless:
        problems.append(f"{senseless:,} violations make no sense, not counted")
    if processes > finished:
        problems.append(
            f"{processes - finished:,} of {processes:,} processes have not sent their last "
            "coverage record (still running or killed): up to 60 s of their traffic are not "
            "in the coverage figures"
        )
    known = frozenset(services) if windows else None
    return read.Stored([], coverage, reasons, *asked.window(first, last), problems, known)


def _keep(
    server: _Server,
    dialect: queries.Dialect,
    asked: Selection,
    keep: Keeper,
    problems: list[str],
) -> None:
    """Hand over the spans that a page is told from."""
    kinds = (
        ("violations", queries.violations(dialect, asked, MOST_VIOLATIONS), MOST_VIOLATIONS),
        ("coverage records", queries.records(dialect, asked, MOST_RECORDS), MOST_RECORDS),
        ("processes", queries.processes(dialect, MOST_RECORDS), MOST_RECORDS),
        ("sends", queries.sends(dialect, asked, MAX_SENDS), MAX_SENDS),
    )
    rows = 0
    for what, query, most in kinds:
        there = 0
        try:
            for row in server.ask(query):
                rows += 1
                there = int(row.pop())
                keep.line(0, [_Span.of(*row)], coverage=True)
        except SourceError as error:
            problems.append(f"the {what} for the page could not be read: {error}")
        if there > most:
            problems.append(
                f"the page is told from the newest {most:,} of {there:,} {what}, the figures from "
                "all of them; --since narrows it"
            )
    keep.file(f"{server.where.database}.{server.where.table}", server.bytes, rows)


@dataclass
class _Span:
    """A span as the keeper takes it."""

    name: str
    id: str
    start_ns: int
    end_ns: int
    settled: bool
    resource: dict[str, Any]
    attributes: dict[str, Any]
    json: dict[str, Any]

    @staticmethod
    def of(*row: Any) -> _Span:
        """Read a row of `queries.violations` and its like, without its last column."""
        name, trace_id, span_id, parent, start, lasted, resource, attributes = row
        return _Span(
            name,
            span_id,
            int(start),
            int(start) + int(lasted),
            True,  # a span is exported once its outcome is known
            resource,
            attributes,
            {"traceId": trace_id, "parentSpanId": parent},
        )


def _relation(where: Address) -> str:
    """What stands behind FROM; all of it has been checked to be harmless."""
    if where.cluster:
        return f"cluster('{where.cluster}', '{where.database}', '{where.table}')"
    return f"`{where.database}`.`{where.table}`"


class _Server:
    """Asks one ClickHouse over HTTP, with one connection for each question."""

    def __init__(self, where: Address, environ: Mapping[str, str]) -> None:
        self.where = where
        self.bytes = 0  # of all answers
        self._headers = {
            "Content-Type": "text/plain; charset=utf-8",
            "User-Agent": "ws-audit",
            "X-ClickHouse-User": environ.get("CLICKHOUSE_USER") or "default",
        }
        if environ.get("CLICKHOUSE_PASSWORD"):
            self._headers["X-ClickHouse-Key"] = environ["CLICKHOUSE_PASSWORD"]
        for value in self._headers.values():
            if not value.isascii() or not value.isprintable():
                raise SourceError("CLICKHOUSE_USER and CLICKHOUSE_PASSWORD have to be plain ASCII")

    def ask(self, query: str) -> Iterator[list[Any]]:
        """Put a question and yield the rows. Raises SourceError."""
        where = self.where
        kind = http.client.HTTPSConnection if where.secure else http.client.HTTPConnection
        connection = kind(where.host, where.port, timeout=where.timeout)
        # No setting is changed: a user who may only read may not.
        path = f"/?database={quote(where.database)}&wait_end_of_query=1"
        until = time.monotonic() + where.timeout
        try:
            connection.request(
                "POST", path, f"{query}\nFORMAT JSONCompactEachRow".encode(), self._headers
            )
            response = connection.getresponse()
            code = response.getheader("X-ClickHouse-Exception-Code") or ""
            if response.status != http.client.OK or code:
                raise SourceError(self._wrong(response.status, code, response.read(_LONGEST)))
            if response.length is None and not response.chunked:
                raise SourceError("an answer without a length, of which the end may be missing")
            for line in self._lines(response, until):
                if line:
                    yield _row(line)
        except ssl.SSLCertVerificationError as error:
            raise SourceError(
                f"the certificate of {where.host}:{where.port} is not trusted: "
                f"{error.verify_message} (SSL_CERT_FILE names others that are)"
            ) from None
        except ssl.SSLError as error:
            raise SourceError(
                f"{where.host}:{where.port} does not speak TLS (?secure=true): {error.reason}"
            ) from None
        except TimeoutError:
            raise SourceError(f"no answer within {where.timeout:g} s (--timeout)") from None
        except http.client.IncompleteRead:
            raise SourceError("the answer was cut off in the middle") from None
        except (OSError, http.client.HTTPException) as error:
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise SourceError(f"{where.host}:{where.port} cannot be asked: {why}") from None
        finally:
            connection.close()

    def _lines(self, response: http.client.HTTPResponse, until: float) -> Iterator[bytes]:
        left = response.length
        rest = b""
        while block := response.read1(_BLOCK):
            self.bytes += len(block)
            left = None if left is None else left - len(block)
            if time.monotonic() > until:
                raise TimeoutError  # drop by drop
            *whole, rest = (rest + block).split(b"\n")
            yield from whole
        if left:
            raise http.client.IncompleteRead(b"")
        yield rest

    def _wrong(self, status: int, code: str, body: bytes) -> str:
        where = self.where
        told = _short(body)
        number = int(code) if code.isdecimal() else _code(told)
        if number in _REFUSED or status == http.client.UNAUTHORIZED:
            return "the credentials were refused: set CLICKHOUSE_USER and CLICKHOUSE_PASSWORD"
        if number == _FORBIDDEN:
            return f"this user may not read {where.database}.{where.table}"
        if number == _NO_DATABASE:
            return f"there is no database {where.database}"
        if number == _NO_TABLE:
            return f"there is no table {where.table} in {where.database} (--table)"
        if number == _NO_CLUSTER:
            return f"there is no cluster {where.cluster} (--cluster)"
        if number in _LIMITS:
            return f"the server's limits for this user do not allow it: {told}"
        if number == _NO_COLUMN or number in _OTHER_TYPES:
            return f"{where.table} is not the table the collector's exporter makes: {told}"
        return f"HTTP {status}: {told}"


def _row(line: bytes) -> list[Any]:
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    if not isinstance(row, list):
        raise SourceError(f"no ClickHouse answers there, but: {_short(line)}")
    return row


def _code(told: str) -> int:
    match = re.match(r"Code: (\d+)\.", told)
    return int(match[1]) if match else 0


def _short(body: bytes) -> str:
    line = body.decode("utf-8", "replace").strip().partition("\n")[0]
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]} ..."
