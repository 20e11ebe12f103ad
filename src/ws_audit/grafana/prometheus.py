# SPDX-License-Identifier: Apache-2.0
"""The alerts as a rules file of Prometheus.

It must never need editing by who loads it, and must stay readable: it is what one looks at when
one does not believe an alert.
"""

from __future__ import annotations

from itertools import groupby
from textwrap import fill, indent, wrap
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .alert import Alert

_WIDTH: Final = 100

_HEADER: Final = """\
# SPDX-License-Identifier: Apache-2.0
#
# Alert rules for ws-audit, made by `ws-audit grafana`. Needs Prometheus >= 2.42 (keep_firing_for).
# Nothing has to be edited: a job is watched from the moment one of its targets has shown
# ws_audit_build_info. The one convention: a scrape job that shows it holds processes with the agent
# only, so an agent endpoint of its own (WS_AUDIT_METRICS_ADDR) is a job of its own. Scrape at least
# once a minute.
#
# Labels to route on:
#   severity            page (now) or ticket (in working hours)
#   ws_audit_severity   leak rules only: how sure the audit is: confirmed, probable, suspected
#
# One leaked message is enough, so the leak rules have no `for`, and they look three ways, because
# each way is blind to something:
#   1. increase(): sees counters that were reset and grew again. Blind to a series' first sample,
#      and to what happened in a scrape gap.
#   2. the counter now against five minutes and more ago, a series that was not there as 0: sees the
#      first sample and the gap. Blind to 1, restart, 1. (The look-back of an hour bridges gaps;
#      after a longer one a leak that is known already is told once more.)
#   3. the time of the last violation, which survives a restart, now against then, a series that was
#      not there as five minutes ago: sees 1, restart, 1, and a violation whose process died before
#      it was scraped. A time from before the look-back (70 minutes) is an old one that came with a
#      trace directory, not news.
# Comparisons are with 0, never with a number of events: increase() extrapolates.

groups:
"""


def rules(alerts: Iterable[Alert]) -> str:
    """The text of the rules file."""
    text = _HEADER
    for group, members in groupby(alerts, key=lambda alert: alert.group):
        text += f"  - name: {group.name}\n"
        if group.interval:
            text += f"    interval: {group.interval}\n"
        text += "    rules:\n" + "\n".join(map(_rule, members)) + "\n"
    return text.rstrip("\n") + "\n"


def _rule(alert: Alert) -> str:
    written = [f"# {line}" for line in wrap(alert.remark, _WIDTH - 8)]
    written += [f"- alert: {alert.name}", "  expr: |", indent(alert.expression, " " * 4)]
    if alert.pending:
        written.append(f"  for: {alert.pending}")
    if alert.keep_firing:
        written.append(f"  keep_firing_for: {alert.keep_firing}")
    written.append("  labels:")
    written += [f"    {label}: {_quoted(value)}" for label, value in alert.labels.items()]
    written.append("  annotations:")
    written += [*_folded("summary", alert.summary), *_folded("description", alert.description)]
    written += ["    runbook: |-", indent(alert.runbook, " " * 6), ""]
    return indent("\n".join(written), " " * 6)


def _quoted(value: str) -> str:
    return value if value.isidentifier() else "'" + value.replace("'", "''") + "'"


def _folded(name: str, prose: str) -> list[str]:
    """One line of text, over several."""
    return [f"    {name}: >-", indent(fill(prose, _WIDTH - 12, break_long_words=False), " " * 6)]
