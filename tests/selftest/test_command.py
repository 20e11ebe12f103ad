# SPDX-License-Identifier: Apache-2.0
"""`ws-audit selftest` as somebody types it: real processes, a real collector, a real webhook."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

from tests.real.receivers import collector, webhook
from tests.real.world import eventually, stored, surroundings
from tests.unit.recorder import Recorder
from ws_audit.review.segments.read import review
from ws_audit.tools.demo_stage import HOST

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FRONT = ("import hook", "hooks", "sink", "reader", "judge")
WAYS = ("store", "log line", "metrics", "spans", "log events", "webhook")


class Told:
    """What one run of the command said."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.code = done.returncode
        self.errors = done.stderr
        self.document: dict[str, Any] = json.loads(done.stdout)
        self.states = {one["name"]: one["state"] for one in self.document["checks"]}
        self.what = {one["name"]: one["what"] for one in self.document["checks"]}

    def failed(self) -> list[str]:
        return [name for name, state in self.states.items() if state == "failed"]


def command(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ws_audit", "selftest", *arguments],
        env=surroundings() | environ,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def run(folder: Path, **environ: str) -> Told:
    return Told(command(folder, "--format", "json", **environ))


@contextmanager
def answering(status: int) -> Iterator[int]:
    """A server that answers every request with this status; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer((HOST, 0), Handler)
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def test_everything_that_is_configured_is_tried_and_nothing_else_is_touched(tmp_path: Path) -> None:
    store, shared = tmp_path / "trace", tmp_path / "multiprocess"
    shared.mkdir()
    recorder = Recorder(store)
    recorder.leak()
    (store / "hash.key").write_text("k" * 64)
    (store / "hash.key").chmod(0o600)
    before, files = review(store, 1), {path.name for path in store.iterdir()}
    assert before["incidents"]
    # A running agent has the metrics port, and prometheus_client's files are a running service's.
    with collector(tmp_path) as heard, webhook() as hook, answering(200) as taken:
        (tmp_path / "ws.toml").write_text(hook.config)
        told = run(
            tmp_path,
            **heard.environment("http/protobuf"),
            WS_AUDIT_CONFIG=str(tmp_path / "ws.toml"),
            WS_AUDIT_TRACE_DIR=str(store),
            WS_AUDIT_METRICS_ADDR=f"{HOST}:{taken}",
            WS_AUDIT_INCLUDE="somebody.elses.*",
            WS_AUDIT_MODE="block",
            PROMETHEUS_MULTIPROC_DIR=str(shared),
        )
        eventually("what was taken comes out of the collector", 10, lambda: heard.logs)
        spans, logs = heard.spans, heard.logs

    assert (told.code, told.errors) == (0, "")
    assert told.states == dict.fromkeys((*FRONT, *WAYS), "ok")
    assert told.document["ok"] is True

    assert [span.name for span in spans] == ["ws_audit.violation"]  # no process, no coverage
    assert spans[0].attributes["ws_audit.synthetic"] is True
    assert [(log.severity, log.attributes["ws_audit.synthetic"]) for log in logs] == [
        ("INFO", True)
    ]
    (incident,) = hook.incidents
    assert incident["synthetic"] is True
    assert (incident["rule"], incident["severity"]) == ("canary", "confirmed")
    assert set(incident) - {"synthetic"} == set(before["incidents"][0])

    assert review(store, 1) == before
    (new,) = {path.name for path in store.iterdir()} - files
    assert new.startswith("violations-")
    written = [span for span in stored(store) if "ws_audit.synthetic" in span["attributes"]]
    assert {span["attributes"]["ws_audit.synthetic"] for span in written[-2:]} == {True}
    assert not list(shared.iterdir())


def test_with_nothing_configured_it_says_what_is_not(tmp_path: Path) -> None:
    told = run(tmp_path)
    off = {"store", "spans", "log events", "webhook"}
    assert (told.code, told.errors) == (0, "")
    assert {name for name, state in told.states.items() if state == "not configured"} == off
    assert not list(tmp_path.iterdir())


def test_it_reads_as_a_table(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    done = command(tmp_path, WS_AUDIT_TRACE_DIR=str(file / "trace"))
    lines = done.stdout.splitlines()
    assert done.returncode == 3
    assert lines[0] == "import hook    ok             an imported manager class was seen"
    assert any(line.startswith("store          FAILED         trace directory ") for line in lines)
    assert any(line.startswith(" " * 30 + "Look at the owner, mode") for line in lines)
    assert lines[-1] == "FAILED: a leak would not be told everywhere it should be."


def test_bad_settings_are_named(tmp_path: Path) -> None:
    (tmp_path / "ws.toml").write_text("[selftest]\ninterval_seconds = 7200\n")
    done = command(tmp_path, WS_AUDIT_CONFIG=str(tmp_path / "ws.toml"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("ws-audit selftest: selftest.interval_seconds = 7200 in ")


# --- each way out, broken ------------------------------------------------------------------------


def test_a_store_that_cannot_be_used(tmp_path: Path) -> None:
    store = tmp_path / "trace"
    store.write_text("a file in its place")
    told = run(tmp_path, WS_AUDIT_TRACE_DIR=str(store))
    assert (told.code, told.failed()) == (3, ["store"])
    assert "a file is in its place" in told.what["store"]


def test_a_store_whose_disk_is_full(tmp_path: Path) -> None:
    """Not even root may write past a limit on file sizes."""
    store = tmp_path / "trace"
    told = Told(
        subprocess.run(
            ["sh", "-c", f"ulimit -f 4; exec {sys.executable} -m ws_audit selftest --format json"],
            env=surroundings() | {"WS_AUDIT_TRACE_DIR": str(store), "WS_AUDIT_HASH_KEY": "x" * 40},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    )
    assert (told.code, told.failed()) == (3, ["store"])
    assert "File too large" in told.what["store"]


def test_a_key_that_others_may_read(tmp_path: Path) -> None:
    store = tmp_path / "trace"
    store.mkdir(0o700)
    (store / "hash.key").write_text("k" * 64)
    (store / "hash.key").chmod(0o644)
    told = run(tmp_path, WS_AUDIT_TRACE_DIR=str(store))
    assert (told.code, told.failed()) == (3, ["store"])
    assert "others than its owner may open hash.key" in told.what["store"]


def test_a_collector_that_is_down(tmp_path: Path) -> None:
    told = run(
        tmp_path,
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://user:secret@{HOST}:1/secret",
        OTEL_EXPORTER_OTLP_TIMEOUT="1",
        OTEL_LOGS_EXPORTER="none",
    )
    assert (told.code, told.errors) == (3, "")
    assert told.failed() == ["spans"]
    assert told.states["log events"] == "not configured"
    assert told.what["spans"].startswith(f"{HOST}:1 has not taken the span (OTLP/grpc)")
    assert "secret" not in json.dumps(told.document)


def test_a_collector_that_refuses(tmp_path: Path) -> None:
    with answering(403) as port:
        told = run(
            tmp_path,
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://{HOST}:{port}",
            OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
        )
    assert (told.code, told.errors) == (3, "")
    assert told.failed() == ["spans", "log events"]
    assert told.what["spans"].endswith("(OTLP/http): HTTP 403")


@pytest.mark.parametrize(("status", "said"), [(500, "HTTP 500"), (302, "HTTP 302")])
def test_a_webhook_that_does_not_take_it(tmp_path: Path, status: int, said: str) -> None:
    with answering(status) as port:
        config = f'[push]\nwebhook = "http://{HOST}:{port}/token-in-the-path"\n'
        (tmp_path / "ws.toml").write_text(config)
        told = run(tmp_path, WS_AUDIT_CONFIG=str(tmp_path / "ws.toml"))
    assert (told.code, told.failed()) == (3, ["webhook"])
    assert told.what["webhook"] == f"{HOST}:{port} has not taken it: {said}"
    assert "token" not in json.dumps(told.document["checks"][-1])


def test_a_webhook_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "ws.toml").write_text(f'[push]\nwebhook = "http://{HOST}:1/"\n')
    told = run(tmp_path, WS_AUDIT_CONFIG=str(tmp_path / "ws.toml"))
    assert (told.code, told.failed()) == (3, ["webhook"])
    assert told.what["webhook"] == f"{HOST}:1 has not taken it: Connection refused"


def test_metrics_of_workers_without_a_directory(tmp_path: Path) -> None:
    told = run(tmp_path, PROMETHEUS_MULTIPROC_DIR=str(tmp_path / "missing"))
    assert (told.code, told.failed()) == (3, ["metrics"])
    assert not list(tmp_path.iterdir())


# --- each stage of the front half, broken -----------------------------------------------------

# What somebody's edit, or a library's new version, could do; before anything of ours is used.
MUTATIONS = {
    "import hook": "import ws_audit.bootstrap as b; b.watch = lambda module: None",
    "hooks": (
        "import ws_audit.hooks.calls as c; c.SendHook.before = lambda self, args, kwargs: None"
    ),
    "sink": (
        "import ws_audit.transports.asgi as a; a.Connection.outbound = lambda self, message: None"
    ),
    "reader": (
        "import ws_audit.messages.payloads as p\n"
        "p.Reader.read = lambda self, message, **_: p._NOTHING"
    ),
    "judge": "import ws_audit.verdict.judge as j; j.judge = lambda *_: j.MATCHED",
}


@pytest.mark.parametrize("stage", MUTATIONS)
def test_a_stage_that_is_broken_is_named(tmp_path: Path, stage: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(MUTATIONS[stage])
    path = os.pathsep.join([str(tmp_path), surroundings()["PYTHONPATH"]])
    told = run(tmp_path, PYTHONPATH=path, WS_AUDIT_TRACE_DIR=str(tmp_path / "trace"))
    assert told.code == 3
    assert told.failed() == [stage]
    later = FRONT[FRONT.index(stage) + 1 :]
    assert {told.states[name] for name in later} <= {"not tried"}
    assert {told.states[name] for name in FRONT[: FRONT.index(stage)]} <= {"ok"}
