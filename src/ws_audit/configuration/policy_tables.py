# SPDX-License-Identifier: Apache-2.0
"""The `[[policy]]` tables of the configuration: exceptions somebody declared, with a reason.

Why it exists: much legitimate traffic names somebody else, and only people know which. A table
says what is meant, why, and until when; what it excuses is in policy.py.

It must never accept a table that says less than it seems to: one with a mistake is ignored as a
whole, and each mistake is named. Like settings.py it is loaded early, inside the application.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .wording import bad, unknown

if TYPE_CHECKING:
    from collections.abc import Callable

BROADCAST, ROOM, SHARE = "broadcast", "room", "share"
IMPERSONATION, SYSTEM = "impersonation", "system"

# What a framework answers itself, instead of a function of the application.
FRAMEWORKS: Final = ("socketio", "channels")
ARGUMENT: Final = "argument:"  # a parameter of the sending call, not a field of the message


class PolicyTable(NamedTuple):
    """One table. Empty: it does not say, which only keys that may be left out can be."""

    number: int  # its place among the tables of the file, from 1
    kind: str
    reason: str
    expires: str = ""  # the last day it holds, as YYYY-MM-DD in UTC
    events: tuple[str, ...] = ()  # fnmatch patterns; empty: events of any name
    membership: str = ""  # "module:function", or one of FRAMEWORKS
    where: str = ""  # which field or argument names the room or resource; empty: the call's room
    users: tuple[str, ...] = ()  # actors or principals


def read(tables: list[Any], source: str, problems: list[str]) -> tuple[PolicyTable, ...]:
    """The tables that can be used. Of the others is told what is wrong."""
    found = []
    for number, given in enumerate(tables, 1):
        table = _table(number, given, f"[[policy]] {number} of {source}", problems)
        if table is not None:
            found.append(table)
    return tuple(found)


def _table(
    number: int, given: dict[str, Any], place: str, problems: list[str]
) -> PolicyTable | None:
    kind = given.get("kind")
    if type(kind) is not str or kind not in KINDS:
        expected = ", ".join(KINDS)
        if "kind" in given:
            problems.append(bad("kind", kind, place, f"one of {expected}"))
        else:
            problems.append(f"no kind in {place}: expected one of {expected}")
        return None
    before = len(problems)
    needed, optional = KINDS[kind]
    keys = (*_ALWAYS, *needed, *optional)
    for key, value in given.items():
        if key not in keys and key in _KEYS:
            told = f"not a key of kind {kind!r}, which takes {', '.join(keys[1:])}"
            problems.append(f"{key} in {place}: {told}")
        elif key not in keys:
            problems.append(unknown(key, place, keys))
        elif key != "kind" and not _KEYS[key].fits(value):
            problems.append(bad(key, value, place, _KEYS[key].expected))
    problems += [
        f"no {key} in {place}: expected {key} = {_KEYS[key].expected}"
        for key in ("reason", *needed)
        if key not in given
    ]
    if len(problems) > before:
        return None
    return PolicyTable(
        number,
        kind,
        given["reason"],
        given["expires"].isoformat() if "expires" in given else "",
        tuple(given.get("events", ())),
        given.get("membership", ""),
        given.get("room", given.get("resource", "")),
        tuple(given.get("actors", given.get("principals", ()))),
    )


# --- what each key accepts ---------------------------------------------------------------


class _Key(NamedTuple):
    fits: Callable[[Any], bool]
    expected: str


def _texts(value: Any) -> bool:
    return type(value) is list and len(value) > 0 and all(map(_is_text, value))


def _is_text(value: Any) -> bool:
    return type(value) is str and value.strip() != "" and value.isprintable()


def _name(pattern: str) -> Callable[[Any], bool]:
    match = re.compile(pattern).fullmatch
    return lambda value: type(value) is str and match(value) is not None


def _is_date(value: Any) -> bool:
    # By its name: the module itself is only loaded where a file has a date in it.
    return type(value).__name__ == "date" and type(value).__module__ == "datetime"


_WORD: Final = r"[^\W\d]\w*"
FUNCTION: Final = rf"{_WORD}(\.{_WORD})*:{_WORD}(\.{_WORD})*"
_PLACE: Final = _Key(
    _name(rf"{ARGUMENT}{_WORD}|[^\s.:\[\]]+(\.[^\s.:\[\]]+)*"),
    'a field of the message, such as "data.room_id", or "argument:NAME" of the sending method',
)
_USERS: Final = _Key(_texts, 'a list of user ids, such as ["support-1"]')
_KEYS: Final[dict[str, _Key]] = {
    "reason": _Key(_is_text, "a text that says why this is right"),
    "expires": _Key(_is_date, "a date without quotes, such as 2027-06-30"),
    "events": _Key(_texts, 'a list of event names or patterns, such as ["presence.*"]'),
    "membership": _Key(
        _name(rf"{FUNCTION}|{'|'.join(FRAMEWORKS)}"),
        '"module:function", or ' + " or ".join(f'"{name}"' for name in FRAMEWORKS),
    ),
    "room": _PLACE,
    "resource": _PLACE,
    "actors": _USERS,
    "principals": _USERS,
}
_ALWAYS: Final = ("kind", "reason", "expires")
# Kind -> the keys it needs besides a reason, and those it may have.
KINDS: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    BROADCAST: (("events",), ()),
    ROOM: (("membership",), ("room", "events")),
    SHARE: (("resource", "membership"), ("events",)),
    IMPERSONATION: (("actors",), ()),
    SYSTEM: (("principals",), ()),
}
