# SPDX-License-Identifier: Apache-2.0
"""The data sources: where the metrics, the traces and the stored spans are.

Why it exists: an exemplar leads to its trace only if Prometheus' data source names Tempo's, and a
trace leads back to the counters only the other way round. By hand both are forgotten.

It must never hold a password: what is secret comes from Grafana's environment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ws_audit import schema

from .yaml_text import yaml_text

if TYPE_CHECKING:
    from .options import Options

# Each of them has to be set in the environment of Grafana, or the line be edited.
PROMETHEUS_URL: Final = "WS_AUDIT_PROMETHEUS_URL"
TEMPO_URL: Final = "WS_AUDIT_TEMPO_URL"
CLICKHOUSE_HOST: Final = "WS_AUDIT_CLICKHOUSE_HOST"
CLICKHOUSE_USER: Final = "WS_AUDIT_CLICKHOUSE_USER"
CLICKHOUSE_PASSWORD: Final = "WS_AUDIT_CLICKHOUSE_PASSWORD"  # noqa: S105 - a variable's name

_COMMENT: Final = f"""SPDX-License-Identifier: Apache-2.0

Data sources, for /etc/grafana/provisioning/datasources, made by `ws-audit grafana`.
Grafana's environment says where they are:
  {PROMETHEUS_URL}, {TEMPO_URL}  (http://HOST:PORT)
  {CLICKHOUSE_HOST}, {CLICKHOUSE_USER}, {CLICKHOUSE_PASSWORD}
Take out what you do not have, or have provisioned already: then tell `ws-audit grafana` its uid.
ClickHouse needs the plugin: grafana-cli plugins install grafana-clickhouse-datasource"""


def data_sources(options: Options) -> str:
    """The provisioning file."""
    sources = [_prometheus(options), _tempo(options), _clickhouse(options)]
    return yaml_text({"apiVersion": 1, "datasources": sources}, _COMMENT)


def _prometheus(options: Options) -> dict[str, Any]:
    return {
        "name": "ws-audit Prometheus",
        "uid": options.prometheus_uid,
        "type": "prometheus",
        "access": "proxy",
        "url": f"${PROMETHEUS_URL}",
        "jsonData": {
            "httpMethod": "POST",
            "timeInterval": "15s",  # the scrape interval; a smaller one is for Prometheus to say
            "exemplarTraceIdDestinations": [
                {
                    "name": "trace_id",
                    "datasourceUid": options.tempo_uid,
                    "urlDisplayLabel": "The violation's trace",
                }
            ],
        },
    }


def _tempo(options: Options) -> dict[str, Any]:
    return {
        "name": "ws-audit Tempo",
        "uid": options.tempo_uid,
        "type": "tempo",
        "access": "proxy",
        "url": f"${TEMPO_URL}",
        "jsonData": {
            # From a violation's span to what its manager and its rule did around it. `$$` is one
            # dollar: Grafana expands the environment first.
            "tracesToMetrics": {
                "datasourceUid": options.prometheus_uid,
                "spanStartTimeShift": "-30m",
                "spanEndTimeShift": "30m",
                "tags": [
                    {"key": schema.MANAGER, "value": "manager"},
                    {"key": schema.RULE, "value": "rule"},
                ],
                "queries": [
                    {
                        "name": "Violations of this rule and manager",
                        "query": "sum(increase(ws_audit_violations_total{$$__tags}[5m]))",
                    }
                ],
            },
        },
    }


def _clickhouse(options: Options) -> dict[str, Any]:
    return {
        "name": "ws-audit ClickHouse",
        "uid": options.clickhouse_uid,
        "type": "grafana-clickhouse-datasource",
        "jsonData": {
            "host": f"${CLICKHOUSE_HOST}",
            "port": 9000,
            "protocol": "native",
            "secure": False,
            "username": f"${CLICKHOUSE_USER}",
            "defaultDatabase": "default",
            # What the OpenTelemetry collector's exporter writes; the review reads the same table.
            "traces": {
                "defaultTable": "otel_traces",
                "otelEnabled": True,
                "otelVersion": "latest",
            },
        },
        "secureJsonData": {"password": f"${CLICKHOUSE_PASSWORD}"},
    }


def dashboard_provider(options: Options) -> str:
    """Where Grafana finds the dashboards, and in which folder it shows them."""
    provider = {
        "name": "ws-audit",
        "orgId": 1,
        "folder": options.folder,
        "type": "file",
        "disableDeletion": False,
        "allowUiUpdates": False,
        "updateIntervalSeconds": 30,
        "options": {"path": options.dashboards},
    }
    return yaml_text(
        {"apiVersion": 1, "providers": [provider]},
        "SPDX-License-Identifier: Apache-2.0\n\n"
        "Dashboards, for /etc/grafana/provisioning/dashboards, made by `ws-audit grafana`.\n"
        "The path is where the folder dashboards/ of this tree is mounted.",
    )
