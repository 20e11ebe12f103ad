# SPDX-License-Identifier: Apache-2.0
"""Who is told of what, as a sample configuration of Alertmanager.

It must never make a leak wait: no group_wait on its route, and no working hours.
"""

from __future__ import annotations

from typing import Final

from .alert import PAGE, PAGE_IN_HOURS, TICKET

# The receivers, by severity; `OTHERS` gets what is not ours.
RECEIVERS: Final = {
    PAGE: "ws-audit-page",
    PAGE_IN_HOURS: "ws-audit-page-in-hours",
    TICKET: "ws-audit-tickets",
}
OTHERS: Final = "others"

_SAMPLE: Final = f"""\
# SPDX-License-Identifier: Apache-2.0
#
# A sample, made by `ws-audit grafana`: the alerts of ws_audit.rules.yml to those who deal with
# them. Needs Alertmanager >= 0.24. To be put into yours: the first route, the time interval, the
# inhibitions, and the three receivers.
#
# EDIT what is marked. Every address below is a placeholder that leads nowhere.
#
# That the way from Prometheus to a person works at all is not for these alerts to tell: have one
# that always fires (`vector(1)`), and somebody else's service that calls you when it stops coming.

route:
  receiver: {OTHERS}
  group_by: [alertname, job]
  routes:
    - matchers: ['alertname=~"WsAudit.+"']
      # What has none of the severities below, because somebody has edited the rules, is a ticket.
      receiver: {RECEIVERS[TICKET]}
      group_by: [alertname, job]
      group_wait: 30s
      group_interval: 5m
      repeat_interval: 7d
      routes:
        # A leak: at once, whatever the hour. One message for a job and rule.
        - matchers: ['alertname=~"WsAuditLeak.+"', 'severity="{PAGE}"']
          receiver: {RECEIVERS[PAGE]}
          group_by: [job, rule]
          group_wait: 0s
          group_interval: 1m
          repeat_interval: 4h
        # Nobody looks: at once as well. One message for a job, however many of its targets.
        - matchers: ['severity="{PAGE}"']
          receiver: {RECEIVERS[PAGE]}
          group_wait: 10s
          group_interval: 5m
          repeat_interval: 4h
        # In working hours at once; what begins outside them, and still holds, when they begin.
        - matchers: ['alertname=~"WsAuditLeak.+"', 'severity="{PAGE_IN_HOURS}"']
          receiver: {RECEIVERS[PAGE_IN_HOURS]}
          group_by: [job, rule]
          group_wait: 0s
          repeat_interval: 1d
          active_time_intervals: [ws-audit-working-hours]
        - matchers: ['severity="{PAGE_IN_HOURS}"']
          receiver: {RECEIVERS[PAGE_IN_HOURS]}
          repeat_interval: 1d
          active_time_intervals: [ws-audit-working-hours]

time_intervals:
  - name: ws-audit-working-hours
    time_intervals:
      # EDIT: UTC here. From Alertmanager 0.25 on: location: Europe/Berlin
      - weekdays: ['monday:friday']
        times:
          - start_time: '09:00'
            end_time: '17:00'

inhibit_rules:
  # Who is told that a leak is sure need not be told that it may be one.
  - source_matchers: ['alertname="WsAuditLeakConfirmed"']
    target_matchers: ['alertname="WsAuditLeakSuspected"']
    equal: [job, rule]
  # Nor that it is open, for as long as it is told itself. After that, until it is acknowledged.
  - source_matchers: ['alertname=~"WsAuditLeak.+"', 'severity=~"{PAGE}|{PAGE_IN_HOURS}"']
    target_matchers: ['alertname="WsAuditIncidentOpen"']
    equal: [job]

receivers:
  # EDIT: whoever gets what is not ours.
  - name: {OTHERS}
  # EDIT: what wakes somebody up, at any hour: the security team and the service's owner.
  - name: {RECEIVERS[PAGE]}
    webhook_configs:
      - url: http://placeholder.invalid/page
  # EDIT: what rings in working hours.
  - name: {RECEIVERS[PAGE_IN_HOURS]}
    webhook_configs:
      - url: http://placeholder.invalid/page-in-hours
  # EDIT: what becomes a ticket.
  - name: {RECEIVERS[TICKET]}
    webhook_configs:
      - url: http://placeholder.invalid/ticket
"""


def sample() -> str:
    """The text of the configuration."""
    return _SAMPLE
