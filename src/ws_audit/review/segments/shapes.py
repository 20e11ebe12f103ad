# SPDX-License-Identifier: Apache-2.0
"""Lines that differ from one read before in their values only, read by what is known of it.

Why it exists: nearly all lines of a store have one of a dozen shapes. To match a line with a
known shape takes a third of the time that it takes to parse it.

It must never say anything else of a line than `lines.spans` does: a shape is made of a line which
that has read, it only takes what that would read as well, and its values go through the same
checks.
"""

from __future__ import annotations

import json
import re
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ws_audit import schema

from . import lines

if TYPE_CHECKING:
    from collections.abc import Callable

    Values = tuple[str, ...]

_WORTH: Final = 32  # lines read the slow way: then a shape is made, which takes as long
_ALIKE: Final = 8  # shapes with the same number of quotes
_MOST: Final = 200
_MOST_KEPT: Final = 5_000  # spans that others are told by

# Without a backslash in a line, quotes are where strings begin and end, and nothing else is. So
# these are members of objects, and with other strings in them the rest of the line says the same.
_VARIES: Final = re.compile(
    '(?<=")(?:(?P<text>traceId|spanId|parentSpanId|stringValue)'
    "|(?P<time>startTimeUnixNano|endTimeUnixNano)|(?P<number>intValue)"
    f'|(?P<send>name(?=":"{re.escape(schema.SEND_SPAN)} )))":"[^"]*'
)
_FORMS: Final = {
    "text": r'[^"\\\x00-\x1f]*',
    "time": "[1-9][0-9]{0,18}",
    "number": "[0-9]{1,18}",  # less than lines.MOST
    "send": re.escape(schema.SEND_SPAN) + r' [^"\\\x00-\x1f]*',
}
_VALUE: Final = 'Value":'
_PLAIN: Final = re.compile(f'string{_VALUE}"|int{_VALUE}"|bool{_VALUE}(?:true|false)')
_MARK: Final = 10**17  # and up: what stands for a value while a shape is made

# What every span has of its own.
_OWN: Final = ("traceId", "spanId", "startTimeUnixNano", "endTimeUnixNano")
_PEOPLE: Final = (schema.USER_HASH, schema.OWNER_HASH)


class Told(NamedTuple):
    """What a line says of a span: what `like` says, save for what stands here.

    `numbers` are those of `lines.NUMBERS` in its attributes, by their names.
    """

    like: lines.StoredSpan
    trace_id: str
    id: str
    start_ns: int
    end_ns: int
    recipient: str
    owner: str
    numbers: dict[str, int]

    @staticmethod
    def of(span: lines.StoredSpan) -> Told:
        """What a span says of itself."""
        numbers: dict[str, int] = {}
        trace_id = recipient = owner = ""
        if span.counts is not None:
            numbers = {lines.COUNTS[key]: number for key, number in span.counts.items()}
            numbers |= {lines.REASONS[key]: number for key, number in span.reasons.items()}
        elif span.finding is not None:
            numbers = {schema.BYTES: span.finding.size}
            trace_id = span.finding.trace_id
            recipient, owner = span.finding.recipient, span.finding.owner
        return Told(span, trace_id, span.id, span.start_ns, span.end_ns, recipient, owner, numbers)


class Shapes:
    """The shapes of the lines that came by."""

    def __init__(self) -> None:
        self._shapes: dict[int, list[Shape]] = {}  # by the number of quotes
        self._missed: dict[int, int] = {}
        self._last: Shape | None = None
        self._tried = 0

    def find(self, line: bytes) -> tuple[Shape, Values] | None:
        """The shape of a line and the values in it; None: it has none that is known."""
        try:
            text = line.decode()
        except UnicodeDecodeError:
            return None
        # A violation is followed by its outcome, coverage by coverage.
        last = self._last
        expected = last.next if last is not None else None
        if expected is not None:
            match = expected.match(text)
            if match is not None:
                self._last = expected
                return expected, match.groups()
        for shape in self._shapes.get(line.count(b'"'), ()):
            match = shape.match(text)
            if match is not None:
                if last is not None:
                    last.next = shape
                self._last = shape
                return shape, match.groups()
        return None

    def missed(self, line: bytes) -> None:
        """Learn from a line that `lines.spans` has read, but that has no known shape."""
        quotes = line.count(b'"')
        missed = self._missed[quotes] = self._missed.get(quotes, 0) + 1
        alike = self._shapes.setdefault(quotes, [])
        if missed % _WORTH == 0 and len(alike) < _ALIKE and self._tried < _MOST:
            self._tried += 1
            shape = _shape(line)
            if shape is not None:
                alike.append(shape)


class Shape:
    """What is the same in all lines of one shape, and which of their values tell something.

    `played`: by a self-test. `names` are those of the values in the order they come, first of the
    resource, then of the span, then of its attributes; `constants` is what these have beside.
    """

    def __init__(
        self,
        pattern: str,
        names: list[list[str]],
        constants: list[dict[str, Any]],
        *,
        played: bool,
    ) -> None:
        self.match: Callable[[str], re.Match[str] | None] = re.compile(pattern).fullmatch
        self.played = played
        self.next: Shape | None = None  # that of the line after the last one of this shape
        self._names = names
        self._constants = constants
        first = len(names[0])
        second = first + len(names[1])
        self._cuts = slice(None, first), slice(first, second), slice(second, None)

        flat = [name for of_one in names for name in of_one]
        numbers = [name for name in flat if name in lines.NUMBERS]
        others = [name for name in flat if name not in {*_OWN, *_PEOPLE, *numbers}]
        counted = constants[1].get("name") == schema.COVERAGE_SPAN
        self._simple = (
            {*_OWN} <= {*flat}
            and not {*_PEOPLE, *lines.NUMBERS} & {*constants[2]}
            and len(others) > 1
            # How many went out of an aggregate depends on its numbers.
            and (counted or {*numbers} <= {schema.BYTES})
        )
        if self._simple:
            people = [flat.index(name) if name in flat else len(flat) for name in _PEOPLE]
            self._own = itemgetter(*map(flat.index, _OWN), *people)
            self._others = itemgetter(*map(flat.index, others))
            self._numbers = [(name, flat.index(name)) for name in numbers]
        self._kept: dict[Any, lines.StoredSpan] = {}

    def told(self, values: Values, texts: lines.Texts) -> Told:
        """What a line with these values says of its one span. Raises what `lines.spans` does."""
        if not self._simple:
            return Told.of(self._span(values, texts))
        others = self._others(values)
        like = self._kept.get(others)
        if like is None:
            if len(self._kept) >= _MOST_KEPT:
                self._kept.clear()
            like = self._kept[others] = self._span(values, texts)
        trace_id, span_id, start, end, recipient, owner = self._own((*values, ""))
        start_ns, end_ns = lines.times(start, end)
        numbers = {name: int(values[index]) for name, index in self._numbers}
        return Told(like, trace_id, span_id, start_ns, end_ns, recipient, owner, numbers)

    def _span(self, values: Values, texts: lines.Texts) -> lines.StoredSpan:
        resource, span, attributes = (
            {**constants, **dict(zip(names, values[cut], strict=True))}
            for constants, names, cut in zip(self._constants, self._names, self._cuts, strict=True)
        )
        return lines.StoredSpan(resource, span, texts, attributes)


def _shape(line: bytes) -> Shape | None:
    """The shape of a line that `lines.spans` has read; None: it is better read that way."""
    text = line.decode("utf-8", "replace")
    if "\\" in text or text.count(_VALUE) != len(_PLAIN.findall(text)):
        return None
    marks: dict[str, int] = {}
    forms, fixed, marked, end = [], [], "", 0
    for number, it in enumerate(_VARIES.finditer(text)):
        kind = it.lastgroup or ""
        begin = it.end(kind) + len('":"')
        mark = f"{_MARK + number}"
        if kind == "send":
            mark = f"{schema.SEND_SPAN} {mark}"
        marks[mark] = number
        forms.append(_FORMS[kind])
        fixed.append(text[end:begin])
        marked += text[end:begin] + mark
        end = it.end()
    fixed.append(text[end:])
    try:
        (resource_spans,) = json.loads(marked + text[end:])["resourceSpans"]
        (scope_spans,) = resource_spans["scopeSpans"]
        (span,) = scope_spans["spans"]
        resource = lines.attributes_of(resource_spans["resource"])
        attributes = lines.attributes_of(span)
    except lines.CORRUPT:
        return None

    names: list[list[str]] = [[], [], []]
    constants: list[dict[str, Any]] = [{}, {}, {}]
    order = []
    wanted = (resource, lines.RESOURCE), (span, lines.SPAN), (attributes, lines.ATTRIBUTES)
    for holder, (values, those) in enumerate(wanted):
        for name in values:
            if name not in those:
                continue
            value = values[name]
            index = marks.get(str(value))
            if index is None:
                constants[holder][name] = value
            elif isinstance(value, int) != (name in lines.NUMBERS):
                return None  # text where a number belongs, or the other way round
            else:
                names[holder].append(name)
                order.append(index)
    if order != sorted(order):
        return None
    pattern = re.escape(fixed[0])
    for number, (form, behind) in enumerate(zip(forms, fixed[1:], strict=True)):
        pattern += (f"({form})" if number in order else form) + re.escape(behind)
    shape = Shape(pattern, names, constants, played=lines.PLAYED in line)
    return shape if shape.match(text) else None
