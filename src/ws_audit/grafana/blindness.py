# SPDX-License-Identifier: Apache-2.0
"""The alerts that nobody would know of a leak.

"No alert" must mean that all was judged and nothing was wrong, never that the agent was not there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .alert import BLINDNESS, PAGE, TICKET, Alert
from .promql import inner, lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .promql import Selectors


def alerts(series: Selectors) -> Iterator[Alert]:
    """From the agent that is not there to the messages it could not judge."""
    yield _agent_missing(series)
    yield _unjudged(series)


def _agent_missing(series: Selectors) -> Alert:
    up, info = series("up"), series("ws_audit_build_info")
    heartbeat = series("ws_audit_heartbeat_timestamp_seconds")
    return Alert(
        "WsAuditAgentMissing",
        BLINDNESS,
        lines(
            f"""
            (
              {up} == 1
              and on (job) group by (job) (last_over_time({info}[1d]))
            ) unless on (job, instance) {heartbeat}
            or on (job, instance)
            changes({heartbeat}[5m]) == 0
            or
            (
              group by (job) (last_over_time({info}[1d]))
              unless on (job) ({up} == 1)
            )
            """
        ),
        labels={"severity": PAGE},
        summary=(
            "{{ $labels.job }}{{ with $labels.instance }} at {{ . }}{{ end }} is not being audited"
        ),
        description=(
            "{{ if $labels.instance -}}"
            " The target answers, but its agent is missing or has stopped working its records off."
            " Until it is back, the absence of leak alerts means nothing."
            " {{- else -}}"
            " No target of the job is left that can be scraped, and one had the agent within the"
            " last day."
            " {{- end }}"
        ),
        command="ws-audit review DIR",
        hint=(
            "its window and coverage end where the agent went blind; then look for"
            " WS_AUDIT_ENABLED=1 in the environment of the new deployment, and for the agent's"
            " start line in its log"
        ),
        no_data="Alerting",
        pending="5m",
        watched=f"group by (job) (last_over_time({info}[1d]))",
        remark=(
            "Three ways to see nothing: a target without the agent, an agent that no longer works"
            " its records off, no target at all. A job is forgotten a day after it last showed the"
            " agent."
        ),
    )


def _unjudged(series: Selectors) -> Alert:
    return Alert(
        "WsAuditUnjudgedTraffic",
        BLINDNESS,
        lines(
            f"""
            (
              {inner(_share(series, "30m"), 14)}
            )
            or
            (
              {inner(_share(series, "6h"), 14)}
            )
            """
        ),
        labels={"severity": TICKET},
        summary=(
            "{{ $value | humanizePercentage }} of the messages of {{ $labels.job }} could not be"
            " judged"
        ),
        description=(
            "For these messages nobody can say whose they were: a leak among them raises no alert."
            " ws_audit_unattributed_total has the reasons."
        ),
        command="ws-audit review DIR",
        hint=(
            "its coverage says how much; ws_audit_unattributed_total has the reasons, and most are"
            " settled by a line of configuration that says where the user is found"
        ),
        no_data="OK",
        pending="10m",
        remark=(
            "The share must be above 1 % and stand on ten messages or more. Services with little"
            " traffic gather those in six hours."
        ),
    )


def _share(series: Selectors, window: str) -> str:
    frames = "ws_audit_frames_total"
    unjudged = f"increase({series(frames, judged='false')}[{window}])"
    return lines(
        f"""
        sum by (job) ({unjudged})
        / sum by (job) (increase({series(frames)}[{window}]))
        > 0.01
        and
        sum by (job) ({unjudged}) >= 10
        """
    )
