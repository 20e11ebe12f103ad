# SPDX-License-Identifier: Apache-2.0
"""The alerts as Grafana's own rules, and samples of who is told.

Why it exists: many teams have their alerts in Grafana and no Prometheus rule file. Both are made
from the same alerts.

It must never write a `$` that Grafana's provisioning would take for a variable of its environment,
nor put a notification policy where Grafana reads it by itself: a policy replaces all others.
"""

from __future__ import annotations

import re
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from .alert import LEAKS, PAGE, PAGE_IN_HOURS, TICKET
from .alertmanager import RECEIVERS
from .yaml_text import yaml_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .alert import Alert, Group
    from .options import Options

LEAK_PAGE: Final = "ws-audit-isolation"
BLINDNESS_PAGE: Final = "ws-audit-agent"
# Where a contact point finds its address: variables of Grafana's environment.
URLS: Final = {
    PAGE: "WS_AUDIT_PAGE_URL",
    PAGE_IN_HOURS: "WS_AUDIT_PAGE_IN_HOURS_URL",
    TICKET: "WS_AUDIT_TICKET_URL",
}

_OUTSIDE: Final = "ws-audit-outside-working-hours"

_BASE_S: Final = 10  # Grafana evaluates in multiples of it
_DEFAULT_S: Final = 60
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}

_RULES: Final = """SPDX-License-Identifier: Apache-2.0

Alert rules for Grafana, for /etc/grafana/provisioning/alerting, made by `ws-audit grafana`.
They are the rules of prometheus/ws_audit.rules.yml: load one of the two, not both.
Needs Grafana >= 12 for keepFiringFor; an older one forgets an alert as soon as its cause is over.

noDataState and execErrState are chosen rule by rule. A leak rule's query is empty while all is
well, so no data is OK there. Where an agent may be missing, no data is what that looks like.
A data source that cannot be asked is Alerting everywhere: nobody knows then."""

_CONTACTS: Final = f"""SPDX-License-Identifier: Apache-2.0

A sample, made by `ws-audit grafana`: copy it into /etc/grafana/provisioning/alerting and edit it.
Grafana does not start while a webhook has no address, so set in its environment:
  {URLS[PAGE]}           what wakes somebody up, at any hour
  {URLS[PAGE_IN_HOURS]}  what rings in working hours
  {URLS[TICKET]}         what becomes a ticket"""

_POLICIES: Final = """SPDX-License-Identifier: Apache-2.0

A sample, made by `ws-audit grafana`: copy it into /etc/grafana/provisioning/alerting and edit it.
It REPLACES all notification policies of the organisation: put your own routes in.

A leak is told at once: no group_wait, and one message for each job and rule. What pages in
working hours waits for them otherwise. Times are UTC: set `location`. Grafana has no inhibition:
who is told of a sure leak is told of its weaker kin as well."""


# --- rules ------------------------------------------------------------------------------------


def alert_rules(alerts: Iterable[Alert], options: Options) -> str:
    """The provisioning file of all alerts."""
    groups = [
        {
            "orgId": 1,
            "name": group.name,
            "folder": options.folder,
            "interval": f"{_interval_s(group)}s",
            "rules": [_rule(alert, options) for alert in members],
        }
        for group, members in groupby(alerts, key=lambda alert: alert.group)
    ]
    return yaml_text({"apiVersion": 1, "groups": groups}, _RULES)


def _interval_s(group: Group) -> int:
    """What the group wants, as Grafana can do it: never less often."""
    wanted = _seconds(group.interval) if group.interval else _DEFAULT_S
    return max(_BASE_S, wanted // _BASE_S * _BASE_S)


def _seconds(duration: str) -> int:
    return int(duration[:-1]) * _UNITS[duration[-1]]


def _rule(alert: Alert, options: Options) -> dict[str, Any]:
    rule: dict[str, Any] = {
        "uid": uid(alert.name),
        "title": alert.name,
        "condition": "B",
        "data": [_query(alert, options), _condition()],
        "noDataState": alert.no_data,
        "execErrState": alert.error,
        "for": alert.pending or "0s",
    }
    if alert.keep_firing:
        rule["keepFiringFor"] = alert.keep_firing
        # The query is empty once the cause is over, and a series that has gone is an alert that is
        # over, whatever keepFiringFor says: so it may be gone for as long.
        evaluations = _seconds(alert.keep_firing) // _interval_s(alert.group)
        rule["missing_series_evals_to_resolve"] = evaluations
    # What an alert links to: the first panel of the page that says more.
    page = LEAK_PAGE if alert.group is LEAKS else BLINDNESS_PAGE
    rule |= {"dashboardUid": page, "panelId": 1}
    rule["labels"] = {name: escaped(value) for name, value in alert.labels.items()}
    rule["annotations"] = {
        "summary": escaped(alert.summary),
        "description": escaped(alert.description),
        "runbook": escaped(alert.runbook),
        "__dashboardUid__": page,
        "__panelId__": "1",
    }
    return rule


def uid(name: str) -> str:
    """WsAuditLeakConfirmed -> ws-audit-leak-confirmed: the same after each start of Grafana."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()


def _query(alert: Alert, options: Options) -> dict[str, Any]:
    return {
        "refId": "A",
        "relativeTimeRange": {"from": 600, "to": 0},
        "datasourceUid": options.prometheus_uid,
        # The one place Grafana does not expand: macros of queries begin with $ as well.
        "model": {
            "refId": "A",
            "expr": alert.graded,
            "instant": True,
            "range": False,
            "intervalMs": 1000,
            "maxDataPoints": 43200,
        },
    }


def _condition() -> dict[str, Any]:
    """Every series above 0 is one thing that is wrong."""
    return {
        "refId": "B",
        "relativeTimeRange": {"from": 600, "to": 0},
        "datasourceUid": "__expr__",
        "model": {
            "refId": "B",
            "type": "threshold",
            "expression": "A",
            "conditions": [{"evaluator": {"type": "gt", "params": [0]}}],
        },
    }


# In a template `$labels` is what `.Labels` is, and that has no dollar in it: Grafana expands
# `$labels` from its environment, and how a dollar is kept depends on its version.
_LABELS: Final = re.compile(r"\$labels\.")
_VALUE: Final = re.compile(r"\$value\b")
# Where the dot is something else.
_MOVED: Final = re.compile(r"{{-?\s*(?:with|range)\b.*?}}(.*?){{-?\s*end\s*-?}}", re.DOTALL)


def escaped(template: str) -> str:
    """A template of Prometheus for Grafana's, without a dollar."""
    if any("$" in inside for inside in _MOVED.findall(template)):
        raise ValueError(f"{template!r}: a variable inside `with` cannot be written for Grafana")
    text = _VALUE.sub(".Values.A.Value", _LABELS.sub(".Labels.", template))
    if "$" in text:
        raise ValueError(f"{template!r}: Grafana would take a $ for its environment")
    return text


# --- samples ----------------------------------------------------------------------------------


def contact_points() -> str:
    """A webhook for each severity, under the names of Alertmanager's sample."""
    points = [_webhook(RECEIVERS[severity], url) for severity, url in URLS.items()]
    return yaml_text({"apiVersion": 1, "contactPoints": points}, _CONTACTS)


def _webhook(name: str, variable: str) -> dict[str, Any]:
    settings = {"url": f"${variable}", "httpMethod": "POST"}
    receiver = {"uid": name, "type": "webhook", "settings": settings}
    return {"orgId": 1, "name": name, "receivers": [receiver]}


def notification_policies() -> str:
    """Who is told: somebody at once, somebody in working hours, somebody this week."""
    leak = ["alertname", "=~", "WsAuditLeak.+"]
    page, in_hours = ["severity", "=", PAGE], ["severity", "=", PAGE_IN_HOURS]
    ours = {
        "receiver": RECEIVERS[TICKET],
        "object_matchers": [["alertname", "=~", "WsAudit.+"]],
        "group_by": ["alertname", "job"],
        "group_wait": "30s",
        "group_interval": "5m",
        "repeat_interval": "1w",
        "routes": [
            _route(PAGE, [leak, page], ["job", "rule"], "0s", "4h"),
            _route(PAGE, [page], ["alertname", "job"], "10s", "4h"),
            _route(PAGE_IN_HOURS, [leak, in_hours], ["job", "rule"], "0s", "1d"),
            _route(PAGE_IN_HOURS, [in_hours], ["alertname", "job"], "30s", "1d"),
        ],
    }
    policy = {
        "orgId": 1,
        "receiver": "grafana-default-email",
        "group_by": ["grafana_folder", "alertname"],
        "routes": [ours],
    }
    document = {"apiVersion": 1, "muteTimes": [_outside_hours()], "policies": [policy]}
    return yaml_text(document, _POLICIES)


def _route(
    severity: str, matchers: list[list[str]], group_by: list[str], wait: str, again: str
) -> dict[str, Any]:
    route: dict[str, Any] = {
        "receiver": RECEIVERS[severity],
        "object_matchers": matchers,
        "group_by": group_by,
        "group_wait": wait,
        "repeat_interval": again,
    }
    if severity == PAGE_IN_HOURS:
        route["mute_time_intervals"] = [_OUTSIDE]
    return route


def _outside_hours() -> dict[str, Any]:
    workdays = ["monday:friday"]
    times: list[dict[str, Any]] = [
        {"weekdays": ["saturday", "sunday"]},
        {"weekdays": workdays, "times": [{"start_time": "00:00", "end_time": "09:00"}]},
        {"weekdays": workdays, "times": [{"start_time": "17:00", "end_time": "24:00"}]},
    ]
    return {
        "orgId": 1,
        "name": _OUTSIDE,
        "time_intervals": [{"location": "UTC", **each} for each in times],
    }
