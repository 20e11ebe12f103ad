# SPDX-License-Identifier: Apache-2.0
"""What several dashboards ask, in the same words."""

from __future__ import annotations

from typing import Final

from ws_audit.grafana.panels import ANY_IS_RED, Query, Stat, series, series_of_job
from ws_audit.grafana.promql import Regex, gone, unwatched

NO_AGENT: Final = "no agent"

VIOLATIONS: Final = "ws_audit_violations_total"
LAST_VIOLATION: Final = "ws_audit_last_violation_timestamp_seconds"
FRAMES: Final = "ws_audit_frames_total"
HEARTBEAT: Final = "ws_audit_heartbeat_timestamp_seconds"
BUILD: Final = "ws_audit_build_info"

RANGE: Final = "[$__range]"
RATE: Final = "[$__rate_interval]"

SURE: Final = Regex("confirmed|probable")  # severities that page
LEAKS: Final = Regex("confirmed|probable|suspected")  # those that say that somebody saw something


def violations(**labels: str) -> str:
    """The counter, without what a self-test made up."""
    return series(VIOLATIONS, **labels, synthetic="false")


def last_violation(**labels: str) -> str:
    """The time of the last one, 0 for never, without what a self-test made up."""
    return series(LAST_VIOLATION, **labels, synthetic="false")


def counted(selector: str, by: str = "", window: str = RANGE) -> str:
    """How often, in the range. Prometheus extrapolates to the ends of it: hence the rounding."""
    return f"round(sum {by and f'by ({by}) '}(increase({selector}{window})))"


def judged_share(by: str = "", window: str = RANGE) -> str:
    """Of the messages, how many could be judged; nothing where there was no message."""
    grouped = by and f"by ({by}) "
    return (
        f"sum {grouped}(increase({series(FRAMES, judged='true')}{window}))"
        f" / (sum {grouped}(increase({series(FRAMES)}{window})) > 0)"
    )


# One build_info for a target, also where processes of two versions share its page.
THE_BUILD: Final = f"topk by (job, instance) (1, {series(BUILD)})"

# As WsAuditAgentMissing asks it, on one line.
UNWATCHED: Final = " ".join(unwatched(series_of_job).split())
GONE: Final = " ".join(gone(series_of_job).split())

TARGETS_WITHOUT_AGENT: Final = Stat(
    title="Targets without agent",
    about=(
        "Targets that answer a scrape but show no agent, in jobs where one was seen within a day. "
        "Red: nothing these targets send is judged. `ws-audit doctor -- CMD` on the command that "
        "starts them says why the agent is not there; look for WS_AUDIT_ENABLED=1 first."
    ),
    queries=(Query(f"count({UNWATCHED}) or count({series_of_job(BUILD)}) * 0"),),
    unit="none",
    steps=ANY_IS_RED,
    empty=NO_AGENT,
    width=4,
)

# Where a process began: a counter that never stands still begins anew in it, and a new target was
# not there before.
_WORKING: Final = series("ws_audit_agent_cpu_seconds_total")
STARTS: Final = (
    f"sum by (job, instance) (resets({_WORKING}{RATE})) > 0"
    f" or group by (job, instance) ({_WORKING})"
    f" unless group by (job, instance) ({_WORKING} offset 5m)"
)
