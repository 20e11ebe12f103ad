# SPDX-License-Identifier: Apache-2.0
"""What no container runs here: the compose file and its configurations, as far as reading goes.

Prometheus' and Alertmanager's own tools judge theirs. For the others: every path, name, port and
address one file uses is in the file it belongs to.
"""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING, Any

import yaml

from examples.stack import parts
from tests.requirements import require_binary

if TYPE_CHECKING:
    from pathlib import Path

COMPOSE: dict[str, Any] = yaml.safe_load((parts.HERE / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
# Their images have no shell to ask with.
WITHOUT_SHELL = {"collector", "tempo"}


def loaded(name: str) -> Any:
    return yaml.safe_load((parts.HERE / name).read_text())


def mounts(service: str) -> dict[str, str]:
    """Place in the container -> what is there."""
    pairs = (each.split(":") for each in SERVICES[service].get("volumes", []))
    return {place: source for source, place, *_ in pairs}


def test_every_part_of_the_stack_is_there() -> None:
    assert SERVICES.keys() == {
        *("chat", "load", "pager", "prometheus", "alertmanager", "collector"),
        *("tempo", "clickhouse", "grafana"),
    }


def test_images_are_pinned_and_ports_are_on_loopback() -> None:
    for name, service in SERVICES.items():
        if "build" not in service:
            assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+(\.\d+)?", service["image"]), name
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), name


def test_who_can_be_asked_for_its_health_is() -> None:
    with_ports = {name for name, service in SERVICES.items() if "ports" in service}
    checked = {name for name, service in SERVICES.items() if "healthcheck" in service}
    assert with_ports - checked == WITHOUT_SHELL
    for service in SERVICES.values():
        wanted = service.get("depends_on", {})
        for name in wanted:
            if isinstance(wanted, dict) and wanted[name]["condition"] == "service_healthy":
                assert name in checked


def test_what_is_mounted_exists() -> None:
    for name in SERVICES:
        for place, source in mounts(name).items():
            if source.startswith("."):
                assert (parts.HERE / source).exists(), f"{name}: {source} at {place}"
            else:
                assert source in COMPOSE["volumes"], f"{name}: {source} at {place}"


def test_clients_and_service_know_the_same_users() -> None:
    told = json.loads(SERVICES["chat"]["environment"]["AGENT_CHAT_USERS"])
    assert json.loads((parts.HERE / "users.json").read_text()) == told


def test_prometheus_scrapes_the_agent_with_the_committed_rules(tmp_path: Path) -> None:
    config = loaded("prometheus.yml")
    environment = SERVICES["chat"]["environment"]
    (job,) = config["scrape_configs"]
    assert job["static_configs"] == [
        {"targets": ["chat:" + environment["WS_AUDIT_METRICS_ADDR"].partition(":")[2]]}
    ]
    (rules,) = config["rule_files"]
    folder, _, file = rules.rpartition("/")
    assert (parts.HERE / mounts("prometheus")[folder] / file).resolve() == parts.RULES
    # A violation's exemplar is kept only with both.
    assert config["storage"]["exemplars"]["max_exemplars"] > 0
    assert "--enable-feature=exemplar-storage" in SERVICES["prometheus"]["command"]

    copy = tmp_path / "prometheus.yml"
    copy.write_text((parts.HERE / "prometheus.yml").read_text().replace(rules, str(parts.RULES)))
    check("promtool", "check", "config", str(copy))


def test_the_routing_leads_to_the_pager(tmp_path: Path) -> None:
    """Once as the entry point of the compose file rewrites it, and once as `make stack` does."""
    *shell, script = SERVICES["alertmanager"]["entrypoint"]
    place = "/etc/alertmanager/routing.yml"
    assert (parts.HERE / mounts("alertmanager")[place]).resolve() == parts.ROUTING
    sed, _, start = script.replace("$$", "$").partition(" &&")
    assert "/bin/alertmanager --config.file=/tmp/alertmanager.yml" in start
    written = tmp_path / "written.yml"
    sed = sed.replace(place, str(parts.ROUTING)).replace("/tmp/alertmanager.yml", str(written))
    subprocess.run([*shell, sed], check=True, timeout=10)

    here = tmp_path / "here.yml"
    here.write_text(parts.alertmanager_config(8080))
    assert written.read_text() == here.read_text().replace("127.0.0.1", "pager")
    receivers = yaml.safe_load(written.read_text())["receivers"]
    hooks = [hook for each in receivers for hook in each.get("webhook_configs", [])]
    assert len(hooks) >= 2
    for hook in hooks:
        assert hook["url"].startswith("http://pager:8080/")
    check("amtool", "check-config", str(written))


def test_the_agent_speaks_to_the_collector_and_the_pager() -> None:
    environment = SERVICES["chat"]["environment"]
    grpc = loaded("collector.yaml")["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"]
    assert environment["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://collector:" + port_of(grpc)
    toml = (parts.HERE / "ws-audit.toml").read_text()
    assert mounts("chat")[environment["WS_AUDIT_CONFIG"]] == "./ws-audit.toml"
    assert 'webhook = "http://pager:8080/' in toml


def test_the_collector_has_what_its_pipelines_name() -> None:
    config = loaded("collector.yaml")
    for pipeline in config["service"]["pipelines"].values():
        for kind, names in pipeline.items():
            assert set(names) <= config[kind].keys()
    (tempo, clickhouse) = (config["exporters"][name] for name in ("otlp/tempo", "clickhouse"))
    receiver = loaded("tempo.yaml")["distributor"]["receivers"]["otlp"]["protocols"]["grpc"]
    assert tempo["endpoint"] == "tempo:" + port_of(receiver["endpoint"])
    # What `ws-audit review clickhouse://...` and Grafana's data source look for.
    assert clickhouse["traces_table_name"] == "otel_traces"
    account = SERVICES["clickhouse"]["environment"]
    assert clickhouse["username"] == account["CLICKHOUSE_USER"]
    assert clickhouse["password"] == account["CLICKHOUSE_PASSWORD"]


def test_grafana_finds_its_dashboards_and_where_the_data_are() -> None:
    environment = SERVICES["grafana"]["environment"]
    places = mounts("grafana")
    told = {}
    for kind in ("datasources", "dashboards"):
        folder = (parts.HERE / places[f"/etc/grafana/provisioning/{kind}"]).resolve()
        (file,) = folder.iterdir()
        for variable in re.findall(r"(?<!\$)\$(\w+)", file.read_text()):
            assert variable in environment, f"{file.name}: ${variable}"
        told[kind] = yaml.safe_load(file.read_text())
    (provider,) = told["dashboards"]["providers"]
    dashboards = (parts.HERE / places[provider["options"]["path"]]).resolve()
    assert list(dashboards.glob("*.json"))

    types = {each["type"] for each in told["datasources"]["datasources"]}
    assert types == {"prometheus", "tempo", environment["GF_PLUGINS_PREINSTALL_SYNC"]}
    server = loaded("tempo.yaml")["server"]["http_listen_port"]
    assert environment["WS_AUDIT_TEMPO_URL"] == f"http://tempo:{server}"
    assert environment["WS_AUDIT_PROMETHEUS_URL"] == "http://prometheus:9090"
    account = SERVICES["clickhouse"]["environment"]
    assert environment["WS_AUDIT_CLICKHOUSE_HOST"] == "clickhouse"
    for name in ("USER", "PASSWORD"):
        assert environment[f"WS_AUDIT_CLICKHOUSE_{name}"] == account[f"CLICKHOUSE_{name}"]


def port_of(endpoint: str) -> str:
    return endpoint.rpartition(":")[2]


def check(program: str, *arguments: str) -> None:
    done = subprocess.run(
        [require_binary(program), *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
