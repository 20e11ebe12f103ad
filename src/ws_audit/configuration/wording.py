# SPDX-License-Identifier: Apache-2.0
"""How somebody is told that a setting is wrong: which, where, what was expected.

Why it exists: what was written is shown, so that it is found again, and the nearest known name
is offered, because most mistakes are of one letter.

It must never show a secret, let a value forge a line of a log, or fail for what a user wrote.
Like settings.py it is loaded early, inside the application.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ws_audit import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable

SECRET: Final = frozenset({"hash_key", "push.webhook"})


def bad(key: str, value: object, source: str, expected: str) -> str:
    """A value that its key does not accept."""
    text = "<hidden>" if key in SECRET else shown(value)
    return f"{key} = {text} in {source}: expected {expected}"


def unsupported(what: str, source: str) -> str:
    """A key of the contract that this version does not do."""
    return (
        f"{what} in {source}: known, but not supported by ws-audit {__version__}; "
        "remove it: it would have no effect"
    )


def unknown(key: str, source: str, known: Iterable[str]) -> str:
    """A key nobody knows, with the one that may be meant."""
    return f"unknown key {plain(key)} in {source}; nearest: {nearest(key, known)}"


def shown(value: object) -> str:
    """A value as somebody would recognise it, and no longer than a line bears."""
    if value is True or value is False:
        return str(value).lower()
    try:
        text = repr(value)
    except ValueError:  # 0xfff... of thousands of digits is valid TOML, but not printable
        text = "a value too long to show"
    return text if len(text) <= 80 else f"{text[:77]}..."


def plain(text: str) -> str:
    """A name or path that cannot forge a line in a log, nor fail to be printed."""
    return text if text.isprintable() else ascii(text)


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name with the fewest edits, of a whole key or of its last part."""

    def distance(candidate: str) -> tuple[int, int, str]:
        last = _edits(name.rpartition(".")[2], candidate.rpartition(".")[2])
        return min(_edits(name, candidate), last + 1), last, candidate

    return min(known, key=distance)


def _edits(one: str, two: str) -> int:
    """Levenshtein distance; difflib would be one more module, and finds less."""
    row = list(range(len(two) + 1))
    for i, a in enumerate(one, 1):
        corner, row[0] = row[0], i
        for j, b in enumerate(two, 1):
            corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + (a != b))
    return row[-1]
