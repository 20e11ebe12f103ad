# SPDX-License-Identifier: Apache-2.0
"""A proposal as TOML: what is sure as it stands, the rest commented out, each with its numbers.

Why it exists: whoever reviews the file must see in each line why it is there.

It must never be TOML that the settings refuse, beyond what a person has to fill in.
"""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .learn_proposal import Line, Proposal, Table

_WIDTH: Final = 98
_IN: Final = "    "
_HEAD: Final = (
    "Proposed by ws-audit learn, from traffic that was taken for clean: review every line."
    " Each role and policy here decides what counts as a leak from now on. What was learned"
    " from a leak would hide it."
)


def write(proposal: Proposal) -> str:
    """The file."""
    lines = [*_comment(_HEAD)]
    lines += _comment(
        f"Seen: {proposal.frames:,} messages to {proposal.users:,} users whose connection is known,"
        f" {proposal.no_principal:,} to connections of unknown users."
    )
    if proposal.violations:
        lines += _comment(
            f"CAREFUL: {proposal.violations:,} of them were judged violations. Either these are the"
            " false alarms that this file is to settle, or they were leaks: look at them first."
        )
    if proposal.hidden:
        lines += _comment(
            f"{proposal.hidden:,} messages of events whose names stand in no code are left out."
        )
    for remark in proposal.remarks:
        lines += _comment(remark)
    for table, keys in _by_table(proposal.lists).items():
        active = any(line.active for entries in keys.values() for line in entries)
        lines += ["", f"[{table}]" if active else f"# [{table}]"]
        for key, entries in keys.items():
            lines += _list(key, entries)
    for one in proposal.tables:
        lines += ["", *_table(one)]
    if not proposal.lists and not proposal.tables:
        lines += ["", "# Nothing to propose: the built-in names fit what was seen."]
    return "\n".join(lines) + "\n"


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(_printable(" ".join(text.split())), _WIDTH)]


def _by_table(lists: dict[str, list[Line]]) -> dict[str, dict[str, list[Line]]]:
    found: dict[str, dict[str, list[Line]]] = {}
    for name, entries in lists.items():
        table, _, key = name.partition(".")
        found.setdefault(table, {})[key] = entries
    return found


def _list(key: str, entries: list[Line]) -> list[str]:
    active = any(line.active for line in entries)
    off = "" if active else "# "
    lines = []
    lines.append(f"{off}{key} = [")
    for line in (line for line in entries if line.why):
        mark = "" if line.active else "# "
        lines.append(f"    {mark}{_value(line.value)},  # {_printable(line.why)}")
        if not active:
            lines[-1] = f"# {lines[-1].replace('# ', '', 1)}"
    repeated = ", ".join(_value(line.value) for line in entries if not line.why)
    if repeated:
        lines.append("    # Names in use that were not contradicted: a list replaces them all.")
        lines += textwrap.wrap(f"{repeated},", _WIDTH, initial_indent=_IN, subsequent_indent=_IN)
    lines.append(f"{off}]")
    return lines


def _table(table: Table) -> list[str]:
    lines = [line for text in table.comments for line in _comment(text)]
    off = "" if table.active else "# "
    lines.append(f"{off}[[{table.name}]]")
    lines += [f"{off}{name} = {_value(value)}" for name, value in table.values]
    return lines


def _value(value: Any) -> str:
    """JSON's texts and lists of texts are TOML's, but for what does not print."""
    return _printable(json.dumps(value, ensure_ascii=False))


def _printable(text: str) -> str:
    """Names are the application's, and some of them its clients': none may end a line."""
    return "".join(it if it.isprintable() else _escaped(ord(it)) for it in text)


def _escaped(point: int) -> str:
    if 0xD800 <= point < 0xE000:
        point = 0xFFFD  # half a character: TOML has no way to write it
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"
