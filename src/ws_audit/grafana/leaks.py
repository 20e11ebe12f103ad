# SPDX-License-Identifier: Apache-2.0
"""The alerts that somebody has seen somebody else's data.

One leaked message is enough, so these have no `for`, and they look three ways, because each way
is blind to something.

They must never be fired by a self-test (`synthetic="true"`), or told apart by a number of events:
`increase()` extrapolates, so comparisons are with 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .alert import LEAKS, PAGE, PAGE_IN_HOURS, TICKET, Alert, one_of
from .promql import Regex, grew, inner, lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .promql import Selectors

_BY: Final = "job, rule, severity"


def alerts(series: Selectors) -> Iterator[Alert]:
    """Confirmed leaks, all others, and what nobody has dealt with yet."""
    yield _confirmed(series)
    yield _suspected(series)
    yield _open(series)


def _confirmed(series: Selectors) -> Alert:
    return Alert(
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


def _suspected(series: Selectors) -> Alert:
    return Alert(
        "WsAuditLeakSuspected",
        LEAKS,
        _new(series, Regex("probable|suspected|hygiene")),
        labels={
            "severity": one_of("severity", {"probable": PAGE_IN_HOURS}, TICKET),
            "ws_audit_severity": "{{ $labels.severity }}",
        },
        summary=(
            '{{ if eq $labels.severity "hygiene" }}Worth a look in {{ $labels.job }}{{ else }}'
            "{{ $labels.job }} may have sent one user's data to another user{{ end }}"
            " ({{ $labels.rule }}, {{ $labels.severity }})"
        ),
        description=(
            'Less than proof. "probable": strong evidence says that a message on a connection of'
            " {{ $labels.job }} belonged to somebody else, or that a connection changed its user."
            ' "suspected": weak evidence, an undeclared broadcast, or a connection whose user is'
            ' only claimed. "hygiene": no message went wrong, but a client claims to be somebody'
            " else, a thread's id stands for a user, or users share an object."
        ),
        command="ws-audit review DIR",
        hint=(
            "DIR is the service's WS_AUDIT_TRACE_DIR; if the field that decided is no owner in your"
            " messages, payload.owner in the configuration says which one is"
        ),
        no_data="OK",
        keep_firing="1h",
        remark=(
            'A client alone can raise "suspected" (it claims whose connection it is) and "hygiene"'
            ' (it claims to be somebody else): a ticket at most. "probable" it cannot raise.'
        ),
    )


def _open(series: Selectors) -> Alert:
    incidents = series("ws_audit_open_incidents")
    return Alert(
        "WsAuditIncidentOpen",
        LEAKS,
        lines(
            f"""
            max by (job) (max_over_time({incidents}[5m])) > 0
            or
            last_over_time((max by (job) ({incidents}))[1d:1m]) > 0
            """
        ),
        labels={"severity": PAGE_IN_HOURS},
        summary="{{ $labels.job }} has leaks that nobody has acknowledged: {{ $value }}",
        description=(
            "An incident stays open, across restarts, until a person says that it has been dealt"
            " with. Counted are confirmed and probable leaks; a self-test is none."
        ),
        command="ws-audit review DIR",
        hint=(
            "DIR is the service's WS_AUDIT_TRACE_DIR; when it has been dealt with: ws-audit review"
            " ack INCIDENT --by NAME --note TEXT"
        ),
        no_data="OK",
        remark=(
            "For five minutes the highest of the old process and the new one counts, which has its"
            " trace directory still to read. Where no process is left, the last word of the job"
            " counts, for a day."
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
