# SPDX-License-Identifier: Apache-2.0
"""The inventory of real services: one before and one after, and three that should be alike."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from websockets.sync.client import connect

from tests.real.test_prometheus import CHECK, prometheus
from tests.real.world import eventually, get, review, surroundings
from ws_audit.inventory.merged import merged
from ws_audit.scan.survey import survey
from ws_audit.tools.demo_stage import HOST, free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = Path(__file__).parents[2] / "examples"
LAZY = "fragmented.websocket_core."  # a module nobody imports, which makes its names on demand
METRICS = ("ws_audit_implementations", "ws_audit_implementation_info", "ws_audit_import_paths")


@dataclass(frozen=True)
class Running:
    process: subprocess.Popen[bytes]
    port: int
    metrics_port: int
    store: Path

    @property
    def metrics(self) -> str:
        return f"http://{HOST}:{self.metrics_port}/metrics"

    def samples(self, name: str) -> list[str]:
        return [line for line in get(self.metrics).splitlines() if line.startswith(f"{name}{{")]

    def ready(self) -> bool:
        assert self.process.poll() is None, (self.store.parent / "log").read_text()[-2000:]
        with contextlib.suppress(OSError):
            return "ok" in get(f"http://{HOST}:{self.port}/health")
        return False

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(15)


@contextlib.contextmanager
def running(folder: Path, package: str, service: str, source: Path = EXAMPLES) -> Iterator[Running]:
    """An example under uvicorn and the agent; `source` is where its package lies."""
    folder.mkdir(parents=True)
    port, metrics_port = free_ports(2)
    inherited = surroundings()
    command = [sys.executable, "-m", "uvicorn", f"{package}.app:app", "--host", HOST]
    command += ["--port", str(port), "--log-level", "warning"]
    told = {
        "PYTHONPATH": f"{source}{os.pathsep}{inherited['PYTHONPATH']}",
        "WS_AUDIT_ENABLED": "1",
        "WS_AUDIT_TRACE_DIR": str(folder / "trace"),
        "WS_AUDIT_METRICS_ADDR": f"{HOST}:{metrics_port}",
        "OTEL_SERVICE_NAME": service,
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, env=inherited | told, cwd=folder, stdin=subprocess.DEVNULL, stderr=log
        )
    try:
        yield Running(process, port, metrics_port, folder / "trace")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def use(service: Running) -> None:
    """Two users, each four runs."""
    for user in ("ada", "bob"):
        with connect(f"ws://{HOST}:{service.port}/ws?user={user}") as client:
            for _ in range(4):
                client.send('{"type": "ask"}')
                while json.loads(client.recv(timeout=10)).get("type") != "run_over":
                    pass


def listed(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ws_audit", "check", "--list", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=surroundings(),
    )


def inventory(*stores: Path) -> dict[str, Any]:
    words = [word for store in stores for word in ("--source", str(store))]
    done = listed(*words, "--format", "json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The inventories of both examples, each used and stopped, and what its page had said."""
    folder = tmp_path_factory.mktemp("examples")
    found = {}
    with contextlib.ExitStack() as stack:
        both = {
            name: stack.enter_context(running(folder / name, name, name))
            for name in ("fragmented", "consolidated")
        }
        for name, service in both.items():
            eventually(f"{name} answers", 30, service.ready)
            use(service)
            eventually("the page has it", 20, lambda of=service: of.samples(METRICS[2]))
            checked = subprocess.run(
                [sys.executable, str(CHECK), service.metrics, "--require", *METRICS],
                capture_output=True,
                text=True,
                check=False,
            )
            assert checked.returncode == 0, checked.stdout
            page = {metric: service.samples(metric) for metric in METRICS}
            service.stop()
            found[name] = {**inventory(service.store), "page": page, "store": service.store}
    return found


def short(name: str) -> str:
    return name.rpartition(":")[2]


@pytest.mark.parametrize("name", ["fragmented", "consolidated"])
def test_every_message_is_judged(examples: dict[str, dict[str, Any]], name: str) -> None:
    coverage = json.loads(review(examples[name]["store"], "json"))["coverage"]
    assert coverage["frames"] == coverage["judged"] > 30


def test_before(examples: dict[str, dict[str, Any]]) -> None:
    found = examples["fragmented"]
    scanned = survey(str(EXAMPLES / "fragmented"))
    counts = found["summary"]

    # What both can tell is the same: a scan also sees the names a module would make on demand.
    assert counts["implementations"] == scanned.summary["implementations"] == 6
    assert counts["factories"] == scanned.summary["factories"] == 5
    assert counts["inconsistent_factories"] == scanned.summary["inconsistent_factories"] == 2
    static = {path for one in scanned.implementations for path in one.paths}
    live = {path for one in found["implementations"] for path in one["paths"]}
    assert live == {path for path in static if not path.startswith(LAZY)}
    assert counts["import_paths"] == len(live) >= 15
    duties = {one["name"]: one["duty"] for one in found["implementations"]}
    assert duties == {str(one.target): one.duty for one in scanned.implementations}
    alive = {short(one["name"]): one["alive_for"] for one in found["implementations"]}
    assert alive["WebSocketManager"] == {"none": 1}
    (past,) = found["past_factory"]
    assert past["class"] == "fragmented.realtime.unified:UnifiedWebSocketManager"
    assert past["site"].startswith("fragmented.admin:<module>:")

    # And what no scan can: who really delivers, and what factories really did.
    shares = {one["event"]: [by["share"] for by in one["by"]] for one in found["events"]}
    assert shares["agent_started"] == [0.6667, 0.3333]
    assert shares["tool_completed"] == [0.6667, 0.3333]
    assert shares["tool_executing"] == [1.0]
    products = {
        one["factory"].rpartition(":")[2]: [
            (each["made"], each["reused"]) for each in one["products"]
        ]
        for one in found["factories"]
        if one["factory"].startswith("fragmented.realtime")
    }
    assert products == {"create_websocket_manager": [(4, 0)], "get_websocket_manager": [(0, 4)] * 2}
    drift = {
        (one["one"].rpartition(":")[2], one["other"].rpartition(":")[2]): one
        for one in found["drift"]
    }
    assert drift["WebSocketManager", "UnifiedWebSocketManager"]["differs"] == [
        "connect is sync, async there",
        "disconnect is sync, async there",
        "send_to_user(user_id, event, run_id) is send_to_user(event, run_id, user_id)",
    ]

    page = found["page"]
    assert len(page["ws_audit_implementation_info"]) == 6
    assert 'ws_audit_implementations{duty="manager"} 5.0' in page["ws_audit_implementations"]
    assert sum(float(line.split()[-1]) for line in page["ws_audit_import_paths"]) == len(live)
    for one in found["implementations"]:
        assert any(one["fingerprint"] in line for line in page["ws_audit_implementation_info"])


def test_after(examples: dict[str, dict[str, Any]]) -> None:
    found = examples["consolidated"]

    assert found["summary"] == {
        "implementations": 1,
        "import_paths": 1,
        "factories": 1,
        "inconsistent_factories": 0,
        "past_factory": 0,
        "processes": 1,
    }
    assert all(len(one["by"]) == 1 for one in found["events"])
    assert (
        found["drift"]
        == found["same_name"]
        == found["loaded_twice"]
        == found["differ"]
        == found["twins"]
        == []
    )


def test_for_people(examples: dict[str, dict[str, Any]]) -> None:
    said = listed("--source", str(examples["fragmented"]["store"])).stdout

    assert said.startswith(
        "1 process: 6 implementations, 18 import paths, 5 factories (40% inconsistent)\n"
    )
    assert "fragmented.realtime.factory:get_websocket_manager  INCONSISTENT" in said
    assert " 33%  fragmented.agents.bridge:AgentWebSocketBridge.emit_event" in said


def test_nothing_to_list(tmp_path: Path) -> None:
    assert listed("--source", str(tmp_path / "none")).returncode == 2
    empty = listed("--source", str(tmp_path))
    assert empty.returncode == 2
    assert str(tmp_path) in empty.stderr


def copy(folder: Path, change: tuple[str, str] = ("", "")) -> Path:
    """The consolidated example elsewhere, with other lines and comments, and maybe other code."""
    shutil.copytree(EXAMPLES / "consolidated", folder / "consolidated")
    file = folder / "consolidated" / "realtime.py"
    text = file.read_text()
    assert change[0] in text
    text = text.replace('"""Which socket each user has', '"""The sockets, and which user has each')
    file.write_text("# Deployed by hand.\n\n\n" + text.replace(*change))
    return folder


def test_three_services(tmp_path: Path) -> None:
    """Backend and auth run the same from two places; the third runs another implementation."""
    places = {
        "backend": EXAMPLES,
        "auth": copy(tmp_path / "srv" / "auth"),
        "other": copy(tmp_path / "opt", ("if websocket is not None", "if websocket")),
    }
    with contextlib.ExitStack() as stack:
        services = {
            name: stack.enter_context(running(tmp_path / name, "consolidated", name, place))
            for name, place in places.items()
        }
        for name, service in services.items():
            eventually(f"{name} answers", 30, service.ready)
        ports = {name: service.metrics_port for name, service in services.items()}
        server = stack.enter_context(prometheus(tmp_path, ports.pop("backend"), ports))
        alike = (
            "count by (fingerprint) (group by (fingerprint, job) (ws_audit_implementation_info))"
        )
        eventually("all are scraped", 30, lambda: server.value(alike) == 3)
        found = server.ask("query", query=alike)["result"]
        assert sorted(one["value"][1] for one in found) == ["1", "2"]
        name = "WsAuditImplementationsDiffer"
        labels = eventually(f"{name} fires", 20, lambda: server.firing().get(name))
        assert labels["manager"] == "consolidated.realtime:ConnectionManager"
        # The third one is taken down: nothing is left to tell.
        services["other"].stop()
        eventually(f"{name} is over", 20, lambda: name not in server.firing())
        for service in services.values():
            service.stop()
    (told,) = inventory(*(service.store for service in services.values()))["differ"]
    assert sorted(one["services"] for one in told["implementations"]) == [
        ["auth", "backend"],
        ["other"],
    ]


def test_one_process_beside_another() -> None:
    """What differs by the version of Python alone is one implementation, and no difference."""

    def state(fingerprint: str, service: str) -> dict[str, Any]:
        one = {"name": "app:M", "module": "app", "duty": "manager", "fingerprint": fingerprint}
        counts = {"created": 1, "alive": 1, "alive_for": {"none": 1}, "outlived": 0}
        whole = one | counts | {"paths": ["app.M"]}
        return {"service": service, "inventory": {"complete": True, "implementations": [whole]}}

    found = merged([state("30b" + "a" * 13, "a"), state("30c" + "b" * 13, "b")])
    assert found["summary"]["implementations"] == 1
    assert found["differ"] == []
    found = merged([state("30b" + "a" * 13, "a"), state("30b" + "b" * 13, "b")])
    assert found["summary"]["implementations"] == 2
    assert [one["name"] for one in found["differ"]] == ["app:M"]
