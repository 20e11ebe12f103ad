# SPDX-License-Identifier: Apache-2.0
"""Everything that is written for Grafana, Prometheus and Alertmanager, as paths and texts.

Why it exists: one call makes the whole tree, so that `ws-audit grafana`, the committed files and
the test that holds them equal cannot differ.

It must never touch the disk: who calls it decides what may be overwritten.
"""

from __future__ import annotations

import hashlib
import json

from . import alertmanager
from .alerts import alerts
from .dashboards import DASHBOARDS
from .options import EVERY_JOB, Options
from .prometheus import rules
from .provisioning import alert_rules, contact_points, notification_policies
from .render import render
from .sources import dashboard_provider, data_sources

MANIFEST = ".written-by-ws-audit.json"


def files(options: Options) -> dict[str, str]:
    """Path in the tree -> text."""
    job = None if options.job == EVERY_JOB else options.job
    listed = alerts(job)
    found = {f"dashboards/{page.uid}.json": render(page, options) for page in DASHBOARDS}
    found |= {
        "prometheus/ws_audit.rules.yml": rules(listed),
        "alertmanager/alertmanager.yml": alertmanager.sample(),
        "provisioning/dashboards/ws_audit.yml": dashboard_provider(options),
        "provisioning/datasources/ws_audit.yml": data_sources(options),
        "provisioning/alerting/ws_audit_rules.yml": alert_rules(listed, options),
        # Beside what Grafana reads by itself: a policy replaces all that there were.
        "provisioning/alerting-samples/contact_points.yml": contact_points(),
        "provisioning/alerting-samples/notification_policies.yml": notification_policies(),
    }
    found[MANIFEST] = manifest(found)
    return found


def manifest(texts: dict[str, str]) -> str:
    """What was written, each file with its digest: what was edited since is somebody else's."""
    return json.dumps({path: digest(texts[path]) for path in sorted(texts)}, indent=1) + "\n"


def digest(text: str) -> str:
    """Of a file's text."""
    return hashlib.sha256(text.encode()).hexdigest()
