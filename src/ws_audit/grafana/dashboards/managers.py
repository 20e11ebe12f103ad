# SPDX-License-Identifier: Apache-2.0
"""*Managers*: which classes send, how much, how fast, with what outcome, in which service.

Why it exists: a service with two manager classes where there should be one, or with an instance
for each message, shows it here before it shows as a leak.
"""

from __future__ import annotations

from typing import Final

from ws_audit.grafana.panels import (
    ANY_IS_RED,
    JUDGED,
    NONE_IS_RED,
    PLAIN,
    Column,
    Dashboard,
    Query,
    Row,
    Series,
    Stat,
    Steps,
    Table,
    series,
)
from ws_audit.grafana.promql import Regex

from .common import NO_AGENT, RANGE, RATE, SURE, counted, judged_share, violations

_CREATED: Final = series("ws_audit_instances_created_total")
_ALIVE: Final = series("ws_audit_instances_alive")
_SENT: Final = series("ws_audit_events_sent_total")
_NOT_OK: Final = series(
    "ws_audit_events_sent_total", outcome=Regex("error|refused|cancelled|undelivered")
)
_BUCKETS: Final = series("ws_audit_send_duration_seconds_bucket")
_TARGETS: Final = "ws_audit_targets"

# A send above 2 s is late for a person who waits for an agent's next event.
_SLOW: Final[Steps] = ((None, "green"), (0.5, "orange"), (2, "red"))
_FAILING: Final[Steps] = ((None, "green"), (0.01, "orange"), (0.05, "red"))


def _slowest(share: float, by: str = "", window: str = RATE) -> str:
    return f"histogram_quantile({share}, sum by ({by}{by and ', '}le) (rate({_BUCKETS}{window})))"


def _failing(by: str = "") -> str:
    grouped = by and f"by ({by}) "
    not_ok, sent = (f"sum {grouped}(increase({each}{RANGE}))" for each in (_NOT_OK, _SENT))
    return f"({not_ok} or {sent} * 0) / ({sent} > 0)"


_FIRST: Final = (
    Stat(
        title="Hooked methods and functions",
        about=(
            "Targets of hooks that are in place, over all processes that are chosen. Red: none is, "
            "so no sending call is seen and the zeros of this page mean nothing. `ws-audit doctor` "
            "lists what was found, and `ws-audit doctor explain TARGET` why something was not."
        ),
        queries=(Query(f"sum({series(_TARGETS, state='patched')})"),),
        unit="none",
        steps=NONE_IS_RED,
        empty=NO_AGENT,
        width=4,
    ),
    Stat(
        title="Managers alive",
        about=(
            "Instances of manager classes that exist now. A number that grows with the traffic and "
            "never falls is a leak of memory, and an instance for each user that is handed to two "
            "is `shared_instance`: `ws-audit review DIR`."
        ),
        queries=(Query(f"sum({_ALIVE})"),),
        unit="short",
        empty=NO_AGENT,
        width=4,
    ),
    Stat(
        title="Created in this range",
        about=(
            "Manager instances made in the range. Thousands where a handful is expected: something "
            "makes a manager for each message; `ws-audit doctor` says which factories it found."
        ),
        queries=(Query(counted(_CREATED)),),
        unit="short",
        empty=NO_AGENT,
        width=4,
    ),
    Stat(
        title="Sends in this range",
        about=(
            "Calls of managers that meant to send something, once they were settled. Blue: none "
            "was made. If clients did receive messages, they go past the managers: `ws-audit "
            "doctor` says so."
        ),
        queries=(Query(f"{counted(_SENT)} or sum({series(_TARGETS)}) * 0"),),
        unit="short",
        steps=((None, "blue"), (1, "text")),
        empty=NO_AGENT,
        width=4,
    ),
    Stat(
        title="Sends that came to nothing",
        about=(
            "Of the settled sends, those that raised, were refused or cancelled, or of which no "
            "delivery was ever seen. Red: the table below says which manager and event; "
            "`ws-audit doctor` says whether deliveries are seen at all."
        ),
        queries=(Query(f"{_failing()} or sum({series(_TARGETS)}) * 0"),),
        unit="percentunit",
        steps=_FAILING,
        empty=NO_AGENT,
        width=4,
    ),
    Stat(
        title="Slowest 5 % of sends take",
        about=(
            "The 95th percentile of a manager's outermost send, its own work included. Red: over "
            "two seconds. The agent's own part of it is in `ws-audit doctor` and on the page "
            "*Agent*: it is microseconds."
        ),
        queries=(Query(_slowest(0.95, window=RANGE)),),
        unit="s",
        steps=_SLOW,
        empty="no sends, or no agent",
        width=4,
    ),
)

_SENDS: Final = Row(
    "Sends",
    (
        Series(
            title="Sends by manager",
            about=(
                "Which class does the sending. Two lines where the team knows one class: there is "
                "a second implementation; `ws-audit doctor` lists both with their modules."
            ),
            queries=(Query(f"sum by (job, manager) (rate({_SENT}{RATE}))", "{{job}} {{manager}}"),),
            unit="cps",
            stacked=True,
            empty="no sends, or no agent",
        ),
        Series(
            title="Sends by outcome",
            about=(
                "ok, error (it raised), refused (mode block), cancelled, undelivered (no message "
                "followed within ten seconds). Undelivered that rises: clients are gone, or go "
                "past what the agent sees; `ws-audit doctor` says which."
            ),
            queries=(Query(f"sum by (outcome) (rate({_SENT}{RATE}))", "{{outcome}}"),),
            unit="cps",
            stacked=True,
            empty="no sends, or no agent",
        ),
        Series(
            title="Duration of the slowest 5 %, by manager",
            about=(
                "The 95th percentile of each manager's outermost send. Red: over two seconds; look "
                "for awaits in it, `ws-audit doctor explain MODULE:CLASS` names its methods."
            ),
            queries=(Query(_slowest(0.95, "job, manager"), "{{job}} {{manager}}"),),
            unit="s",
            steps=_SLOW,
            empty="no sends, or no agent",
        ),
        Series(
            title="Duration of all sends",
            about=(
                "Half of all sends, nineteen of twenty, and ninety-nine of a hundred took no "
                "longer than this. Red: over two seconds; the panel beside it says which manager, "
                "`ws-audit doctor explain MODULE:CLASS` which methods."
            ),
            queries=tuple(Query(_slowest(each), f"{each:.0%}") for each in (0.5, 0.95, 0.99)),
            unit="s",
            steps=_SLOW,
            empty="no sends, or no agent",
        ),
    ),
)

_INSTANCES: Final = Row(
    "Instances",
    (
        Series(
            title="Instances alive, by manager",
            about=(
                "A singleton stands at 1 for each process. A line that only ever rises is not let "
                "go. `ws-audit review DIR` for `shared_instance`: one object for two users."
            ),
            queries=(Query(f"sum by (job, manager) ({_ALIVE})", "{{job}} {{manager}}"),),
            unit="short",
            empty=NO_AGENT,
        ),
        Series(
            title="Instances created, by manager",
            about=(
                "As many as there are messages: a manager is made for each. `ws-audit doctor` says "
                "which functions hand managers out."
            ),
            queries=(
                Query(f"sum by (job, manager) (rate({_CREATED}{RATE}))", "{{job}} {{manager}}"),
            ),
            unit="cps",
            empty=NO_AGENT,
        ),
    ),
)

_IMPLEMENTATIONS: Final = Row(
    "Implementations",
    (
        Series(
            title="Implementations by duty",
            about=(
                "Distinct classes that send: managers and emitters; those that only keep "
                "connections: registries; and functions that hand managers out. More than one "
                "manager: `ws-audit check --list` says which, and who delivers which event."
            ),
            queries=(
                Query(
                    f"max by (job, duty) ({series('ws_audit_implementations')})", "{{job}} {{duty}}"
                ),
            ),
            unit="none",
            empty=NO_AGENT,
        ),
        Series(
            title="Import paths, by manager",
            about=(
                "By how many names a class can be imported in the modules that are loaded. More "
                "than one or two: whoever replaces it will miss some. `ws-audit check --list` "
                "names them."
            ),
            queries=(
                Query(
                    f"max by (job, manager) ({series('ws_audit_import_paths')})",
                    "{{job}} {{manager}}",
                ),
            ),
            unit="none",
            empty=NO_AGENT,
        ),
        Table(
            title="Who runs which implementation",
            about=(
                "A fingerprint is a hash of a class's code; its first three digits are the version "
                "of Python. One class with two fingerprints of one version: services do not run "
                "the same; `ws-audit check --list` and the alert WsAuditImplementationsDiffer."
            ),
            queries=(
                Query(
                    "count by (job, manager, module, fingerprint)"
                    f" ({series('ws_audit_implementation_info')})"
                ),
            ),
            labels={
                "job": "Job",
                "manager": "Manager",
                "module": "Module",
                "fingerprint": "Fingerprint",
            },
            values=(Column("Targets"),),
            sort="Manager",
            unit="none",
            empty=NO_AGENT,
        ),
    ),
)

_TABLES: Final = Row(
    "Side by side",
    (
        Table(
            title="Services compared",
            about=(
                "The same code in two services should look alike here. Red: `ws-audit review DIR` "
                "for violations, `ws-audit doctor` for the judged share and what is not hooked."
            ),
            queries=(
                Query(f"sum by (job) ({series(_TARGETS, state='patched')})"),
                Query(f"count by (job) (count by (job, manager) ({_CREATED} > 0))"),
                Query(f"sum by (job) ({_ALIVE})"),
                Query(counted(_SENT, "job")),
                Query(_failing("job")),
                Query(_slowest(0.95, "job", RANGE)),
                Query(judged_share("job")),
                Query(counted(violations(severity=SURE), "job")),
            ),
            labels={"job": "Job"},
            values=(
                Column("Hooked", steps=NONE_IS_RED),
                Column("Classes in use"),
                Column("Alive"),
                Column("Sends", unit="short"),
                Column("Came to nothing", unit="percentunit", steps=_FAILING),
                Column("Slowest 5 %", unit="s", steps=_SLOW),
                Column("Judged share", unit="percentunit", steps=JUDGED),
                Column("Confirmed, probable", steps=ANY_IS_RED),
            ),
            sort="Job",
            unit="none",
            empty=NO_AGENT,
        ),
        Table(
            title="Managers compared",
            about=(
                "A class that is created and never sends is dead or wrongly taken for a manager: "
                "`ws-audit doctor explain MODULE:CLASS`. Violations red: `ws-audit review DIR`."
            ),
            queries=(
                Query(counted(_CREATED, "job, manager")),
                Query(f"sum by (job, manager) ({_ALIVE})"),
                Query(counted(_SENT, "job, manager")),
                Query(_failing("job, manager")),
                Query(_slowest(0.95, "job, manager", RANGE)),
                Query(counted(violations(severity=SURE), "job, manager")),
            ),
            labels={"job": "Job", "manager": "Manager"},
            values=(
                Column("Created", unit="short"),
                Column("Alive", unit="short"),
                Column("Sends", unit="short"),
                Column("Came to nothing", unit="percentunit", steps=_FAILING),
                Column("Slowest 5 %", unit="s", steps=_SLOW),
                Column("Confirmed, probable", steps=ANY_IS_RED),
            ),
            sort="Sends",
            unit="none",
            empty=NO_AGENT,
        ),
        Table(
            title="Events and outcomes",
            about=(
                "What was sent, by whom, and what became of it. `other` stands for events beyond "
                "the first 200. Anything but ok for an event that clients wait for: `ws-audit "
                "doctor` says whether its deliveries are seen."
            ),
            queries=(
                Query(f"{counted(_SENT, 'job, manager, event, outcome')} > 0"),
                Query(f"sum by (job, manager, event, outcome) (rate({_SENT}{RANGE})) > 0"),
            ),
            labels={"job": "Job", "manager": "Manager", "event": "Event", "outcome": "Outcome"},
            values=(Column("In this range", unit="short"), Column("A second", unit="cps")),
            sort="In this range",
            unit="none",
            steps=PLAIN,
            width=12,
            empty="no sends in this range, or no agent: the first row says which",
            healthy_empty="a service without traffic sends nothing",
        ),
        Table(
            title="Factories and what they hand out",
            about=(
                "One function that hands out two types: its callers reach different managers by "
                "the same way. `ws-audit doctor` lists the factories it found; one object for two "
                "users is `shared_instance` in `ws-audit review DIR`."
            ),
            queries=(
                Query(
                    "round(sum by (job, factory, product)"
                    f" (increase({series('ws_audit_factory_products_total')}{RANGE}))) > 0"
                ),
                Query(
                    "sum by (job, factory, product)"
                    f" ({series('ws_audit_factory_products_total')}) > 0"
                ),
            ),
            labels={"job": "Job", "factory": "Factory", "product": "Product"},
            values=(Column("In this range", unit="short"), Column("Since the start", unit="short")),
            sort="Factory",
            unit="none",
            width=12,
            empty="no function handed out a manager",
            healthy_empty="many applications have no factory",
        ),
    ),
)

MANAGERS: Final = Dashboard(
    "ws-audit-managers",
    "ws-audit: Managers",
    "Which manager classes there are, what they send, how fast and with what outcome, service by "
    "service.",
    _FIRST,
    (_SENDS, _INSTANCES, _IMPLEMENTATIONS, _TABLES),
)
