# SPDX-License-Identifier: Apache-2.0
"""*Agent*: is the auditor there, does it keep up, and what does it cost?

Why it exists: no alert means nothing where no agent looks. What is wrong with the agent itself
is on this page and not among the leaks.
"""

from __future__ import annotations

from typing import Final

from ws_audit.grafana.panels import (
    ANY_IS_ORANGE,
    ANY_IS_RED,
    NONE_IS_RED,
    Column,
    Dashboard,
    Query,
    Row,
    Series,
    Stat,
    Steps,
    Table,
    series,
    series_of_job,
)
from ws_audit.grafana.promql import Regex

from .common import (
    BUILD,
    FRAMES,
    GONE,
    HEARTBEAT,
    NO_AGENT,
    RATE,
    TARGETS_WITHOUT_AGENT,
    THE_BUILD,
    UNWATCHED,
    counted,
)

_TARGETS: Final = "ws_audit_targets"
_DROPPED: Final = series("ws_audit_records_dropped_total")
_ERRORS: Final = series("ws_audit_internal_errors_total")
_CPU: Final = series("ws_audit_agent_cpu_seconds_total")
_BACKLOG: Final = series("ws_audit_backlog_records")
_CONNECTIONS: Final = series("ws_audit_connections_alive")
_SELFTEST: Final = series("ws_audit_selftest_success_timestamp_seconds")
_AGE: Final = f"time() - {series(HEARTBEAT)}"

_STALE: Final[Steps] = ((None, "green"), (15, "orange"), (60, "red"))
# The ring of one process holds 65,536.
_FULL: Final[Steps] = ((None, "green"), (10_000, "orange"), (50_000, "red"))
_BUSY: Final[Steps] = ((None, "green"), (0.05, "orange"), (0.2, "red"))
_OLD: Final[Steps] = ((None, "green"), (1800, "orange"), (3600, "red"))

_STATE: Final = " or ".join(
    (
        f"(count({UNWATCHED}) or count({GONE})) * 0 + 4",
        f"(count({_AGE} > 60)) * 0 + 3",
        f"(count(sum by (job) ({series(_TARGETS, state='patched')}) == 0)) * 0 + 2",
        f"(sum({series(_TARGETS, state=Regex('too_late|failed'))}) > 0) * 0 + 1",
        f"count({series_of_job(BUILD)}) * 0",
    )
)
_STATES: Final = {
    4: ("MISSING on a target", "red"),
    3: ("STOPPED: no heartbeat for a minute", "red"),
    2: ("NOTHING HOOKED in a job", "red"),
    1: ("PARTLY HOOKED", "orange"),
    0: ("AT WORK, everything hooked", "green"),
}

_FIRST: Final = (
    Stat(
        title="Is the agent looking?",
        about=(
            "The worst that holds now. Unless it is green, a zero on the other pages is no good "
            "news. Red or orange: `ws-audit doctor` on the machine, or `ws-audit doctor -- CMD` "
            "with the command that starts the service, says what is not hooked and why."
        ),
        queries=(Query(_STATE),),
        unit="none",
        texts=_STATES,
        empty="NO AGENT: nothing is looked at",
        loud=True,
        width=8,
    ),
    TARGETS_WITHOUT_AGENT,
    Stat(
        title="Oldest heartbeat",
        about=(
            "Since the slowest agent last worked its records off; in multiprocess mode the slowest "
            "worker of a page. Red: over a minute, it has stopped or the clocks differ. `ws-audit "
            "doctor` says which process; its log has the reason."
        ),
        queries=(Query(f"max({_AGE})"),),
        unit="s",
        steps=_STALE,
        empty=NO_AGENT,
        width=4,
    ),
    Stat(
        title="Since the last self-test",
        about=(
            "A self-test sends a synthetic violation the whole way. Red: none succeeded for an "
            "hour. `ws-audit selftest` runs one and says where it stops; [selftest] "
            "interval_seconds runs it inside the agent."
        ),
        queries=(Query(f"time() - max({_SELFTEST} > 0) or (max({_SELFTEST}) == 0) - 1"),),
        unit="s",
        texts={-1: ("never run", "blue")},
        steps=_OLD,
        empty=NO_AGENT,
        width=4,
    ),
    Stat(
        title="Audited targets",
        about=(
            "Targets that show an agent. Fewer than you run: `ws-audit doctor -- CMD` for those "
            "that are missing."
        ),
        queries=(Query(f"count(count by (job, instance) ({series(BUILD)}))"),),
        unit="none",
        steps=NONE_IS_RED,
        empty=NO_AGENT,
        width=4,
    ),
    Stat(
        title="Hooks",
        about=(
            "Methods and functions by what became of their hook. Too late: the application had "
            "taken the unhooked one already. Failed or none in place: `ws-audit doctor` names each "
            "with the reason, `ws-audit doctor explain TARGET` says more."
        ),
        queries=(
            Query(f"sum({series(_TARGETS, state='patched')})", "in place", steps=NONE_IS_RED),
            Query(f"sum({series(_TARGETS, state='too_late')})", "too late", steps=ANY_IS_ORANGE),
            Query(f"sum({series(_TARGETS, state='failed')})", "failed", steps=ANY_IS_RED),
        ),
        unit="none",
        empty=NO_AGENT,
        width=8,
    ),
    Stat(
        title="Records dropped in this range",
        about=(
            "What the agent let go to keep out of the application's way: spans and neighbours, "
            "never a violation or a count. Red: by stage below; `ws-audit review DIR` names the "
            "gap in its coverage."
        ),
        queries=(Query(counted(_DROPPED)),),
        unit="short",
        steps=ANY_IS_RED,
        empty=NO_AGENT,
    ),
    Stat(
        title="Errors of the agent in this range",
        about=(
            "Caught inside the agent, told once in the log, never raised into the application. "
            "Red: by stage below; search the log for ws_audit and look at `ws-audit doctor`."
        ),
        queries=(Query(counted(_ERRORS)),),
        unit="none",
        steps=ANY_IS_RED,
        empty=NO_AGENT,
    ),
    Stat(
        title="Connections open",
        about=(
            "Client connections the sink has seen open and not yet close. None while clients are "
            "connected: `ws-audit doctor` says whether the server is one the agent sees."
        ),
        queries=(Query(f"sum({_CONNECTIONS})"),),
        unit="short",
        empty=NO_AGENT,
        width=4,
    ),
)

_HEALTH: Final = Row(
    "Does it keep up",
    (
        Series(
            title="Age of the heartbeat, by target",
            about=(
                "A saw near zero is well. A line that climbs is an agent that has stopped: what it "
                "serves is still judged on the way, but not counted. Red: `ws-audit doctor`."
            ),
            queries=(Query(f"max by (job, instance) ({_AGE})", "{{job}} {{instance}}"),),
            unit="s",
            steps=_STALE,
            empty=NO_AGENT,
        ),
        Series(
            title="Records waiting, by target",
            about=(
                "Records that are not worked off yet. Orange: it falls behind; when the ring is "
                "full clean records are dropped, violations never. `ws-audit doctor` says what the "
                "process is busy with."
            ),
            queries=(Query(f"sum by (job, instance) ({_BACKLOG})", "{{job}} {{instance}}"),),
            unit="short",
            steps=_FULL,
            empty=NO_AGENT,
        ),
        Series(
            title="CPU of the agent, as a share of one core",
            about=(
                "hooks: inside the application's calls; drain: beside them. Red: over a fifth of a "
                "core in one process. `ws-audit doctor` shows what is hooked; exclude what need "
                "not be, or write `off` into the control file."
            ),
            queries=(
                Query(
                    f"max by (job, stage) (rate({_CPU}{RATE}))",
                    "{{job}} {{stage}}",
                ),
            ),
            unit="percentunit",
            steps=_BUSY,
            empty=NO_AGENT,
        ),
        Series(
            title="Connections open, by transport",
            about=(
                "Connections of each transport the agent sees. One that your clients use and that "
                "stays at zero is not seen: `ws-audit doctor`."
            ),
            queries=(Query(f"sum by (transport) ({_CONNECTIONS})", "{{transport}}"),),
            unit="short",
            empty=NO_AGENT,
        ),
        Series(
            title="Records dropped, by stage",
            about=(
                "ring: the drain was too slow; store: the disk was full or the cap was reached; "
                "export: the collector was away; push: the webhook was. Not zero: `ws-audit "
                "review DIR` says what its numbers lack."
            ),
            queries=(Query(f"sum by (stage) (increase({_DROPPED}{RATE}))", "{{stage}}"),),
            unit="short",
            steps=ANY_IS_RED,
            empty=NO_AGENT,
        ),
        Series(
            title="Errors of the agent, by stage",
            about=(
                "Not zero: search the log of the service for ws_audit; each kind is told once. "
                "`breaker` means that the agent switched something off to protect the application. "
                "`ws-audit doctor` has the rest."
            ),
            queries=(Query(f"sum by (stage) (increase({_ERRORS}{RATE}))", "{{stage}}"),),
            unit="short",
            steps=ANY_IS_RED,
            empty=NO_AGENT,
        ),
        Series(
            title="Messages by transport",
            about=(
                "What passed the sink, judged or not. A transport whose share of unjudged ones is "
                "large: `ws-audit doctor` says why."
            ),
            queries=(
                Query(
                    f"sum by (transport, judged) (rate({series(FRAMES)}{RATE})) > 0",
                    "{{transport}}, judged: {{judged}}",
                ),
            ),
            unit="cps",
            stacked=True,
            width=24,
            empty="no messages, or no agent: the first row says which",
            healthy_empty="a service without traffic sends nothing",
        ),
    ),
)


def _of_target(expr: str) -> Query:
    return Query(f"({expr}) * on (job, instance) group_left (version, mode, python) {THE_BUILD}")


_EACH: Final = Row(
    "Every target",
    (
        Table(
            title="Every target",
            about=(
                "One line a target, with the agent's version and mode. Two versions of one job: a "
                "deployment is under way or half done. Red: `ws-audit doctor` on that machine."
            ),
            queries=(
                _of_target(f"max by (job, instance) ({_AGE})"),
                *(
                    _of_target(f"sum by (job, instance) ({series(_TARGETS, state=state)})")
                    for state in ("patched", "too_late", "failed")
                ),
                _of_target(f"sum by (job, instance) ({_CONNECTIONS})"),
                _of_target(f"sum by (job, instance) ({_BACKLOG})"),
                _of_target(f"sum by (job, instance) (rate({_CPU}{RATE}))"),
                _of_target(counted(_DROPPED, "job, instance")),
                _of_target(counted(_ERRORS, "job, instance")),
            ),
            labels={
                "job": "Job",
                "instance": "Target",
                "version": "Version",
                "mode": "Mode",
                "python": "Python",
            },
            values=(
                Column("Heartbeat", unit="s", steps=_STALE),
                Column("Hooked", steps=NONE_IS_RED),
                Column("Too late", steps=ANY_IS_ORANGE),
                Column("Failed", steps=ANY_IS_RED),
                Column("Connections", unit="short"),
                Column("Waiting", unit="short", steps=_FULL),
                Column("CPU", unit="percentunit", steps=_BUSY),
                Column("Dropped", unit="short", steps=ANY_IS_RED),
                Column("Errors", steps=ANY_IS_RED),
            ),
            sort="Heartbeat",
            unit="none",
            empty=NO_AGENT,
        ),
    ),
)

AGENT: Final = Dashboard(
    "ws-audit-agent",
    "ws-audit: Agent",
    "Is the agent there, is everything hooked, does it keep up, and what does it cost?",
    _FIRST,
    (_HEALTH, _EACH),
)
