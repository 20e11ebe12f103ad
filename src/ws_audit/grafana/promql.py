# SPDX-License-Identifier: Apache-2.0
"""Selectors: which series of a metric a query asks for.

Why it exists: every selector of every rule and panel can be told to look at some scrape jobs only,
and none may be forgotten.

It must never let a text end the string it stands in.
"""

from __future__ import annotations

from textwrap import dedent, indent
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Regex(str):
    """A label's value that is matched as a regular expression, of the whole value."""

    __slots__ = ()


class Selectors:
    """Called with a metric and label values, it is a selector; of the jobs in question only."""

    def __init__(self, job: str | None = None) -> None:
        """`job` is a regular expression (or Grafana's `$job`); without one, every job."""
        self._job = job

    def __call__(self, metric: str, /, **labels: str) -> str:
        """`metric{job=~"...",label="value"}`; a value that is a `Regex` is matched as one."""
        matchers = [] if self._job is None else [_matcher("job", Regex(self._job))]
        matchers += [_matcher(label, value) for label, value in labels.items()]
        return f"{metric}{{{','.join(matchers)}}}" if matchers else metric


def _matcher(label: str, value: str) -> str:
    operator = "=~" if isinstance(value, Regex) else "="
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'{label}{operator}"{escaped}"'


def had_agent(series: Callable[[str], str]) -> str:
    """The jobs in which an agent was seen within the last day."""
    return f"group by (job) (last_over_time({series('ws_audit_build_info')}[1d]))"


def unwatched(series: Callable[[str], str]) -> str:
    """Targets that answer and have no agent, of jobs that had one."""
    return lines(
        f"""
        {series("up")} == 1
        and on (job) {had_agent(series)}
        unless on (job, instance) {series("ws_audit_heartbeat_timestamp_seconds")}
        """
    )


def gone(series: Callable[[str], str]) -> str:
    """Jobs that had an agent, and in which no target answers any more."""
    return lines(
        f"""
        {had_agent(series)}
        unless on (job) ({series("up")} == 1)
        """
    )


def lines(text: str) -> str:
    """A query written over several lines, without the margin it has in our source."""
    return dedent(text).strip("\n")


def inner(text: str, margin: int) -> str:
    """A query to stand inside another: its further lines moved in to where its first one is."""
    return indent(text, " " * margin).lstrip(" ")


def grew(counter: str, by: str, window: str) -> str:
    """Whether a counter went up within the window, and be it with its first sample."""
    return lines(
        f"""
        sum by ({by}) (
          increase({counter}[{window}])
        ) > 0
        or
        sum by ({by}) (
          last_over_time({counter}[{window}])
          > (
            last_over_time({counter}[1h] offset {window})
            or
            last_over_time({counter}[{window}]) * 0
          )
        )
        """
    )
