# SPDX-License-Identifier: Apache-2.0
"""Rows kept while a trace directory is read, for whoever tells more than the JSON has.

Why it exists: the plain review needs a fifth of what is stored, and must not wait for the rest.

It must never change what the reader counts or finds fault with: what it cannot make a row of is
left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from ws_audit import model, schema

from . import rows

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ws_audit.incidents import Mark

    Attributes = dict[str, Any]

    class Span(Protocol):
        """A span as the reader has it."""

        name: str
        id: str
        start_ns: int
        end_ns: int
        settled: bool
        resource: dict[str, Any]
        attributes: dict[str, Any]
        json: dict[str, Any]


MAX_SENDS: Final = 50_000
_SEND: Final = f"{schema.SEND_SPAN} "


class Keeper:
    """Takes what the reader has read, line by line, those of one process in its order."""

    def __init__(self) -> None:
        self.rows = rows.Rows([], [], [], [], [], [])
        self._sends_left_out = 0
        self._pending: dict[tuple[int, str], int] = {}  # (process, span id) -> its row
        self._texts: dict[str, str] = {}
        self._evidence: dict[tuple[rows.EvidenceRow, ...], tuple[rows.EvidenceRow, ...]] = {}
        self._origins: dict[rows.Origin, rows.Origin] = {}

    def line(self, began: int, spans: Iterable[Span], *, coverage: bool) -> None:
        """Take a line of the process that began then; `coverage`: from a coverage segment."""
        for span in spans:
            try:
                self._take(began, span, coverage=coverage)
            except (ValueError, TypeError, KeyError, AttributeError):
                continue

    def _take(self, began: int, span: Span, *, coverage: bool) -> None:
        name, attributes = span.name, span.attributes
        if name == schema.COVERAGE_SPAN:
            if coverage:
                origin = self._origin(span.resource, began)
                row = rows.coverage(origin, attributes, span.start_ns, span.end_ns)
                self.rows.coverage.append(row)
        elif name == schema.VIOLATION_SPAN:
            self._violation(began, span)
        elif name == schema.PROCESS_SPAN:
            origin = self._origin(span.resource, began)
            self.rows.processes.append(rows.process(origin, attributes, span.start_ns))
        elif name.startswith(_SEND):
            if len(self.rows.sends) >= MAX_SENDS:
                self._sends_left_out += 1
                return
            ids = self._text(span.json["traceId"]), span.id
            origin = self._origin(span.resource, began)
            self.rows.sends.append(
                rows.send(origin, self._shared(attributes), ids, span.start_ns, span.end_ns)
            )

    def _violation(self, began: int, span: Span) -> None:
        attributes = span.attributes
        if schema.RULE in attributes:
            ids = self._text(span.json["traceId"]), span.id
            row = rows.violation(
                self._origin(span.resource, began),
                self._shared(attributes),
                (*ids, self._text(span.json.get("parentSpanId", ""))),
                span.start_ns,
                span.end_ns,
            )
            if not span.settled:
                self._pending[began, span.id] = len(self.rows.violations)
            evidence = self._evidence.setdefault(row.evidence, row.evidence)
            self.rows.violations.append(row._replace(evidence=evidence))
            return
        index = self._pending.pop((began, span.id), None)
        if index is not None and span.settled:
            row = self.rows.violations[index]
            outcome = self._text(attributes.get(schema.OUTCOME, model.UNKNOWN))
            self.rows.violations[index] = row._replace(
                outcome=outcome, delivered=rows.delivered(attributes, row.count)
            )

    def file(self, name: str, size: int, lines: int) -> None:
        """A segment was read to its end."""
        self.rows.files.append(rows.FileRow(name, size, lines))

    def journal(self, acks: Iterable[Mark]) -> None:
        """Who has acknowledged what."""
        self.rows.journal.extend(
            rows.JournalRow(it.time_ns, it.incident, it.by, it.note, it.first_ns, it.last_ns)
            for it in acks
        )

    def all(self) -> rows.Rows:
        """Everything that was kept."""
        return self.rows._replace(sends_left_out=self._sends_left_out)

    def _origin(self, resource: Attributes, began: int) -> rows.Origin:
        origin = rows.Origin(
            str(resource.get("service.name", "")),
            str(resource.get("service.version", "")),
            str(resource.get("host.name", "")),
            int(resource.get("process.pid", 0)),
            began,
        )
        return self._origins.setdefault(origin, origin)

    def _text(self, value: object) -> str:
        text = str(value)
        return self._texts.setdefault(text, text)

    def _shared(self, attributes: Attributes) -> Attributes:
        return {
            key: self._texts.setdefault(value, value) if type(value) is str else value
            for key, value in attributes.items()
        }
