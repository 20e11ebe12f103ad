# SPDX-License-Identifier: Apache-2.0
"""HTML in which every text is escaped: elements are built, never written.

Why it exists: names of services, events and code come from the audited application, and some of
them from its clients. On this page each of them is text, whatever it looks like.

It must never let a string become markup that was not made here, and never show a character that
changes how others are read.
"""

from __future__ import annotations

import html
import re
from typing import Final

from ws_audit.incidents import timestamp

LONGEST: Final = 300  # characters of one stored text; no name of ours is as long
_VOID: Final = frozenset({"meta", "link", "input", "br", "col", "wbr"})
_JOINT: Final = re.compile(r"(?<=[.:/_])")  # where a place or a name may go on in the next line

UNKNOWN_TEXT: Final = "unknown"


class Html(str):
    """Text that is markup already. Only this module makes one from a string."""

    __slots__ = ()


DOCTYPE: Final = Html("<!doctype html>\n")


def text(value: str) -> Html:
    """Escape a text. What does not print is shown as an escape instead of being obeyed."""
    if not value.isprintable():
        value = "".join(it if it.isprintable() else ascii(it)[1:-1] for it in value)
    return Html(html.escape(value, quote=True))


def tag(name: str, /, *children: str | None, **attributes: str | int | bool | None) -> Html:
    """Build an element. Children that are no Html are escaped, those that are None left out.

    An attribute's `_` becomes `-`, one at its end is dropped; None or False leaves it out.
    """
    opening = name
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key_ = key.rstrip("_").replace("_", "-")
        opening += f" {key_}" if value is True else f' {key_}="{text(str(value))}"'
    if name in _VOID:
        return Html(f"<{opening}>")
    return Html(f"<{opening}>{join(*children)}</{name}>")


def join(*children: str | None) -> Html:
    """Put pieces beside each other, each escaped unless it is markup."""
    return Html(
        "".join(
            child if isinstance(child, Html) else text(child)
            for child in children
            if child is not None
        )
    )


def verbatim(element: str, content: str, **attributes: str) -> Html:
    """A style or script element with a text of ours, which must not be escaped."""
    if "</" in content:
        raise ValueError(f"would end the {element} element")
    return Html(f"{tag(element, **attributes).removesuffix(f'</{element}>')}{content}</{element}>")


def stored(value: str, default: str = UNKNOWN_TEXT) -> Html:
    """A text from the store: kept apart from the text around it, whichever way it is read."""
    if not value:
        return tag("span", default, class_="dim")
    return tag("bdi", _shown(value))


def _shown(value: str) -> str:
    more = f" ... ({len(value):,} characters)" if len(value) > LONGEST else ""
    return value[:LONGEST] + more


def code(value: str, default: str = UNKNOWN_TEXT) -> Html:
    """A stored text that is code: a place, a class, an id. Too long, it breaks after a joint."""
    if not value:
        return stored(value, default)
    first, *rest = _JOINT.split(_shown(value))
    return tag("code", tag("bdi", first, *[it for one in rest for it in (tag("wbr"), one)]))


def codes(values: list[str]) -> Html:
    """Several of them, one a line."""
    found = [value for value in values if value]
    return join(*[tag("div", code(value)) for value in found]) if found else stored("")


def number(value: int, name: str | None = None) -> Html:
    """A count, with its exact value for machines."""
    return tag("data", f"{value:,}", value=value, data_name=name)


def counted(value: int, noun: str, plural: str = "", name: str | None = None) -> Html:
    """A count with its noun."""
    return join(number(value, name), " ", noun if value == 1 else plural or f"{noun}s")


def moment(ns: int, name: str | None = None) -> Html:
    """A time in UTC to the millisecond; all nine decimals are for machines and in the hint."""
    exact = timestamp(ns)
    day, clock = exact[:10], exact[11:23]
    return tag(
        "time",
        tag("span", day, class_="day"),
        " ",
        clock,
        datetime=exact,
        title=exact,
        data_name=name,
    )


def lasting(ns: int) -> str:
    """How long something took, in the unit a person would use."""
    seconds = ns / 1_000_000_000
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    for size, unit in ((86_400 * 2, "days"), (7200, "h"), (120, "min")):
        if seconds >= size:
            per = {"days": 86_400, "h": 3600, "min": 60}[unit]
            return f"{seconds / per:.1f} {unit}"
    return f"{seconds:.0f} s"


def table(
    caption: str,
    columns: list[str],
    rows: list[list[Html]],
    *,
    class_: str = "",
    numeric: tuple[int, ...] = (),
    row_attributes: list[dict[str, str]] | None = None,
    captioned: bool = True,
) -> Html:
    """A table that scrolls by itself where it is too wide; the first cell of a row heads it."""
    head = [
        tag("th", column, scope="col", class_="n" if index in numeric else None)
        for index, column in enumerate(columns)
    ]
    body = []
    for at, row in enumerate(rows):
        cells = [
            tag("th", cell, scope="row")
            if index == 0
            else tag("td", cell, class_="n" if index in numeric else None)
            for index, cell in enumerate(row)
        ]
        more = row_attributes[at] if row_attributes else {}
        body.append(tag("tr", *cells, **more))
    return tag(
        "div",
        tag(
            "table",
            tag("caption", caption, class_=None if captioned else "unshown"),
            tag("thead", tag("tr", *head)),
            tag("tbody", *body),
            class_=class_ or None,
        ),
        class_="scroll",
        role="region",
        aria_label=caption,
        tabindex="0",
    )


def facts(*pairs: tuple[str, Html], class_: str = "facts") -> Html:
    """Names and what they are."""
    return tag("dl", *[tag("div", tag("dt", dt), tag("dd", dd)) for dt, dd in pairs], class_=class_)


def more(summary: Html, *content: Html, open_: bool = False) -> Html:
    """What is there for whoever asks."""
    return tag("details", tag("summary", summary), *content, open=open_)
