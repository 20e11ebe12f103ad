# SPDX-License-Identifier: Apache-2.0
"""A line read by its shape says what it says when it is parsed, whatever has become of it."""

from __future__ import annotations

import json
import random
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.recorder import START, Recorder
from ws_audit import schema
from ws_audit.review.segments import lines, shapes

if TYPE_CHECKING:
    from pathlib import Path

BITS = [
    *(b"0", b"-1", b"007", b"1_0", b" 5", b"9" * 18, b"9" * 19, b"1" * 30, b"1.5", b"1e3", b""),
    *(b"true", b"false", b"null", b"\\u0041", b'\\"', b"\\", b"\x00", b"\x1f", b"\x7f", b"\n"),
    *("ü\u2028".encode(), b"\xff", b"\xed\xa0\x80", b'"', b"confirmed", b"terrible", b"ok"),
    *(b"stringValue", b"intValue", b"boolValue", b"doubleValue", b"ws_audit.synthetic"),
    *(b"ws_audit.bytes", b"ws_audit.count", b"ws_audit.final", b"ws_audit.outcome", b"spanId"),
    *(b"ws_audit.violation", b"ws_audit.coverage", b"ws_audit.send x", b"name", b"ws_audit"),
    *(b'"intValue":"5"', b'"stringValue":"5"', b'"boolValue":true', b'"doubleValue":5'),
    *(b'"arrayValue":{"values":[{"stringValue":"x"}]}', b'"x":1', b'"name":"ws_audit.send y"'),
    b'{"key":"ws_audit.synthetic","value":{"boolValue":true}}',
    b'{"key":"user.hash","value":{"stringValue":"again"}}',
]


@pytest.fixture
def written(tmp_path: Path) -> list[bytes]:
    """Lines of every kind that an agent writes."""
    recorder = Recorder(tmp_path)
    for outcome in ("ok", "error", None):
        named = {schema.KEY_ID: f"key {outcome}"}
        recorder.store.write_coverage(recorder._span(schema.PROCESS_SPAN, START, **named))
        recorder.leak(outcome)
        recorder.leak(outcome, ws_audit__count=7, ws_audit__delivered=5)
        recorder.leak(outcome, ws_audit__synthetic=True)
        recorder.leak(outcome, ws_audit__event="böse", ws_audit__site="a\\b:c:1")
        recorder.leak(outcome, user__hash="", ws_audit__bytes=2**63 - 1)
        recorder.neighbour()
        recorder.cover(final=False, frames=9, judged=7)
        recorder.cover(frames=8, ws_audit__dropped=3)
    return [line for it in tmp_path.glob("*.jsonl") for line in it.read_bytes().splitlines(True)]


def said(told: shapes.Told) -> Any:
    """All that is ever asked of a line, its numbers of zero left out."""
    like = told.like
    return (
        *(told.trace_id if like.finding else "", told.id, told.start_ns, told.end_ns),
        *((told.recipient, told.owner) if like.finding else ()),
        {name: number for name, number in told.numbers.items() if number}
        if like.finding or like.counts is not None
        else {},
        *(like.name if not like.name.startswith(schema.SEND_SPAN) else "", like.settled, like.out),
        *(like.told, like.final, like.counts is None, like.key, like.service),
        like.finding
        and like.finding._replace(
            first_ns=0, last_ns=0, size=0, trace_id="", recipient="", owner=""
        ),
    )


def parsed(line: bytes) -> Any:
    try:
        return [said(shapes.Told.of(span)) for span in lines.spans(line, {})]
    except (lines.ForeignError, *lines.CORRUPT) as error:
        return lines.fault(line, error)


def by_shape(known: shapes.Shapes, line: bytes) -> Any:
    """What its shape says of a line; None: it has none."""
    found = known.find(line)
    if found is None:
        return None
    shape, values = found
    assert shape.played == (lines.PLAYED in line)
    try:
        return [said(shape.told(values, {}))]
    except (lines.ForeignError, *lines.CORRUPT) as error:
        return lines.fault(line, error)


def mutated(chance: random.Random, line: bytes) -> bytes:
    """A line that something has happened to."""
    tokens = line.split(b'"')
    what = chance.random()
    if what < 0.3:
        tokens[chance.randrange(1, len(tokens), 2)] = chance.choice(BITS)
    elif what < 0.5:
        where = chance.randrange(len(line))
        return line[:where] + chance.choice(BITS) + line[where + chance.randrange(4) :]
    elif what < 0.6:
        where = chance.randrange(len(line))
        return line[:where] + bytes([chance.randrange(256)]) + line[where + 1 :]
    elif what < 0.7:
        form = chance.choice([b"stringValue", b"intValue", b"boolValue", b"doubleValue"])
        values = [at for at, it in enumerate(tokens) if it.endswith(b"Value")]
        tokens[chance.choice(values or [0])] = form
    elif what < 0.8:
        begin = line.rfind(b'"attributes":[') + len(b'"attributes":[')
        bit = chance.choice([it for it in BITS if it.startswith(b'{"key"')])
        return line[:begin] + bit + b"," + line[begin:]
    else:
        attribute = chance.choice([b"bytes", b"owner.hash", b"severity", b"outcome", b"frames"])
        array = b'"arrayValue":{"values":[{"stringValue":"x"}]'
        value = chance.choice([array, b'"boolValue":true', b'"stringValue":"5"', b'"intValue":"5"'])
        said = rb'(\{"key":"ws_audit\.%s","value":\{)[^}]*' % re.escape(attribute)
        return re.sub(said, lambda it: it[1] + value, line)
    return b'"'.join(tokens)


def turned(line: bytes) -> bytes:
    """The same line with its members in another order."""

    def turn(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: turn(value[name]) for name in reversed(value)}
        return [turn(it) for it in value] if isinstance(value, list) else value

    return json.dumps(turn(json.loads(line)), separators=(",", ":")).encode() + b"\n"


def varied(chance: random.Random, line: bytes) -> bytes:
    """A line with other values."""
    tokens = line.split(b'"')
    values = [at for at, it in enumerate(tokens) if at % 2 and tokens[at - 1] == b":"]
    for at in chance.sample(values, min(len(values), chance.choice([1, 1, 2, 6]))):
        digits = b"%d" % chance.choice([0, 1, 7, 10**9, 1_795_428_000_000_000_000])
        tokens[at] = chance.choice([digits, digits, b"new", chance.choice(BITS)])
    return b'"'.join(tokens)


@pytest.mark.parametrize("seed", range(4))
def test_whatever_becomes_of_a_line(
    monkeypatch: pytest.MonkeyPatch, written: list[bytes], seed: int
) -> None:
    """Shapes are made of lines that something has happened to, and used on others."""
    monkeypatch.setattr(shapes, "_WORTH", 1)
    monkeypatch.setattr(shapes, "_MOST_KEPT", 3)
    chance = random.Random(seed)
    read = refused = 0
    written += [turned(line) for line in written]
    for _ in range(500):
        first = chance.choice(written)
        for _ in range(chance.choice([0, 1, 1, 2])):
            first = mutated(chance, first)
        if not isinstance(parsed(first), list):
            continue
        known = shapes.Shapes()
        known.missed(first)
        for line in [first] + [varied(chance, first) for _ in range(8)]:
            found = by_shape(known, line)
            if found is not None:
                assert found == parsed(line)
                read += isinstance(found, list)
                refused += isinstance(found, str)
    assert read > 50
    assert read + refused > 100


def test_every_line_of_an_agent_has_a_shape(
    monkeypatch: pytest.MonkeyPatch, written: list[bytes]
) -> None:
    """Save for those with an escape in them, or a number that is nearly too large."""
    monkeypatch.setattr(shapes, "_WORTH", 1)
    known = shapes.Shapes()
    for line in written:
        if by_shape(known, line) is None:
            known.missed(line)
    left = [line for line in written if by_shape(known, line) is None]
    assert {b"\\" in line or b'"9223372036854775807"' in line for line in left} == {True}
    assert len(left) == 6


def test_a_shape_is_made_where_it_is_worth_it(written: list[bytes]) -> None:
    known = shapes.Shapes()
    line = next(it for it in written if by_shape(known, it) is None and b"\\" not in it)
    for _ in range(shapes._WORTH - 1):
        known.missed(line)
    assert known.find(line) is None
    known.missed(line)
    assert known.find(line) is not None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"ws_audit.bytes", b'"stringValue":"5"'),
        (b"ws_audit.severity", b'"intValue":"5"'),
        (b"ws_audit.owner.hash", b'"arrayValue":{"values":[{"stringValue":"x"}]}'),
        (b"ws_audit.owner.hash", b'"doubleValue":5'),
        (b"ws_audit.owner.hash", b'"stringValue":"\\\\"'),
    ],
)
def test_what_is_not_as_it_should_be_has_no_shape(
    monkeypatch: pytest.MonkeyPatch, written: list[bytes], name: bytes, value: bytes
) -> None:
    monkeypatch.setattr(shapes, "_WORTH", 1)
    line = next(it for it in written if b"ws_audit.severity" in it)
    known = shapes.Shapes()
    known.missed(line)
    assert known.find(line) is not None
    where = line.index(b'{"key":"%s"' % name)
    begin = line.index(b'"value":{', where) + len(b'"value":{')
    changed = line[:begin] + value + line[line.index(b"}", begin) :]
    assert changed != line
    known = shapes.Shapes()
    known.missed(changed)
    assert known.find(changed) is None
