# SPDX-License-Identifier: Apache-2.0
"""What is wrong is named with its fix, on stderr; the application serves; the CLI exits 2."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.live import HOST, SOURCE, Server, free_ports, http, server, websocket
from ws_audit.review.segments.read import review

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ON = {"WS_AUDIT_ENABLED": "1", "WS_AUDIT_INCLUDE": "shapes"}
FILE_SIZE = 64 * 1024


class Case:
    """Something wrong: how it is set up, and what the line about it must say."""

    def __init__(
        self, *says: str, before: Callable[[], None] | None = None, **environment: str
    ) -> None:
        self.says, self.before, self.environment = says, before, environment
        self.config = environment.pop("config", "")


def _small_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_SIZE, FILE_SIZE))


CASES = {
    "unknown key": Case(
        "unknown key trce_dir",
        "{folder}/ws-audit.toml",
        "nearest: trace_dir",
        config='trce_dir = "x"',
    ),
    "wrong type": Case(
        "store.neighbours",
        "'many'",
        "{folder}/ws-audit.toml",
        "a whole number from 0",
        config='[store]\nneighbours = "many"',
    ),
    "no TOML": Case("{folder}/ws-audit.toml", "not valid TOML", config="store = ["),
    "a file that is not there": Case(
        "{folder}/missing.toml",
        "no such file",
        "WS_AUDIT_CONFIG",
        WS_AUDIT_CONFIG="{folder}/missing.toml",
    ),
    "a file that cannot be read": Case(
        "{folder}", "cannot be read", "Is a directory", WS_AUDIT_CONFIG="{folder}"
    ),
    "unknown variable": Case(
        "unknown environment variable WS_AUDIT_TRACEDIR",
        "WS_AUDIT_TRACE_DIR",
        WS_AUDIT_TRACEDIR="x",
    ),
    "wrong address": Case(
        "WS_AUDIT_METRICS_ADDR", "'9464'", "HOST:PORT", WS_AUDIT_METRICS_ADDR="9464"
    ),
    "an unknown mode": Case(
        "mode = 'stop'", "WS_AUDIT_MODE", '"observe" or "block"', WS_AUDIT_MODE="stop"
    ),
    "a policy without a reason": Case(
        "no reason in [[policy]] 1 of {folder}/ws-audit.toml",
        "expected reason = a text that says why",
        config='[[policy]]\nkind = "system"\nprincipals = ["bot"]',
    ),
    "no port left": Case(
        "metrics are not served",
        "WS_AUDIT_METRICS_ADDR",
        "{taken}",
        "widen the range",
        WS_AUDIT_METRICS_ADDR="{taken}",
    ),
    "an address of another machine": Case(
        "metrics are not served",
        "WS_AUDIT_METRICS_ADDR",
        "192.0.2.1",
        WS_AUDIT_METRICS_ADDR="192.0.2.1:9464",
    ),
    "a file in the store's place": Case(
        "{folder}/stderr",
        "a file is in its place",
        "WS_AUDIT_TRACE_DIR",
        WS_AUDIT_TRACE_DIR="{folder}/stderr",
    ),
    "a store that cannot be made": Case(
        "/proc/no-such/trace",
        "cannot be created",
        "WS_AUDIT_TRACE_DIR",
        WS_AUDIT_TRACE_DIR="/proc/no-such/trace",
    ),
    "a disk that fills up": Case(
        "the store cannot keep violations",
        "{folder}/trace",
        "File too large",
        "WS_AUDIT_TRACE_DIR",
        before=_small_files,
        WS_AUDIT_TRACE_DIR="{folder}/trace",
    ),
    "a collector that is down": Case(
        "{closed}",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        OTEL_EXPORTER_OTLP_ENDPOINT="http://{closed}",
        OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
        OTEL_EXPORTER_OTLP_TIMEOUT="1",
    ),
    "a collector that is down, by gRPC": Case(
        "{closed}",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        OTEL_EXPORTER_OTLP_ENDPOINT="http://{closed}",
        OTEL_EXPORTER_OTLP_TIMEOUT="1",
    ),
    "a webhook that is down": Case(
        "push.webhook",
        "{closed}",
        config='[push]\nwebhook = "http://{closed}/secret-path"',
    ),
}


@pytest.fixture(scope="module")
def places() -> Iterator[dict[str, str]]:
    """A range of ports somebody else has, and one that nobody answers on."""
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            one, other = (stack.enter_context(socket.socket()) for _ in range(2))
            one.bind((HOST, 0))
            port = one.getsockname()[1]
            with contextlib.suppress(OSError, OverflowError):
                other.bind((HOST, port + 1))
                one.listen()
                other.listen()
                break
        yield {"taken": f"{HOST}:{port}-{port + 1}", "closed": f"{HOST}:{free_ports(1)[0]}"}


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, places: dict[str, str]
) -> Iterator[dict[str, tuple[Server, Path]]]:
    """Every case as a running application, started side by side."""
    root = tmp_path_factory.mktemp("bad")
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(4) as pool:

        def start(name: str, case: Case) -> tuple[Server, Path]:
            folder = root / name.replace(" ", "-").replace(",", "").replace("'", "")
            folder.mkdir()
            where = {**places, "folder": str(folder)}
            told = {key: value.format(**where) for key, value in case.environment.items()}
            if case.config:
                (folder / "ws-audit.toml").write_text(
                    case.config.replace("{closed}", where["closed"])
                )
                told["WS_AUDIT_CONFIG"] = str(folder / "ws-audit.toml")
            context = server(folder, before=case.before, **ON, **told)
            found = context.__enter__()
            stack.push(context.__exit__)
            return found, folder

        futures = {name: pool.submit(start, name, case) for name, case in CASES.items()}
        yield {name: future.result() for name, future in futures.items()}


def _fill(one: Server) -> None:
    """Leaks until 64 KiB of violations are written."""
    for number in range(60):
        websocket(one.port, f"/managed/user-{number}")


def line_with(one: Server, says: tuple[str, ...]) -> str:
    """The agent's line that says all of this, within what a drain and a timeout may take."""
    deadline = time.monotonic() + 15
    while True:
        for line in one.said.splitlines():
            if all(part in line for part in says):
                return line
        assert time.monotonic() < deadline, f"nobody said {says}:\n{one.said}"
        time.sleep(0.05)


@pytest.mark.parametrize("name", CASES)
def test_it_is_named_with_its_fix_and_the_application_serves(
    served: dict[str, tuple[Server, Path]], places: dict[str, str], name: str
) -> None:
    case = CASES[name]
    one, folder = served[name]
    if case.before is not None:
        _fill(one)
    answer = websocket(one.port, "/managed/alice")
    assert (len(answer.messages), answer.code) == (12, 4000)
    where = {**places, "folder": str(folder)}
    says = tuple(part.format(**where) for part in case.says)
    line = line_with(one, says)
    assert line.startswith("ws-audit: ")
    assert one.said.count(line) == 1  # once, not at every turn
    assert "Traceback" not in one.said
    assert "internal error" not in one.said
    assert "secret-path" not in one.said
    # And after it was said the application still answers.
    assert http(one.port, "GET", "/health").startswith(b"HTTP/1.1 200")
    assert websocket(one.port, "/managed/bob").code == 4000


def test_a_setting_that_is_wrong_costs_only_itself(
    served: dict[str, tuple[Server, Path]],
) -> None:
    """The agent is on in each of them, and says with what."""
    for one, _ in served.values():
        (line,) = (line for line in one.ours() if "3 manager classes" in line)
        assert "mode observe" in line


def test_what_did_not_fit_on_the_disk_was_told_in_the_log(
    served: dict[str, tuple[Server, Path]],
) -> None:
    one, folder = served["a disk that fills up"]
    alarms = [line for line in one.said.splitlines() if line.startswith("{")]
    assert alarms
    found = review(str(folder / "trace"), time.time_ns())
    assert 0 < found["incidents"][0]["attempted"] <= 61
    for path in (folder / "trace").iterdir():
        assert path.stat().st_size <= FILE_SIZE


def test_an_application_whose_receivers_are_down_still_ends_when_told(
    served: dict[str, tuple[Server, Path]],
) -> None:
    """Runs last: these two stop."""
    for name in ("a collector that is down", "a webhook that is down"):
        one, _ = served[name]
        begun = time.monotonic()
        one.stop()
        assert time.monotonic() - begun < 12


# --- the command line -----------------------------------------------------------------------------


def cli(folder: Path, *words: str, **environment: str) -> tuple[int, str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WS_AUDIT_")}
    clean.update(PYTHONPATH=str(SOURCE), **environment)
    done: Any = subprocess.run(
        [sys.executable, "-m", "ws_audit", *words],
        cwd=folder,
        env=clean,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


# Words, environment, the file of settings, what stderr must name.
COMMANDS: dict[str, tuple[list[str], dict[str, str], str, list[str]]] = {
    "run, unknown key": (
        ["run", "--", "echo", "started"],
        {},
        'trce_dir = "x"',
        ["unknown key trce_dir", "ws-audit.toml", "nearest: trace_dir"],
    ),
    "run, wrong type": (
        ["run", "--", "echo", "started"],
        {},
        "[limits]\nconnections = true",
        ["limits.connections", "true", "a whole number"],
    ),
    "run, unreadable file": (
        ["run", "--", "echo", "started"],
        {"WS_AUDIT_CONFIG": "."},
        "",
        ["cannot be read", "Is a directory"],
    ),
    "run, unknown variable": (
        ["run", "--", "echo", "started"],
        {"WS_AUDIT_METRIC_ADDR": "x"},
        "",
        ["WS_AUDIT_METRIC_ADDR", "nearest: WS_AUDIT_METRICS_ADDR"],
    ),
    "run, nothing": (["run"], {}, "", ["no command given", "usage"]),
    "review, no such directory": (["review", "no-such-trace"], {}, "", ["no-such-trace"]),
    "review, a file": (["review", "notes"], {}, "", ["notes", "directory"]),
    "demo, no such leak": (["demo", "--leak", "nonsense"], {}, "", ["nonsense", "argument --leak"]),
    "no such command": (["audit"], {}, "", ["audit", "choose from"]),
    "no such option": (["review", "--now-ish", "."], {}, "", ["--now-ish"]),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_command_line_exits_2_and_says_why(tmp_path: Path, name: str) -> None:
    words, environment, config, says = COMMANDS[name]
    (tmp_path / "notes").write_text("no directory")
    if config:
        (tmp_path / "ws-audit.toml").write_text(config)
        environment = {**environment, "WS_AUDIT_CONFIG": "ws-audit.toml"}
    code, out, err = cli(tmp_path, *words, **environment)
    assert code == 2
    assert out == ""  # and nothing was started
    assert "Traceback" not in err
    for part in says:
        assert part in err


def test_with_nothing_wrong_it_runs(tmp_path: Path) -> None:
    assert cli(tmp_path, "run", "--", "echo", "started") == (0, "started\n", "")
