# SPDX-License-Identifier: Apache-2.0
"""A real server with an application of these folders, and the agent's account of it.

Why it exists: what goes over ASGI besides plain WebSockets is only known by real servers and
real clients. The clients are in the tests' process, the application is in the server's.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.real.world import START_SECONDS, Service, eventually, get, surroundings
from ws_audit.tools.demo_cast import Cast
from ws_audit.tools.demo_stage import HOST, free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator

APPS = Path(__file__).parent / "apps"
SERVERS = {
    "uvicorn": "uvicorn {app} --host {host} --port {port} --log-level warning",
    "daphne": "daphne -b {host} -p {port} -v 0 {app}",
}


class Got(NamedTuple):
    """One message as its client got it: who got it, whose it is, which event."""

    recipient: str
    owner: str
    event: str


@contextlib.contextmanager
def serve(
    folder: Path,
    app: str,
    *,
    server: str = "uvicorn",
    audited: bool = True,
    config: str = "",
    **settings: str,
) -> Iterator[Service]:
    """An application, from ready to gone. `config` is a TOML file's text."""
    if config:
        (folder / "ws-audit.toml").write_text(config)
        settings["WS_AUDIT_CONFIG"] = str(folder / "ws-audit.toml")
    port, metrics_port = free_ports(2)
    log = folder / f"{app.partition(':')[0]}-{audited}.log"
    store = folder / "trace"
    told = {
        "WS_AUDIT_ENABLED": "1" if audited else "",
        "WS_AUDIT_TRACE_DIR": str(store),
        "WS_AUDIT_METRICS_ADDR": f"{HOST}:{metrics_port}",
        "WS_AUDIT_HASH_KEY": "transports",
        **settings,
    }
    variables = surroundings()
    variables["PYTHONPATH"] = os.pathsep.join([str(APPS), variables["PYTHONPATH"]])
    words = SERVERS[server].format(app=app, host=HOST, port=port).split()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *words],
            env=variables | {name: value for name, value in told.items() if value},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    service = Service(process, folder, store, Cast.of(1), port, metrics_port, log)

    def ready() -> bool:
        assert process.poll() is None, service.said()[-3000:]
        with contextlib.suppress(OSError):
            get(f"http://{HOST}:{port}/health")
            return True
        return False

    try:
        eventually("the server answers", START_SECONDS, ready)
        yield service
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def assert_counted(service: Service, transport: str, got: list[Got]) -> None:
    """Frames and violations are those the clients received, and nothing went wrong."""

    def settled() -> bool:
        page = service.metrics()
        return page.total("ws_audit_connections_alive") == 0

    eventually("the connections are closed", 10, settled)
    page = service.metrics()
    leaked = [one for one in got if one.owner != one.recipient]
    assert page.by("ws_audit_frames_total", "transport") == {transport: len(got)}
    assert page.balanced() == len(got)
    assert page.total("ws_audit_violations_total") == len(leaked)
    assert page.troubles() == {"dropped": {}, "errors": {}}
    assert "internal error" not in service.said()


def assert_reviewed(service: Service, got: list[Got], rule: str) -> dict[str, Any]:
    """The review's pairs and counts are the clients'; answers the one incident."""
    service.stop()
    incidents = service.review()["incidents"]
    leaked = Counter(one.recipient for one in got if one.owner != one.recipient)
    (incident,) = incidents
    assert incident["rule"] == rule
    assert incident["events"] == leaked.total()
    assert Counter(pair["events"] for pair in incident["pairs"]) == Counter(leaked.values())
    found: dict[str, Any] = incident
    return found
