# SPDX-License-Identifier: Apache-2.0
"""An alert, changed in one place, in every place where a mistake could hide.

Why it exists: an alert that nobody sees fire is believed to work. Each change here has to make a
test of the rules fail.
"""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Final

from ws_audit.grafana.alert import PAGE, PAGE_IN_HOURS, TICKET

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ws_audit.grafana.alert import Alert

_OPERATOR: Final = re.compile(r"\b(or|and|unless)\b(?:\s+on\s*\([^)]*\))?")
_RANGE: Final = re.compile(r"(?:(?<=\[)|(?<=offset ))(\d+)([smhd])\b")
_NUMBER: Final = re.compile(r"(?<![\w.\"\[])(?<!offset )(?<!\* )\d+(?:\.\d+)?(?![\w\".])")
_COMPARISON: Final = re.compile(r" (>=|>|==) ")
_MATCHER: Final = re.compile(r'(\w+)\{((?:\w+=~?"[^"]*",?)+)\}')
_LABELS: Final = re.compile(r"\b(by|on) \(([^)]+)\)")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def mutants(alert: Alert) -> Iterator[tuple[str, Alert]]:
    """What was changed, and the alert with that change."""
    for what, expression in _expressions(alert.expression):
        yield what, dataclasses.replace(alert, expression=expression)
    for what, pending in _durations("for", alert.pending):
        yield what, dataclasses.replace(alert, pending=pending)
    for what, keep in _durations("keep_firing_for", alert.keep_firing):
        yield what, dataclasses.replace(alert, keep_firing=keep)
    for label, value in alert.labels.items():
        others = {name: text for name, text in alert.labels.items() if name != label}
        yield f"without the label {label}", dataclasses.replace(alert, labels=others)
        for word in re.finditer(rf"\b({PAGE_IN_HOURS}|{PAGE}|{TICKET})\b", value):
            other = TICKET if word.group() != TICKET else PAGE
            changed = {label: _put(value, word.span(), other)}
            text = f"{label}: {word.group()} is {other}"
            yield text, dataclasses.replace(alert, labels=alert.labels | changed)


def _put(text: str, span: tuple[int, int], new: str) -> str:
    return text[: span[0]] + new + text[span[1] :]


def _durations(name: str, value: str | None) -> Iterator[tuple[str, str | None]]:
    if value is None:
        yield f"with {name}", "1m"
        return
    seconds = int(value[:-1]) * _SECONDS[value[-1]]
    yield f"without {name}", None
    yield f"{name} doubled", f"{seconds * 2}s"
    yield f"{name} halved", f"{seconds // 2}s"


def _expressions(text: str) -> Iterator[tuple[str, str]]:
    yield from _arms(text)
    for number in _NUMBER.finditer(text):
        value = float(number.group())
        for moved in (value * 2, value / 2) if value else (1, -1):
            yield _at(text, number, f"{moved:g}")
    for comparison in _COMPARISON.finditer(text):
        for other in {" > ": [" >= "], " >= ": [" > "], " == ": [" != "]}[comparison.group()]:
            yield _at(text, comparison, other)
    for duration in _RANGE.finditer(text):
        seconds = int(duration.group(1)) * _SECONDS[duration.group(2)]
        yield _at(text, duration, f"{seconds // 2}s")
        # To look back for longer than an hour or a day harms nobody; nor does it for a last value
        # that is held against one of before, which grows as old.
        last = "offset" in text and re.search(
            r"last_over_time\([^()]*\[$", text[: duration.start()]
        )
        if seconds < _SECONDS["h"] and not last:
            yield _at(text, duration, f"{seconds * 2}s")
    yield from _without_matchers(text)
    for labels in _LABELS.finditer(text):
        names = labels.group(2).split(", ")
        for name in names:
            rest = ", ".join(other for other in names if other != name)
            yield _at(text, labels, f"{labels.group(1)} ({rest})")
    for function, other_function in {
        "abs(": "(",
        "timestamp(": "0 * (",
        "max_over_time(": "last_over_time(",
    }.items():
        for place in re.finditer(rf"\b{re.escape(function)}", text):
            yield _at(text, place, other_function)


def _at(text: str, place: re.Match[str], new: str) -> tuple[str, str]:
    line = text.count("\n", 0, place.start()) + 1
    return f"line {line}: {place.group().strip()} is {new.strip()}", _put(text, place.span(), new)


def _arms(text: str) -> Iterator[tuple[str, str]]:
    """Without one side of each `or`, and without what `and` and `unless` ask for."""
    for start, end in _levels(text):
        found = [
            place
            for place in _OPERATOR.finditer(text, start, end)
            if _depth(text, start, place.start()) == 0
        ]
        line = text.count("\n", 0, start) + 1
        # `or` binds weakest, and a comma ends an argument.
        alternatives = _cut(text, start, end, [it for it in found if it.group(1) == "or"])
        for number, arm in enumerate(alternatives):
            if len(alternatives) > 1:
                rest = [other for other in alternatives if other is not arm]
                kept = "\nor\n".join(text[slice(*other)] for other in rest)
                yield f"line {line}: without arm {number + 1}", _put(text, (start, end), kept)
            conditions = [it for it in found if arm[0] <= it.start() < arm[1] and it[1] != "or"]
            for condition in conditions:
                after = [it.start() for it in conditions if it.start() > condition.start()]
                span = condition.start(), (after or [arm[1]])[0]
                what = " ".join(text[slice(*span)].split())
                yield f"line {line}: without {what}", _put(text, span, "")


def _levels(text: str) -> Iterator[tuple[int, int]]:
    """The whole, what stands in each pair of parentheses, and before a comma there."""
    yield 0, len(text)
    opened = []
    quoted = False
    for at, sign in enumerate(text):
        quoted ^= sign == '"'
        if quoted:
            continue
        if sign == "(":
            opened.append(at + 1)
        elif sign == ")":
            start = opened.pop()
            comma = _comma(text, start, at)
            yield start, comma if comma is not None else at


def _comma(text: str, start: int, end: int) -> int | None:
    return next(
        (at for at in range(start, end) if text[at] == "," and _depth(text, start, at) == 0),
        None,
    )


def _depth(text: str, start: int, at: int) -> int:
    before = text[start:at]
    return sum(map(before.count, "({[")) - sum(map(before.count, ")}]"))


def _cut(text: str, start: int, end: int, places: list[re.Match[str]]) -> list[tuple[int, int]]:
    starts = [start, *(place.end() for place in places)]
    ends = [*(place.start() for place in places), end]
    return list(zip(starts, ends, strict=True))


def _without_matchers(text: str) -> Iterator[tuple[str, str]]:
    """Each matcher dropped, wherever the same selector stands."""
    for metric, inside in dict.fromkeys(found.groups() for found in _MATCHER.finditer(text)):
        matchers = re.findall(r'\w+=~?"[^"]*"', inside)
        for matcher in matchers:
            rest = ",".join(other for other in matchers if other != matcher)
            changed = f"{metric}{{{rest}}}" if rest else metric
            yield f"{metric}: without {matcher}", text.replace(f"{metric}{{{inside}}}", changed)
