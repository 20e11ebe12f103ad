# SPDX-License-Identifier: Apache-2.0
"""*Isolation*: is anybody seeing somebody else's data, now, and since when?

Why it exists: it is what is open while the pager is still ringing. Its first panel answers in
words, and never says that all is well where nothing was looked at.
"""

from __future__ import annotations

from typing import Final

from ws_audit import schema
from ws_audit.grafana.panels import (
    ANY_IS_ORANGE,
    ANY_IS_RED,
    JUDGED,
    PLAIN,
    Column,
    Dashboard,
    Query,
    Row,
    Series,
    Spans,
    Stat,
    Table,
    series,
)

from .common import (
    BUILD,
    FRAMES,
    GONE,
    HEARTBEAT,
    LEAKS,
    NO_AGENT,
    RANGE,
    RATE,
    SURE,
    TARGETS_WITHOUT_AGENT,
    THE_BUILD,
    UNWATCHED,
    counted,
    judged_share,
    last_violation,
    violations,
)

_REVIEW: Final = "`ws-audit review DIR` (DIR: the service's WS_AUDIT_TRACE_DIR)"
_OPEN: Final = series("ws_audit_open_incidents")
_MESSAGES: Final = f"sum(increase({series(FRAMES)}{RANGE}))"


def _recent(severity: str) -> str:
    """Counted in the range, or the last one lies in it: a counter's first sample, a restart."""
    return (
        f"(sum(increase({violations(severity=severity)}{RANGE})) > 0"
        f" or max({last_violation(severity=severity)}) > time() - $__range_s)"
    )


_STOPPED: Final = f"count(time() - {series(HEARTBEAT)} > 60)"

# The first line that has an answer is the answer. Each is the worst that is still unsaid.
_ANSWER: Final = " or ".join(
    (
        f"{_recent('confirmed')} * 0 + 6",
        f"({_recent('probable')} or sum({_OPEN}) > 0) * 0 + 5",
        f"(count({UNWATCHED}) or count({GONE}) or {_STOPPED}) * 0 + 4",
        f"{_recent('suspected')} * 0 + 3",
        f"({judged_share()} < 0.99) * 0 + 2",
        f"({_MESSAGES} == 0) * 0 + 1",
        f"({_MESSAGES} > 0) * 0",
    )
)
_ANSWERS: Final = {
    6: ("YES: a confirmed leak", "red"),
    5: ("LIKELY: probable, or an incident is open", "red"),
    4: ("BLIND: a target is not audited", "purple"),
    3: ("PERHAPS: suspected only", "orange"),
    2: ("PARTLY BLIND: over 1 % not judged", "orange"),
    1: ("UNKNOWN: no messages", "blue"),
    0: ("NO: all judged, nothing wrong", "green"),
}

_FIRST: Final = (
    Stat(
        title="Is anybody seeing somebody else's data?",
        about=(
            "The worst that holds in the chosen time range. It is green only if messages were "
            "sent, over 99 % of them were judged, every target has an agent at work, nothing was "
            f"found and no incident is open. Red: {_REVIEW} says who saw whose data, since when, "
            "and which line sent it. Purple or orange: `ws-audit doctor` says what is not seen."
        ),
        queries=(Query(_ANSWER),),
        unit="none",
        texts=_ANSWERS,
        empty="NO AGENT: nothing is looked at",
        loud=True,
        width=8,
    ),
    Stat(
        title="Violations in this range",
        about=(
            "Messages that went to somebody they do not belong to, by how sure the audit is; "
            "hygiene is worth a look, nobody saw anything. Zero counts only beside the judged "
            f"share. Red: {_REVIEW}."
        ),
        queries=(
            Query(counted(violations(severity="confirmed")), "confirmed", steps=ANY_IS_RED),
            Query(counted(violations(severity="probable")), "probable", steps=ANY_IS_RED),
            Query(counted(violations(severity="suspected")), "suspected", steps=ANY_IS_ORANGE),
            Query(counted(violations(severity="hygiene")), "hygiene", steps=PLAIN),
        ),
        unit="none",
        empty=NO_AGENT,
        width=8,
    ),
    Stat(
        title="Judged share",
        about=(
            "Of all messages in the range, those of which the audit could say whose they are. "
            "What is not judged can leak unseen. Red or orange: `ws-audit doctor` names the "
            "commonest ones, each with the line of configuration that settles it."
        ),
        queries=(Query(f"{judged_share()} or ({_MESSAGES} == 0) - 1"),),
        unit="percentunit",
        texts={-1: ("no messages", "blue")},
        steps=JUDGED,
        empty=NO_AGENT,
        width=4,
    ),
    Stat(
        title="Open incidents",
        about=(
            "Incidents that nobody has acknowledged. They stay open over a restart. With one trace "
            "directory on each host it is the sum of each job's highest. Red: `ws-audit review "
            "DIR`, and when it is understood `ws-audit review ack INCIDENT --by NAME --note ...`."
        ),
        queries=(Query(f"sum(max by (job) ({_OPEN}))"),),
        unit="none",
        steps=ANY_IS_RED,
        empty=NO_AGENT,
        width=4,
    ),
    Stat(
        title="First violation in this range",
        about=(
            "When the first one of the range was noticed, to a scrape's precision; hygiene left "
            f"out. Choose a longer range until it no longer moves. Red: {_REVIEW} has the exact "
            "time, also of what no scrape saw."
        ),
        queries=(
            Query(
                f"min(min_over_time(({last_violation(severity=LEAKS)}"
                f" > (time() - $__range_s))[$__range:$__interval])) * 1000"
                f" or count({series(BUILD)}) * 0"
            ),
        ),
        unit="dateTimeFromNow",
        texts={0: ("none in this range", "green")},
        steps=((None, "green"), (1, "red")),
        empty=NO_AGENT,
    ),
    Stat(
        title="Last violation",
        about=(
            "The last one, also before the range and before a restart; hygiene left out. Red while "
            f"it is there: {_REVIEW} says whether it goes on."
        ),
        queries=(Query(f"max({last_violation(severity=LEAKS)}) * 1000"),),
        unit="dateTimeFromNow",
        texts={0: ("none known", "green")},
        steps=((None, "green"), (1, "red")),
        empty=NO_AGENT,
    ),
    TARGETS_WITHOUT_AGENT,
    Stat(
        title="Targets with an agent at work",
        about=(
            "Targets whose agent has worked its records off within the last minute. Red: none has; "
            "`ws-audit doctor` says what the processes of this machine show."
        ),
        queries=(
            Query(
                f"count(time() - {series(HEARTBEAT)} <= 60) or count({series(HEARTBEAT)}) * 0",
            ),
        ),
        unit="none",
        steps=((None, "red"), (1, "green")),
        empty=NO_AGENT,
        width=4,
    ),
    Stat(
        title="Messages in this range",
        about=(
            "What the zeros of this page stand on. Red: not one message passed the sink; "
            "`ws-audit doctor` says whether the application is served where the agent can see it."
        ),
        queries=(Query(f"round({_MESSAGES})"),),
        unit="short",
        steps=((None, "red"), (1, "green")),
        empty=NO_AGENT,
        width=4,
    ),
)

_QUIET: Final = "nothing was counted: the first row says whether that means anything"

_SINCE: Final = Row(
    "Since when, and where",
    (
        Series(
            title="Violations by rule",
            about=(
                "Each rule names two pieces of evidence that disagreed. A diamond is one violation "
                "with its trace; follow it for the line of code (single process, with an exemplar "
                f"store). Not zero: {_REVIEW}."
            ),
            queries=(
                Query(
                    f"sum by (rule, severity) (increase({violations()}{RATE})) > 0",
                    "{{rule}} ({{severity}})",
                    exemplar=True,
                ),
            ),
            unit="short",
            stacked=True,
            empty=_QUIET,
            healthy_empty="only what was counted is drawn",
        ),
        Series(
            title="Violations by manager",
            about=(
                "The class whose method was called; `none` is a message no manager call led to. "
                f"Not zero: {_REVIEW} names the line. `ws-audit doctor explain MODULE:CLASS` says "
                "why a class is taken for a manager."
            ),
            queries=(
                Query(
                    f"sum by (job, manager) (increase({violations()}{RATE})) > 0",
                    "{{job}} {{manager}}",
                ),
            ),
            unit="short",
            stacked=True,
            empty=_QUIET,
            healthy_empty="only what was counted is drawn",
        ),
        Series(
            title="Violations by job and target",
            about=(
                "On one target: its deployment. On all at once: what they share. The marks are "
                "processes that began, so a line that rises behind a mark came with a deployment, "
                f"and taking it back stops the leak. Not zero: {_REVIEW} has the versions."
            ),
            queries=(
                Query(
                    f"sum by (job, instance) (increase({violations()}{RATE})) > 0",
                    "{{job}} {{instance}}",
                ),
            ),
            unit="short",
            stacked=True,
            empty=_QUIET,
            healthy_empty="only what was counted is drawn",
        ),
        Series(
            title="Open incidents by job",
            about=(
                "Red: an incident of a confirmed or probable leak that nobody has acknowledged. "
                "`ws-audit review DIR`, then `ws-audit review ack INCIDENT --by NAME --note ...`."
            ),
            queries=(Query(f"max by (job) ({_OPEN})", "{{job}}"),),
            unit="none",
            steps=ANY_IS_RED,
            empty=NO_AGENT,
        ),
    ),
)

_COVERAGE: Final = Row(
    "What a zero stands on",
    (
        Series(
            title="Judged share by job",
            about=(
                "Below the line more than one message of a hundred could not be judged. Red: "
                "`ws-audit doctor` names the commonest ones and what settles them."
            ),
            queries=(Query(judged_share("job", RATE), "{{job}}"),),
            unit="percentunit",
            steps=JUDGED,
            most=1,
            empty="no messages, or no agent: the first row says which",
        ),
        Series(
            title="Not judged, by reason",
            about=(
                "Why nobody could say whose these messages were. Rising: `ws-audit doctor` says "
                "what to declare; `limit` and `internal_error` are the agent's own."
            ),
            queries=(
                Query(
                    f"sum by (reason) (rate({series('ws_audit_unattributed_total')}{RATE}))",
                    "{{reason}}",
                ),
            ),
            unit="cps",
            stacked=True,
            empty=NO_AGENT,
        ),
        Series(
            title="Verdicts",
            about=(
                "Every message has one of four: " + ", ".join(schema.VERDICTS) + ". A violation "
                f"among them: {_REVIEW}. Unattributed: `ws-audit doctor`."
            ),
            queries=(
                Query(
                    f"sum by (verdict) (rate({series('ws_audit_verdicts_total')}{RATE}))",
                    "{{verdict}}",
                ),
            ),
            unit="cps",
            stacked=True,
            empty=NO_AGENT,
        ),
        Series(
            title="Excused, by policy",
            about=(
                "Messages a declared policy allows. A policy that suddenly excuses more than it "
                "did hides something: `ws-audit doctor` lists them with their reasons."
            ),
            queries=(
                Query(
                    f"sum by (policy) (rate({series('ws_audit_excused_total')}{RATE}))",
                    "{{policy}}",
                ),
            ),
            unit="cps",
            stacked=True,
            empty=NO_AGENT,
        ),
    ),
)

_DETAILS: Final = Row(
    "Details",
    (
        Table(
            title="What was found",
            about=(
                "Rules that found something in the range or before, the latest first. A line with "
                "no count has its last one before the range, or in a process that ended before it "
                f"was scraped. Red: {_REVIEW}."
            ),
            queries=(
                Query(f"{counted(violations(), 'job, rule, severity')} > 0"),
                Query(f"max by (job, rule, severity) ({last_violation()} > 0) * 1000"),
            ),
            labels={"job": "Job", "rule": "Rule", "severity": "Severity"},
            values=(
                Column("In this range", steps=ANY_IS_RED),
                Column("Last", unit="dateTimeFromNow"),
            ),
            sort="Last",
            unit="none",
            empty=_QUIET,
            healthy_empty="rules that never found anything are left out",
        ),
        Table(
            title="Every target, with what its zero stands on",
            about=(
                "A target without messages or with a low judged share cannot show a leak. Version "
                "is the agent's; mode `block` refuses what is surely a leak. Red: `ws-audit "
                "review DIR` for violations, `ws-audit doctor` for the judged share."
            ),
            queries=tuple(
                Query(f"({expr}) * on (job, instance) group_left (version, mode) {THE_BUILD}")
                for expr in (
                    counted(series(FRAMES), "job, instance"),
                    judged_share("job, instance"),
                    counted(violations(severity=SURE), "job, instance"),
                    counted(violations(severity="suspected"), "job, instance"),
                    f"max by (job, instance) ({last_violation(severity=LEAKS)}) * 1000",
                )
            ),
            labels={"job": "Job", "instance": "Target", "version": "Version", "mode": "Mode"},
            values=(
                Column("Messages", unit="short"),
                Column("Judged share", unit="percentunit", steps=JUDGED),
                Column("Confirmed, probable", steps=ANY_IS_RED),
                Column("Suspected", steps=ANY_IS_ORANGE),
                Column("Last", unit="dateTimeFromNow", texts={0: ("none known", "green")}),
            ),
            sort="Confirmed, probable",
            unit="none",
            empty=NO_AGENT,
        ),
    ),
)

_SHOWN: Final = (
    schema.RULE,
    schema.SEVERITY,
    schema.USER_HASH,
    schema.OWNER_HASH,
    schema.EVENT,
    schema.MANAGER,
    schema.SITE,
    schema.OUTCOME,
)

_WHOSE: Final = Row(
    "Whose data, to whom, from which line (needs traces in Tempo)",
    (
        Spans(
            title="Violations, each with its trace",
            about=(
                "One line a violation: whose connection (user.hash), whose data "
                "(ws_audit.owner.hash), the line of code (ws_audit.site). The hashes are still "
                "personal data. `ws-audit review DIR` tells the same from the trace directory."
            ),
            queries=(
                Query(
                    f'{{ name = "{schema.VIOLATION_SPAN}" }} | select('
                    + ", ".join(f"span.{each}" for each in _SHOWN)
                    + ", resource.service.name, resource.service.version)"
                ),
            ),
            unit="none",
            empty="no violation span here: without OTLP export none arrives",
            healthy_empty="a service without leaks has no violation spans",
        ),
    ),
    collapsed=True,
)

ISOLATION: Final = Dashboard(
    "ws-audit-isolation",
    "ws-audit: Isolation",
    "Is anybody seeing somebody else's data, now, and since when? Beside each zero: what it "
    "stands on.",
    _FIRST,
    (_SINCE, _COVERAGE, _DETAILS, _WHOSE),
)
