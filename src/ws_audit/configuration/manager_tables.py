# SPDX-License-Identifier: Apache-2.0
"""The `[[manager]]` tables of the configuration: classes named by hand.

Why it exists: no rule finds every class, and some find one too many. A table says which class
is meant and what its methods do; what it leaves out, the rules decide.

It must never accept a table that would do nothing, or less than it says: each mistake is named
with the table's number. Like settings.py it is loaded early, inside the application.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .wording import bad, unknown

if TYPE_CHECKING:
    from collections.abc import Callable

# Hook kinds whose methods a table can name. `factory` has no rule of its own here.
KINDS: Final = ("create", "bind", "unbind", "send", "broadcast", "receive", "factory")


class ManagerTable(NamedTuple):
    """One table: the class it names, and what it says of it. Empty: nothing is said."""

    number: int  # its place among the tables of the file, from 1
    module: str
    qualname: str
    kinds: tuple[tuple[str, str], ...] = ()  # (method, kind)
    recipient: str = ""
    payload: str = ""
    instance_user: str = ""
    ignore: bool = False

    @property
    def name(self) -> str:
        """The class as it was written."""
        return f"{self.module}:{self.qualname}"


def read(tables: list[Any], source: str, problems: list[str]) -> tuple[ManagerTable, ...]:
    """The tables that can be used. Of the others, and of bad keys, is told what is wrong."""
    found: dict[str, ManagerTable] = {}
    for number, given in enumerate(tables, 1):
        place = f"[[manager]] {number} of {source}"
        table = _table(number, given, place, problems)
        if table is None:
            continue
        if table.name in found:
            first = found[table.name].number
            problems.append(f"class = {table.name!r} in {place}: table {first} names it already")
        else:
            found[table.name] = table
    return tuple(found.values())


def _table(
    number: int, given: dict[str, Any], place: str, problems: list[str]
) -> ManagerTable | None:
    values: dict[str, Any] = {}
    for key, value in given.items():
        if key not in _KEYS:
            problems.append(unknown(key, place, _KEYS))
        elif _KEYS[key].fits(value):
            values[key] = value
        else:
            problems.append(bad(key, value, place, _KEYS[key].expected))
    if "class" not in given:
        problems.append(f"no class in {place}: expected class = {_CLASS.expected}")
    if "class" not in values:
        return None
    ignore = values.pop("ignore", False)
    module, _, qualname = values.pop("class").partition(":")
    if ignore and len(given) > 2:
        others = ", ".join(sorted(given.keys() - {"class", "ignore"}))
        problems.append(
            f"ignore = true in {place}: leaves the class alone, so nothing else can stand beside"
            f" it; found {others}"
        )
        return None
    kinds = {kind: values.pop(kind) for kind in KINDS if kind in values}
    methods: dict[str, str] = {}
    for method, kind in ((name, kind) for kind, names in kinds.items() for name in names):
        first = methods.setdefault(method, kind)
        if first != kind:
            told = f"{kind} = [{method!r}] in {place}: {first} names it already"
            problems.append(f"{told}; expected one kind for each method")
    return ManagerTable(number, module, qualname, tuple(methods.items()), ignore=ignore, **values)


# --- what each key accepts ---------------------------------------------------------------


class _Key(NamedTuple):
    fits: Callable[[Any], bool]
    expected: str


def _name(pattern: str) -> Callable[[Any], bool]:
    match = re.compile(pattern).fullmatch
    return lambda value: type(value) is str and match(value) is not None


_WORD: Final = r"[^\W\d]\w*"
_is_word: Final = _name(_WORD)


def _names(value: Any) -> bool:
    return type(value) is list and len(value) > 0 and all(map(_is_word, value))


_CLASS: Final = _Key(
    _name(rf"{_WORD}(\.{_WORD})*:{_WORD}(\.(<locals>\.)?{_WORD})*"),
    '"module:qualname", such as "app.realtime.hub:Hub"',
)
_PARAMETER: Final = _Key(_is_word, "the name of a parameter")
_METHODS: Final = _Key(_names, "a list of method names")
_KEYS: Final[dict[str, _Key]] = {
    "class": _CLASS,
    **dict.fromkeys(KINDS, _METHODS),
    "recipient": _PARAMETER,
    "payload": _PARAMETER,
    "instance_user": _Key(
        _name(rf"{_WORD}(\.{_WORD})*"), 'an attribute path, such as "user_context.user_id"'
    ),
    "ignore": _Key(lambda value: type(value) is bool, "true or false"),
}
