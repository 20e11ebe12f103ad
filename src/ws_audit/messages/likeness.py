# SPDX-License-Identifier: Apache-2.0
"""Whether a message contains what somebody gave to a manager, and by which texts one can tell.

Why it exists: between a call and the wire a message is wrapped, numbered and made text. What
nobody changes on the way are its own words: the values the caller gave, under the names the
caller gave them.

It must never run application code: exact dicts, lists and plain values are compared, instances
by their dictionary and slots. What cannot be read agrees with anything, but counts for nothing.
"""

from __future__ import annotations

import re
import sys
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ws_audit import phrases
from ws_audit.principals.identity import holds, is_a

if TYPE_CHECKING:
    from collections.abc import Iterator

_NO_MARK: Final = re.compile(phrases.NO_MARKS)
_MARK: Final = 8  # characters: a shorter text distinguishes nothing
_TEXT: Final = 32  # a payload that is mere text; see PendingPayloads.SHORT
_LARGEST: Final = 32_768  # characters or bytes of a message that is looked into
_DEPTH: Final = 2  # objects below a payload, or a place in a message, whose texts are marks
_FIRST: Final = 5  # elements of a list
_MARKS: Final = 64  # texts of one message
_OF_PAYLOAD: Final = 8
_VALUES: Final = 256  # of one message or payload that are looked at for them
_PLACES: Final = 8
_COMPARED: Final = 500  # values of a payload: more than that may be taken to agree
_NESTED: Final = 6
_PLAIN: Final = frozenset({str, int, float, bool})
_NAMES: Final = 20_000


# -- what is in a message -------------------------------------------------------------------------


def message_of(content: object) -> dict[Any, Any] | list[Any] | None:
    """A message as an object, if it is one of reasonable size."""
    kind = type(content)
    if kind is str or kind is bytes:
        text: Any = content
        if len(text) > _LARGEST or text[:1] not in ("{", "[", b"{", b"["):
            return None
        try:
            content = msgspec.json.decode(text)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return None
    return content if type(content) is dict or type(content) is list else None


def places_in(message: dict[Any, Any] | list[Any]) -> list[dict[Any, Any]]:
    """Where a payload may stand: the message itself, and what it wraps by a name for that."""
    found = [message] if type(message) is dict else []
    level: list[Any] = found
    if type(message) is list:  # ["event", {...}]
        level = [one for one in message[:_PLACES] if type(one) is dict]
        found = list(level)
    for _ in range(2):
        level = [
            inner
            for outer in level
            for name, inner in islice(outer.items(), _VALUES)
            if type(inner) is dict and type(name) is str and name in phrases.ENVELOPES
        ]
        found += level
        if len(found) >= _PLACES:
            break
    return found[:_PLACES]


def texts_of(message: object) -> Iterator[str]:
    """The texts in a message that may be a payload's marks."""
    return islice(_marks(message, _DEPTH + 2), _MARKS)


def _marks(value: object, depth: int) -> Iterator[str]:
    """The texts in an object that may distinguish it."""
    left = _VALUES
    level: list[Any] = [value]
    for _ in range(depth + 1):
        below: list[Any] = []
        for holder in level:
            values: Any
            if type(holder) is list or type(holder) is tuple:
                values = holder[:_FIRST]
            else:
                fields = holds(holder) or {}
                values = [one for name, one in islice(fields.items(), left) if _tells(name, one)]
            left -= len(values)
            for one in values:
                kind = type(one)
                if kind is str:
                    if len(one) >= _MARK:
                        yield one
                elif kind not in _PLAIN and one is not None:
                    text = _uuid(one)
                    if text:
                        yield text
                    else:
                        below.append(one)
            if left <= 0:
                return
        level = below


def _uuid(value: object) -> str:
    kind = getattr(sys.modules.get("uuid"), "UUID", None)
    return str(value) if type(value) is kind else ""


_marking: dict[str, bool] = {}


def _tells(name: object, value: object) -> bool:
    """Whether what stands under a name is said of this message alone: no event's name, no user."""
    if type(name) is not str:
        return False
    if name in phrases.ENVELOPES and type(value) not in _PLAIN:
        return True
    known = _marking.get(name)
    if known is None:
        if len(_marking) >= _NAMES:
            _marking.clear()
        known = _marking[name] = not _NO_MARK.search(name.lower())
    return known


# -- what is in a payload -----------------------------------------------------------------------


def parts_of(content: object) -> Iterator[tuple[str, object, list[str]]]:
    """What of a payload may turn up elsewhere: all of it, or what it wraps, with its marks."""
    decoded = None
    if type(content) is str or type(content) is bytes:
        content = decoded = message_of(content) or content
        if type(content) is bytes:
            return
        if type(content) is str:
            if len(content) >= _TEXT:
                yield "", None, [content]
            return
    for part in ("", *_wrapped(content)):
        marks = list(marks_of(content, part))
        if marks:
            yield part, decoded, marks


def _wrapped(content: object) -> list[str]:
    if type(content) is list or type(content) is tuple:
        return [str(number) for number in range(min(len(content), _FIRST))]
    fields = holds(content)
    return [
        name
        for name, value in islice((fields or {}).items(), _VALUES)
        if type(name) is str and name in phrases.ENVELOPES and holds(value) is not None
    ]


def _part(content: object, part: str) -> object:
    if not part:
        return content
    if type(content) is list or type(content) is tuple:
        return content[int(part)] if int(part) < len(content) else None
    return (holds(content) or {}).get(part)


def marks_of(content: object, part: str) -> Iterator[str]:
    """The texts by which a part of a payload can be told from others."""
    found = _part(content, part)
    if type(found) is str:
        return iter((found,))
    return islice(_marks(found, _DEPTH), _OF_PAYLOAD)


def weight_of(content: object, part: str, places: list[dict[Any, Any]]) -> int:
    """How many values of a payload stand in one of the places; 0 unless all do."""
    found = _part(content, part)
    if type(found) is str:
        return int(any(found == one for place in places for one in place.values()))
    fields = holds(found)
    if not fields:
        return 0
    return max(0, *(_Comparison().fields(fields, place) for place in places))


class _Comparison:
    """Compares a payload with what became of it: values that can be read without running code."""

    def __init__(self) -> None:
        self._left = _COMPARED

    def fields(self, ours: dict[Any, Any], theirs: dict[Any, Any], depth: int = 0) -> int:
        """How many values agree; -1 if one does not."""
        weight = 0
        for name, value in ours.items():
            if type(name) is not str:
                return -1
            if name[:1] == "_":
                continue  # an instance's own affairs
            if name not in theirs:
                if value is None:
                    continue  # many leave out what is not there
                return -1
            found = self._value(value, theirs[name], depth)
            if found < 0:
                return -1
            weight += found
            if self._left <= 0:
                break
        return weight

    def _value(self, ours: object, theirs: object, depth: int) -> int:
        self._left -= 1
        kind = type(ours)
        if kind in _PLAIN:
            return 1 if type(theirs) in _PLAIN and ours == theirs else -1
        if ours is None:
            return 0 if theirs is None else -1
        text = str.__str__(ours) if is_a(ours, str) else _uuid(ours)
        if text:
            return 1 if type(theirs) is str and text == theirs else -1
        if depth >= _NESTED or self._left <= 0:
            return 0
        if kind is list or kind is tuple:
            return self._list(ours, theirs, depth)
        fields = holds(ours)
        if fields is not None and type(theirs) is dict:
            return self.fields(fields, theirs, depth + 1)
        return -1 if kind is dict else 0  # a date, a decimal: who knows how it was written

    def _list(self, ours: Any, theirs: object, depth: int) -> int:
        if type(theirs) is not list or len(ours) != len(theirs):
            return -1
        weight = 0
        for mine, other in zip(ours, theirs, strict=True):
            found = self._value(mine, other, depth + 1)
            if found < 0:
                return -1
            weight += found
            if self._left <= 0:
                break
        return weight
