# SPDX-License-Identifier: Apache-2.0
"""The alerts that somebody has seen somebody else's data.

One leaked message is enough, so these have no `for`, and they look three ways, because each way
is blind to something.

They must never be fired by a self-test (`synthetic="true"`), or told apart by a number of events:
`increase()` extrapolates, so comparisons are with 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .alert import LEAKS, PAGE, Alert
from .promql import Regex, inner, lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .promql import Selectors

_BY: Final = "job, rule, severity"


def alerts(series: Selectors) -> Iterator[Alert]:
    """Confirmed leaks, then all others."""
    yield Alert(
        "WsAuditLeakConfirmed",
        LEAKS,
        _new(series, "confirmed"),
        labels={"severity": PAGE, "ws_audit_severity": "confirmed"},
        summary=(
            "{{ $labels.job }} sent one user's data to another user ({{ $labels.rule }}, confirmed)"
        ),
        description=(
            "Independent evidence agrees that a message on a connection of {{ $labels.job }}"
            " belonged to somebody else. The alert stays for an hour after the last such message."
            " The review says who saw whose data, since when, whether it goes on, and which line"
            " sent it."
        ),
        command="ws-audit review DIR",
        hint=(
            "DIR is the service's WS_AUDIT_TRACE_DIR; the newest deployment is the first suspect,"
            " and taking it back is the quickest way to stop the leak"
        ),
        no_data="OK",
        keep_firing="1h",
    )
    yield Alert(
        "WsAuditLeakSuspected",
        LEAKS,
        _new(series, Regex("probable|suspected")),
        labels={
            "severity": '{{ if eq $labels.severity "probable" }}page{{ else }}ticket{{ end }}',
            "ws_audit_severity": "{{ $labels.severity }}",
        },
        summary=(
            "{{ $labels.job }} may have sent one user's data to another user"
            " ({{ $labels.rule }}, {{ $labels.severity }})"
        ),
        description=(
            "One piece of evidence says that a message on a connection of {{ $labels.job }}"
            ' belonged to somebody else, or that a connection changed its user. "probable" is'
            ' strong evidence; "suspected" is weak, an undeclared broadcast, or a connection'
            " whose user is only claimed."
        ),
        command="ws-audit review DIR",
        hint=(
            "DIR is the service's WS_AUDIT_TRACE_DIR; if the field that decided is no owner in your"
            " messages, payload.owner in the configuration says which one is"
        ),
        no_data="OK",
        keep_firing="1h",
        remark=(
            'A client alone can raise "suspected" (it claims whose connection it is), never'
            ' "probable".'
        ),
    )


def _new(series: Selectors, severity: str) -> str:
    """Violations that were not there five minutes ago, seen in three ways."""
    count = series("ws_audit_violations_total", severity=severity, synthetic="false")
    last = series("ws_audit_last_violation_timestamp_seconds", severity=severity, synthetic="false")
    return lines(
        f"""
        {inner(grew(count, _BY, "5m"), 8)}
        or
        max by ({_BY}) (
          (last_over_time({last}[5m]) > time() - 4200)
          > (
            last_over_time({last}[1h] offset 5m)
            or
            last_over_time({last}[5m]) * 0 + (time() - 300)
          )
        )
        """
    )


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
