# SPDX-License-Identifier: Apache-2.0
"""The few questions a review asks a database, in the words of DuckDB and of ClickHouse.

Why it exists: the same question asked in two places is soon two questions. What differs between
the two engines is a function's name or where a column comes from; that stands in a `Dialect`.

It must never fold together what may be two incidents.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ws_audit import model, schema
from ws_audit.book import SILENCE_NS
from ws_audit.incidents import MAX_TRACE_IDS
from ws_audit.model import NONE, Finding
from ws_audit.review.segments import lines
from ws_audit.review.selection import EVERYTHING, user
from ws_audit.schema import EVENT_RULES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ws_audit.review.selection import Selection

    Answer = Iterable[Sequence[Any]]


class Dialect(NamedTuple):
    """What one engine calls things.

    `divide` is the division of integers. `findings` is a table or subquery with one row for each
    stored violation, and `order` what puts those of the same instant in order.
    """

    divide: str
    findings: str
    order: str
    spans: str = ""  # the collector's table, where there is one


COUNTS: Final = lines.COUNTS
_EVENTS: Final = ", ".join(f"'{rule}'" for rule in EVENT_RULES)

# What a finding is known by. Not its event: no incident tells one.
_NAMES: Final = "service, version, rule, severity, recipient, owner, manager, site, synthetic"
_CAUSE: Final = "service, rule, place, synthetic"


def causes(dialect: Dialect) -> str:
    """Which causes there are: service, rule, place."""
    return f"SELECT DISTINCT service, rule, place FROM {dialect.findings} ORDER BY 1, 2, 3"


def narrowed(asked: Selection) -> str:
    """Which findings are asked for, as far as that depends on more than their cause.

    A user is known to be nothing but digits. Raises ValueError otherwise.
    """
    conditions = [f"last_ns >= {asked.since_ns:d}"]
    if asked.users:
        either = [
            f"{person} LIKE '{user(it)}%'"
            for it in asked.users
            for person in ("recipient", "owner")
        ]
        conditions.append(f"({' OR '.join(either)})")
    return " AND ".join(conditions)


def sums(dialect: Dialect, where: str = "1 = 1", asked: Selection = EVERYTHING) -> str:
    """All findings as few rows as give the same incidents, oldest first.

    Names, first_ns, last_ns, how many, how many of them went out, bytes of what went out. What is
    `asked` for is not in one row with what is not: incidents are narrowed when they are folded.
    """
    apart = f", last_ns >= {asked.since_ns:d}" if asked.since_ns else ""
    return f"""
SELECT {_NAMES}, begun, last, attempted, went, bytes FROM (
    SELECT {_NAMES}, island, min(first_ns) AS begun, max(last_ns) AS last,
        sum(n) AS attempted, sum(delivered) AS went,
        sum(CASE WHEN delivered > 0 OR rule IN ({_EVENTS}) THEN size ELSE 0 END) AS bytes,
        min(seq) AS first_seq
    FROM {_found(dialect, where)} GROUP BY {_NAMES}, island{apart}
) AS sums ORDER BY begun, first_seq"""


def traces(dialect: Dialect, where: str = "1 = 1", asked: Selection = EVERYTHING) -> str:
    """The first traces of what will be an incident and is asked for, oldest first.

    Names, first_ns, last_ns, trace_id. Each stands for a finding that `sums` has counted.
    """
    cause = f"{_CAUSE}, island"
    where = f"({where}) AND {narrowed(asked)}"
    return f"""
SELECT {_NAMES}, first_ns, last_ns, trace_id FROM (
    SELECT *, row_number() OVER (PARTITION BY {cause} ORDER BY first_ns, seq) AS nth
    FROM (
        SELECT *, row_number() OVER (
            PARTITION BY {cause}, trace_id ORDER BY first_ns, seq
        ) AS nth_of_trace
        FROM {_found(dialect, where)}
    ) AS seen WHERE nth_of_trace = 1
) AS firsts WHERE nth <= {MAX_TRACE_IDS} ORDER BY first_ns, seq"""


def each(dialect: Dialect, where: str) -> str:
    """Findings one by one, oldest first: names, first_ns, last_ns, n, delivered, size, trace."""
    return f"""
SELECT {_NAMES}, first_ns, last_ns, n, delivered, size, trace_id
FROM {dialect.findings} WHERE {where} ORDER BY first_ns, {dialect.order}"""


def _found(dialect: Dialect, where: str) -> str:
    """The findings with the number of their `island`: between two there is a day of silence.

    A day of the calendar has no day of silence in it, so islands are made of whole days.
    """
    day = dialect.divide.format("first_ns", SILENCE_NS)
    return f"""(
    SELECT {_NAMES}, place, first_ns, last_ns, n, delivered, size, trace_id, seq, island FROM (
        SELECT *, {day} AS day, {dialect.order} AS seq FROM {dialect.findings} WHERE {where}
    ) AS dated JOIN (
        SELECT {_CAUSE}, day, sum(CASE WHEN begins - ended >= {SILENCE_NS} THEN 1 ELSE 0 END)
            OVER (PARTITION BY {_CAUSE} ORDER BY day) AS island
        FROM (
            SELECT {_CAUSE}, day, begins, max(ends) OVER (
                PARTITION BY {_CAUSE} ORDER BY day ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ) AS ended
            FROM (
                SELECT {_CAUSE}, {day} AS day, min(first_ns) AS begins, max(last_ns) AS ends
                FROM {dialect.findings} WHERE {where} GROUP BY {_CAUSE}, day
            ) AS days
        ) AS silences
    ) AS islands USING ({_CAUSE}, day)
) AS found"""


# -- the collector's table ---------------------------------------------------------------------


def clickhouse(table: str, asked: Selection = EVERYTHING) -> Dialect:
    """The dialect of a ClickHouse with the table that the collector's exporter writes.

    A span that an exporter has sent twice, because it had no answer the first time, counts once.
    Findings are narrowed in here and not from outside: a condition which the engine moves to where
    the table is read, past LIMIT BY, stays in its query condition cache under the name of another,
    and the next question is answered without what this one left out (seen in 26.9).
    """
    severities = ", ".join(f"'{severity}'" for severity in model.SEVERITIES)
    rows = f"""(
SELECT {_resource("service.name")} AS service, {_resource("service.version")} AS version,
    {_text(schema.RULE)} AS rule, {_text(schema.SEVERITY)} AS severity,
    {_text(schema.USER_HASH)} AS recipient, {_text(schema.OWNER_HASH)} AS owner,
    {_text(schema.MANAGER, model.NONE)} AS manager, {_text(schema.SITE, model.NONE)} AS site,
    if(countSubstrings(site, ':') >= 2, replaceRegexpOne(site, ':[^:]*$', ''), site) AS place,
    {_text(schema.SYNTHETIC)} = 'true' AS synthetic,
    toUnixTimestamp64Nano(Timestamp) AS first_ns,
    {_number(schema.COUNT, 1)} AS n,
    if(n > 1, first_ns + toInt64(Duration), first_ns) AS last_ns,
    multiIf(
        mapContains(SpanAttributes, '{schema.DELIVERED}'), least({_number(schema.DELIVERED, 0)}, n),
        {_text(schema.OUTCOME, model.UNKNOWN)} IN ('{model.OK}', '{model.UNKNOWN}'), n,
        0
    ) AS delivered,
    {_number(schema.BYTES, 0)} AS size,
    TraceId AS trace_id, SpanId AS span_id
FROM {table}
WHERE {_OURS} AND SpanName = '{schema.VIOLATION_SPAN}'
    AND mapContains(SpanAttributes, '{schema.RULE}') AND {_SENSIBLE.format(severities)}
    AND {"1 = 1" if asked == EVERYTHING else narrowed(asked)}
LIMIT 1 BY trace_id, span_id
) AS findings"""
    return Dialect("intDiv({}, {})", rows, "tuple(trace_id, span_id)", table)


def coverage(dialect: Dialect, asked: Selection = EVERYTHING) -> str:
    """The sums of the coverage: COUNTS, then the reasons of what could not be judged."""
    names = [*COUNTS.values(), *(f"{schema.UNATTRIBUTED}.{it}" for it in schema.REASONS)]
    sums = ", ".join(f"sum(n{index})" for index, _ in enumerate(names))
    numbers = ", ".join(f"{_number(name, 0)} AS n{index}" for index, name in enumerate(names))
    return f"""
SELECT {sums} FROM (
    SELECT {numbers} FROM {dialect.spans}
    WHERE {_OURS} AND SpanName = '{schema.COVERAGE_SPAN}' AND {_covered(asked)}
    LIMIT 1 BY TraceId, SpanId
) AS spans"""


def window(dialect: Dialect) -> str:
    """Of each service: first and last moment, senseless violations, processes, ended ones."""
    severities = ", ".join(f"'{severity}'" for severity in model.SEVERITIES)
    names = f"'{schema.PROCESS_SPAN}', '{schema.COVERAGE_SPAN}', '{schema.VIOLATION_SPAN}'"
    return f"""
SELECT service, min(start), max(start + lasted),
    countIf(SpanName = '{schema.VIOLATION_SPAN}' AND senseless),
    countIf(SpanName = '{schema.PROCESS_SPAN}'), countIf(final)
FROM (
    SELECT {_resource("service.name")} AS service, SpanName,
        toUnixTimestamp64Nano(Timestamp) AS start, toInt64(Duration) AS lasted,
        mapContains(SpanAttributes, '{schema.RULE}') AND NOT ({_SENSIBLE.format(severities)})
            AS senseless,
        SpanName = '{schema.COVERAGE_SPAN}' AND {_text(schema.FINAL)} = 'true' AS final
    FROM {dialect.spans} WHERE {_OURS} AND SpanName IN ({names})
        AND {_text(schema.SYNTHETIC)} != 'true'
    LIMIT 1 BY TraceId, SpanId
) AS spans GROUP BY service ORDER BY service"""


def cuts() -> str:
    """Which settings make the server end an answer early without a word of it."""
    return (
        "SELECT name FROM system.settings "
        "WHERE name LIKE '%\\_overflow\\_mode%' AND value = 'break' ORDER BY name"
    )


def violations(dialect: Dialect, asked: Selection, most: int) -> str:
    """The newest violations, whole; see `_spans`."""
    severities = ", ".join(f"'{severity}'" for severity in model.SEVERITIES)
    where = (
        f"SpanName = '{schema.VIOLATION_SPAN}' AND mapContains(SpanAttributes, '{schema.RULE}') "
        f"AND {_SENSIBLE.format(severities)} AND {_covered(asked)}"
    )
    return _spans(dialect, where, most)


def records(dialect: Dialect, asked: Selection, most: int) -> str:
    """The newest coverage records, whole; see `_spans`."""
    return _spans(dialect, f"SpanName = '{schema.COVERAGE_SPAN}' AND {_covered(asked)}", most)


def processes(dialect: Dialect, most: int) -> str:
    """The first spans of the processes that began last, whole; see `_spans`."""
    return _spans(dialect, f"SpanName = '{schema.PROCESS_SPAN}'", most)


def sends(dialect: Dialect, asked: Selection, most: int) -> str:
    """The newest sends, whole; see `_spans`."""
    where = f"startsWith(SpanName, '{schema.SEND_SPAN} ') AND {_covered(asked)}"
    return _spans(dialect, where, most)


def _spans(dialect: Dialect, where: str, most: int) -> str:
    """The newest spans: name, ids, start, duration, resource, attributes, how many there are."""
    found = f"""FROM {dialect.spans}
    WHERE {_OURS} AND {where} AND {_text(schema.SYNTHETIC)} != 'true'"""
    return f"""
SELECT *, (SELECT uniqExact(TraceId, SpanId) {found}) FROM (
    SELECT SpanName, TraceId, SpanId, ParentSpanId, toUnixTimestamp64Nano(Timestamp) AS start,
        toInt64(Duration) AS lasted, ResourceAttributes, SpanAttributes
    {found}
    ORDER BY start DESC, TraceId, SpanId LIMIT 1 BY TraceId, SpanId LIMIT {most:d}
) AS spans ORDER BY start, TraceId, SpanId"""


def _covered(asked: Selection) -> str:
    """What `Selection.covers` says, of a span of the collector's table."""
    conditions = ["1 = 1"]
    if asked.since_ns:
        ended = "toUnixTimestamp64Nano(Timestamp) + toInt64(Duration)"
        conditions.append(f"{ended} >= {asked.since_ns:d}")
    if asked.services:
        # Anybody may have named them anything.
        names = ", ".join(f"unhex('{it.encode().hex()}')" for it in asked.services)
        conditions.append(f"{_resource('service.name')} IN ({names})")
    return " AND ".join(conditions)


def _resource(name: str) -> str:
    return f"ResourceAttributes['{name}']"


def _text(name: str, default: str = "") -> str:
    value = f"SpanAttributes['{name}']"
    return f"if(mapContains(SpanAttributes, '{name}'), {value}, '{default}')" if default else value


def _number(name: str, default: int) -> str:
    """A count; wide enough that a sum of them is exact."""
    return f"toInt128OrDefault(SpanAttributes['{name}'], toInt128({default}))"


_OURS: Final = f"ScopeName = '{schema.SCOPE_NAME}'"
_SENSIBLE: Final = f"SpanAttributes['{schema.SEVERITY}'] IN ({{}}) AND " + " AND ".join(
    f"(NOT mapContains(SpanAttributes, '{name}') "
    f"OR match(SpanAttributes['{name}'], '^[0-9]{{{{1,18}}}}$'))"
    for name in (schema.COUNT, schema.DELIVERED, schema.BYTES)
)


# -- what they answer ----------------------------------------------------------------------------


def finding(*columns: Any) -> Finding:
    """What a row of `each` is."""
    (service, version, rule, severity, recipient, owner, manager, site, synthetic, *rest) = columns
    first, last, attempted, delivered, size, trace_id = rest
    return Finding(
        service,
        version,
        rule,
        severity,
        recipient,
        owner,
        NONE,
        manager,
        site,
        int(first),
        int(last),
        int(attempted),
        int(delivered),
        int(size),
        trace_id,
        bool(synthetic),
    )


def condensed(sums: Answer, traces: Answer) -> list[Finding]:
    """Findings of what `sums` and `traces` have answered: to fold, not to count."""
    found = [finding(*row, "") for row in sums]
    found += [finding(*row[:-1], 0, 0, 0, row[-1]) for row in traces]
    return found
