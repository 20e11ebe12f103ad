# SPDX-License-Identifier: Apache-2.0
"""The alerts that the agent is not there, does not work, or cannot tell.

"No alert" must mean that all was judged and nothing was wrong, never that nobody looked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .alert import BLINDNESS, PAGE, TICKET, Alert, one_of
from .promql import gone, had_agent, inner, lines, unwatched

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .promql import Selectors


def alerts(series: Selectors) -> Iterator[Alert]:
    """No agent, an agent that has stopped, an agent that no longer finds what it should."""
    yield _missing(series)
    yield _stale(series)
    yield _untested(series)


def _missing(series: Selectors) -> Alert:
    return Alert(
        "WsAuditAgentMissing",
        BLINDNESS,
        lines(
            f"""
            (
              {inner(unwatched(series), 14)}
            )
            or
            (
              {inner(gone(series), 14)}
            )
            """
        ),
        labels={"severity": PAGE},
        summary=(
            "{{ $labels.job }}{{ with $labels.instance }} at {{ . }}{{ end }} is not being audited"
        ),
        description=(
            "{{ if $labels.instance -}}"
            " The target answers, but has no agent, and others of its job have or had one."
            " {{- else -}}"
            " No target of the job is left that can be scraped, and one had the agent within the"
            " last day."
            " {{- end }}"
            " Until it is back, the absence of leak alerts means nothing."
        ),
        command="ws-audit doctor",
        hint=(
            "where the service runs, in its environment; then look for WS_AUDIT_ENABLED=1 in the"
            " environment of the new deployment, and for the agent's start line in its log"
        ),
        no_data="Alerting",
        pending="5m",
        watched=had_agent(series),
        remark=(
            "A target without the agent in a job that has it, or no target at all. A job is"
            " forgotten a day after it last showed the agent."
        ),
    )


def _stale(series: Selectors) -> Alert:
    heartbeat = series("ws_audit_heartbeat_timestamp_seconds")
    off = f"abs(timestamp({heartbeat}) - {heartbeat}) > 60"
    return Alert(
        "WsAuditHeartbeatStale",
        BLINDNESS,
        lines(
            f"""
            label_replace(
              {off}
              and changes({heartbeat}[3m]) == 0,
              "cause", "stopped", "", ""
            )
            or
            label_replace(
              {off}
              and changes({heartbeat}[3m]) > 0,
              "cause", "clock", "", ""
            )
            """
        ),
        labels={"severity": one_of("cause", {"stopped": PAGE}, TICKET)},
        summary=(
            '{{ if eq $labels.cause "stopped" }}The agent of {{ $labels.job }} at'
            " {{ $labels.instance }} has stopped working its records off{{ else }}The clock of"
            " {{ $labels.job }} at {{ $labels.instance }} is off by"
            " {{ $value | humanizeDuration }}{{ end }}"
        ),
        description=(
            '{{ if eq $labels.cause "stopped" -}}'
            " The process answers and its agent does not fold: messages are still judged and"
            " counted, and violations stored, but nothing that waits is done any more."
            " {{- else -}}"
            " The heartbeat moves, and is more than a minute away from Prometheus' time. From five"
            " minutes on, a leak whose process died before it was scraped may not be alerted."
            " {{- end }}"
        ),
        command="ws-audit doctor",
        hint=(
            "where the service runs, in its environment; a stopped worker needs a restart of the"
            " process, a clock needs its time service"
        ),
        no_data="OK",  # no agent at all is WsAuditAgentMissing's to tell, once
        pending="5m",
        remark=(
            "Held against the time of the sample, not of the evaluation: a scrape a minute ago is"
            " no minute of delay."
        ),
    )


def _untested(series: Selectors) -> Alert:
    success = series("ws_audit_selftest_success_timestamp_seconds")
    expected = series("ws_audit_violations_total", synthetic="true")
    return Alert(
        "WsAuditSelfTestStale",
        BLINDNESS,
        lines(
            f"""
            time() - ({success} > 0) > 3600
            or
            (
              time() - (max_over_time({success}[1h]) == 0)
              and on (job, instance)
              ({expected} and {expected} offset 1h)
            )
            """
        ),
        labels={"severity": PAGE},
        summary=(
            "{{ $labels.job }} at {{ $labels.instance }} has not passed its self-test for an hour"
        ),
        description=(
            "A leak that is nobody's is sent through the agent every so often and has to be found"
            " again. It was not: a real leak may not be found either."
        ),
        command="ws-audit selftest",
        hint=(
            "where the service runs, in its environment; the log of the process names the stage at"
            " which its own self-test ended"
        ),
        no_data="OK",  # without selftest.interval_seconds there is none
        remark=(
            "A process that is to test itself has synthetic series from its start, at 0. One that"
            " has not passed yet is given an hour."
        ),
    )
