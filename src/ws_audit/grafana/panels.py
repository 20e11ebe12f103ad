# SPDX-License-Identifier: Apache-2.0
"""What a dashboard says: questions, queries, limits and empty states, as plain data.

Why it exists: dashboards are read at night by somebody who did not make them. Here a panel
cannot be written without a unit, without what to do when it is red, and without what it means
when it is empty. render.py turns them into Grafana's JSON.

It must never know Grafana's JSON.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from .promql import Regex, Selectors

# A colour from a value on; the first step has no value.
Steps = tuple[tuple[float | None, str], ...]

PLAIN: Final[Steps] = ((None, "text"),)
ANY_IS_RED: Final[Steps] = ((None, "green"), (1, "red"))
ANY_IS_ORANGE: Final[Steps] = ((None, "green"), (1, "orange"))
NONE_IS_RED: Final[Steps] = ((None, "red"), (1, "green"))
JUDGED: Final[Steps] = ((None, "red"), (0.9, "orange"), (0.99, "green"))

# The variables of every dashboard.
DATASOURCE, TRACES, JOB, INSTANCE = "datasource", "traces", "job", "instance"


_OF_JOB: Final = Selectors("$" + JOB)


def series(name: str, **labels: str) -> str:
    """A selector of the jobs and targets that are chosen; a `Regex` is matched as one."""
    return _OF_JOB(name, **{INSTANCE: Regex("$" + INSTANCE)}, **labels)


def series_of_job(name: str, **labels: str) -> str:
    """The same of whole jobs: a target without an agent is no instance one can choose."""
    return _OF_JOB(name, **labels)


@dataclass(frozen=True)
class Query:
    """One PromQL expression; `steps` only where it differs from its panel."""

    expr: str
    legend: str = ""
    exemplar: bool = False
    steps: Steps = ()


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A question, and what to do about the answer."""

    title: str
    about: str  # what it shows, and what to do when it is red
    queries: tuple[Query, ...]
    unit: str
    empty: str  # what it says when there is nothing
    healthy_empty: str = ""  # why nothing is the healthy state, if it is
    steps: Steps = PLAIN
    width: int = 6
    height: int = 8


@dataclass(frozen=True, kw_only=True)
class Stat(Panel):
    """One number, or a few with names; `texts` stand for values."""

    texts: dict[int, tuple[str, str]] = field(default_factory=dict)
    loud: bool = False
    height: int = 5


@dataclass(frozen=True, kw_only=True)
class Series(Panel):
    """Values over time; those that are parts of a whole are stacked."""

    stacked: bool = False
    most: float | None = None  # the axis ends here
    width: int = 12


@dataclass(frozen=True)
class Column:
    """A column: the value of a query, or a label."""

    title: str
    unit: str = ""
    steps: Steps = ()
    texts: dict[int, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Table(Panel):
    """A row for each set of labels; `labels` and one of `values` for each query, in order."""

    labels: dict[str, str]  # label: its heading
    values: tuple[Column, ...]
    sort: str
    width: int = 24


@dataclass(frozen=True, kw_only=True)
class Spans(Panel):
    """Spans from a trace store: its one query is TraceQL."""

    width: int = 24
    height: int = 10


@dataclass(frozen=True)
class Row:
    """Panels side by side. What is collapsed asks nothing before it is opened."""

    title: str
    panels: tuple[Panel, ...]
    collapsed: bool = False


@dataclass(frozen=True)
class Dashboard:
    """A page; `first` has no heading and says whether a zero means anything."""

    uid: str
    title: str
    about: str
    first: tuple[Panel, ...]
    rows: tuple[Row, ...]

    @property
    def panels(self) -> tuple[Panel, ...]:
        return self.first + tuple(panel for row in self.rows for panel in row.panels)

    @property
    def asks_for_traces(self) -> bool:
        return any(isinstance(panel, Spans) for panel in self.panels)
