# SPDX-License-Identifier: Apache-2.0
"""The alerts that something is missing from what the agent sees or keeps.

It is there and it works, and all the same "no leak" says less than it seems to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .alert import BLINDNESS, PAGE, PAGE_IN_HOURS, TICKET, Alert, one_of
from .promql import Regex, grew, inner, lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .promql import Selectors


def alerts(series: Selectors) -> Iterator[Alert]:
    """Messages nobody could judge, classes nobody could hook, records nobody kept."""
    yield _unjudged(series)
    yield _targets(series)
    yield _dropped(series)
    yield _differ(series)


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
        command="ws-audit doctor",
        hint=(
            "where the service runs, in its environment; it lists the commonest of them, each with"
            " the line of configuration that settles it"
        ),
        no_data="OK",  # no messages, or no agent: that is WsAuditAgentMissing's to tell
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


def _targets(series: Selectors) -> Alert:
    targets = "ws_audit_targets"
    bad, hooked = series(targets, state=Regex("failed|too_late")), series(targets, state="patched")
    tripped = series("ws_audit_internal_errors_total", stage="breaker")
    frames = series("ws_audit_frames_total")
    return Alert(
        "WsAuditTargetsFailed",
        BLINDNESS,
        lines(
            f"""
            max by (job, state) ({bad}) > 0
            or
            label_replace(
              count by (job) (
                {tripped} > 0
                and on (job, instance) {hooked} == 0
                or
                increase({tripped}[1h]) > 0
              ),
              "state", "breaker", "", ""
            )
            or
            label_replace(
              count by (job) (
                {hooked} == 0
                and max_over_time({hooked}[1d]) > 0
                unless on (job, instance) {tripped} > 0
              ),
              "state", "off", "", ""
            )
            or
            label_replace(
              count by (job) (
                {hooked} == 0
                and on (job, instance) increase({frames}[15m]) > 0
                unless max_over_time({hooked}[1d]) > 0
              ),
              "state", "none", "", ""
            )
            """
        ),
        labels={
            "severity": one_of("state", {"breaker": PAGE, "off": PAGE_IN_HOURS}, TICKET),
        },
        summary=(
            '{{ if eq $labels.state "breaker" }}The circuit breaker has switched the audit of'
            ' {{ $labels.job }} off{{ else if eq $labels.state "off" }}The audit of'
            ' {{ $labels.job }} is switched off{{ else if eq $labels.state "none" }}No manager'
            " class of {{ $labels.job }} is hooked{{ else }}Methods of {{ $labels.job }} that"
            " could not be hooked ({{ $labels.state }}): {{ $value }}{{ end }}"
        ),
        description=(
            '{{ if eq $labels.state "breaker" -}}'
            " The agent cost too much or failed every time, and took itself out. It does not come"
            " back by itself."
            ' {{- else if eq $labels.state "off" -}}'
            " Classes were hooked and none is any more: by the control file, by disable(), or by a"
            " version in which they have other names."
            ' {{- else if eq $labels.state "none" -}}'
            " Messages flow and no class that sends them is known: what callers and instances"
            " know of whose they are is not used."
            " {{- else -}}"
            " Calls that way go past the hook: what they know of whose a message is, is not used."
            " {{- end }}"
        ),
        command="ws-audit doctor",
        hint=(
            "where the service runs, in its environment; it names the classes and methods, the"
            " reason, and how to switch the agent on again"
        ),
        no_data="OK",  # no agent at all is WsAuditAgentMissing's to tell, once
        pending="5m",
        remark=(
            "Who has tripped stays tripped, which a process of its own shows for as long. Of"
            " workers that share a page (PROMETHEUS_MULTIPROC_DIR) only the trip itself shows, for"
            " an hour."
        ),
    )


def _dropped(series: Selectors) -> Alert:
    return Alert(
        "WsAuditRecordsDropped",
        BLINDNESS,
        grew(series("ws_audit_records_dropped_total"), "job, stage", "15m"),
        labels={
            "severity": one_of("stage", {"store": PAGE_IN_HOURS, "push": PAGE_IN_HOURS}, TICKET)
        },
        summary="{{ $labels.job }} loses records of its audit ({{ $labels.stage }})",
        description=(
            "Verdicts, counts and alerts are complete: they are not made from records."
            ' {{ if eq $labels.stage "store" }}The trace directory is not: a review may lack a'
            " violation, and a restart may forget one."
            '{{ else if eq $labels.stage "push" }}A violation may not have reached the webhook'
            " or the log collector."
            '{{ else if eq $labels.stage "export" }}Spans are missing in the tracing backend.'
            "{{ else }}Spans and send durations are missing: the service does more than the"
            " agent's worker can follow."
            "{{ end }}"
        ),
        command="ws-audit doctor",
        hint=(
            "where the service runs, in its environment; store: is the disk full; push, export: is"
            " the other side there; ring: is the CPU used up"
        ),
        no_data="OK",  # no agent at all is WsAuditAgentMissing's to tell, once
        keep_firing="1h",
    )


# Bytecode is another in each version of Python, which the first three digits tell.
_PYTHONS: Final = {
    "30a": "3.10",
    "30b": "3.11",
    "30c": "3.12",
    "30d": "3.13",
    "30e": "3.14",
}


def _differ(series: Selectors) -> Alert:
    info = series("ws_audit_implementation_info")
    graded = info
    for digits, version in _PYTHONS.items():  # one by one: a `$1` would be Grafana's environment
        graded = f'label_replace({graded}, "python", "{version}", "fingerprint", "{digits}.*")'
    return Alert(
        "WsAuditImplementationsDiffer",
        BLINDNESS,
        lines(
            f"""
            count by (manager, python) (
              count by (manager, python, fingerprint) (
                group by (manager, python, fingerprint, job) (
                  {graded}
                )
              )
              < on (manager, python) group_left ()
              count by (manager, python) (
                group by (manager, python, job) (
                  {graded}
                )
              )
            )
            or
            group by (job) ({info})
            unless on (job) (
              {info}
              and on (manager)
              count by (manager) (
                group by (manager, job) (
                  {info}
                )
              ) > 1
            )
            unless on (job) (
              {info}
              and on (fingerprint)
              count by (fingerprint) (
                group by (fingerprint, job) ({info})
              ) > 1
            )
            and on ()
            count(group by (job) ({info})) > 1
            """
        ),
        labels={"severity": TICKET},
        summary=(
            "{{ if $labels.manager }}{{ $value }} implementations of {{ $labels.manager }} run,"
            " each in some services only{{ else }}{{ $labels.job }} runs no manager that any other"
            " service runs{{ end }}"
        ),
        description=(
            "{{ if $labels.manager -}}"
            " Services have a manager class of this name, and the code in it is not the same. What"
            " was fixed in one of them is not fixed in the other."
            " {{- else -}}"
            " Its implementation is its own, under a name of its own."
            " {{- end }}"
            " ws_audit_implementation_info has manager, module and fingerprint of every process."
        ),
        command="ws-audit check --list",
        hint=(
            "--source DIR, the trace directory; it lists the implementations of each process with"
            " their fingerprints, and how to import them"
        ),
        no_data="OK",  # no agent at all is WsAuditAgentMissing's to tell, once
        pending="15m",
        remark=(
            "A class is compared between services (jobs) on one version of Python. A rollout is no"
            " finding: it ends within the quarter of an hour. Services that are no one system are"
            " told apart by `ws-audit grafana --job`."
        ),
    )
