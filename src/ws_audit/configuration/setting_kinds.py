# SPDX-License-Identifier: Apache-2.0
"""The kinds of values settings have: what each accepts, and what is said when it is not that.

Why it exists: a kind is checked in one place, whichever key has it and wherever it was given.

Like settings.py it is loaded inside the application, right after its first module, and must
never import more than that does.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from ws_audit.schema import BLOCKABLE

from . import policy_tables

if TYPE_CHECKING:
    from collections.abc import Callable


class Address(NamedTuple):
    """Where the metrics endpoint listens: the first free port from `first` to `last`."""

    host: str
    first: int
    last: int


class Kind(NamedTuple):
    """A kind of value: `check` returns its final form or raises, `expected` is for people."""

    check: Callable[[Any], Any]
    expected: str


def need(condition: object) -> None:
    if not condition:
        raise ValueError


def text(value: str) -> str:
    """Text that can be a path and can be encoded; TOML and the environment allow more."""
    need(type(value) is str and "\0" not in value)
    value.encode()  # a stray byte of the environment: UnicodeEncodeError is a ValueError
    return value


def flag(value: Any) -> bool:
    need(value is True or value is False)
    return bool(value)


def events(value: str) -> str:
    need(value in ("violations", "all"))
    return value


def whole(lowest: int, highest: int = 10**15) -> Kind:
    def check(value: int) -> int:
        # `type`, because a bool is an int to isinstance.
        need(type(value) is int and lowest <= value <= highest)
        return value

    return Kind(check, f"a whole number from {lowest} to {highest}")


def share(value: float) -> float:
    need(type(value) in (int, float) and 0 < value <= 1)
    return float(value)


def tables(value: list[dict[str, Any]]) -> list[dict[str, Any]]:
    need(type(value) is list and all(type(one) is dict for one in value))
    return value


def list_of(item: str, expected: str) -> Kind:
    """A list of texts that each match a pattern from end to end."""
    fits = re.compile(item).fullmatch

    def check(value: list[str]) -> tuple[str, ...]:
        need(type(value) is list and all(fits(text(one)) for one in value))
        return tuple(value)

    return Kind(check, f"a list of {expected}")


def mode(value: str) -> str:
    need(value in ("observe", "block"))
    return value


def rules(value: list[str]) -> tuple[str, ...]:
    need(type(value) is list and all(rule in BLOCKABLE for rule in value))
    return tuple(value)


def function(value: str) -> str:
    need(text(value) == "" or re.fullmatch(policy_tables.FUNCTION, value))
    return value


def webhook(value: str) -> str:
    need(text(value) == "" or re.fullmatch(r"https?://[^\s/?#]+\S*", value))
    return value


def address(value: str) -> Address | None:
    if value == "":
        return None
    host = r"\[([0-9A-Fa-f:.]+)\]|([^\s:/\[\]]+)"
    match = re.fullmatch(rf"(?:{host}):([0-9]{{1,5}})(?:-([0-9]{{1,5}}))?", text(value))
    if match is None:
        raise ValueError
    bracketed, name, first, last = match.groups()
    found = Address(bracketed or name, int(first), int(last or first))
    need(0 < found.first <= found.last < 65_536)
    return found


PATH = Kind(text, "a path")
CALLABLE = Kind(function, '"module:function"')
GLOBS = list_of(r"\S+", 'patterns of dotted module names, such as "app.*"')
CLASSES = list_of(
    r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d][\w.<>]*",
    'classes as "module:qualname", such as "app.realtime.hub:Hub"',
)
SCOPE_PATHS = list_of(
    r"scope(\.[^\s.]+)+|dependency:[^\s.:]+(\.[^\s.]+)*",
    '"scope.KEY" or "dependency:NAME", each with more names after dots',
)
FIELD_PATHS = list_of(r"[^\s.\[\]]+(\.[^\s.\[\]]+)*", 'dotted field paths, such as "data.user_id"')
LIST_PATHS = list_of(
    r"[^\s.\[\]]+(\.[^\s.\[\]]+)*(\[\](\.[^\s.\[\]]+)*)?",
    'dotted field paths, such as "data.user_id" or, of each in a list, "notes[].user_id"',
)
EVENT_NAMES = list_of(r"\S(.*\S)?", "event names")
