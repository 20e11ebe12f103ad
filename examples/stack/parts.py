# SPDX-License-Identifier: Apache-2.0
"""The parts of the stack that Debian and PyPI have: found, started, waited for, stopped.

Their configuration is that of compose.yaml, with addresses of this machine put in. Everything
listens on loopback only.
"""

import contextlib
import importlib.util
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

HOST = "127.0.0.1"
HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RULES = ROOT / "grafana" / "prometheus" / "ws_audit.rules.yml"
ROUTING = ROOT / "grafana" / "alertmanager" / "alertmanager.yml"
READY_SECONDS = 30.0
STOP_SECONDS = 10.0

# Program -> the names it goes by, and what brings it to a Debian machine.
PROGRAMS = {
    "Prometheus": (("prometheus",), "prometheus"),
    "Alertmanager": (("prometheus-alertmanager", "alertmanager"), "prometheus-alertmanager"),
}


class StackError(Exception):
    """The stack cannot run; the text says what to do."""


@dataclass
class Part:
    """One running program."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def kill(self) -> None:
        """SIGKILL: it has no chance to say or save anything."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL if that is not heard."""
        if self.process.poll() is None:
            self.process.terminate()

        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def lines(self) -> Iterator[str]:
        """What it says on its standard output, as it comes, until it ends."""
        with self.process.stdout or io.BytesIO() as stream:
            for line in stream:
                yield line.decode(errors="replace").rstrip()


def start(
    name: str,
    command: Sequence[str | Path],
    folder: Path,
    environment: Mapping[str, str] | None = None,
    *,
    output: int | None = None,
) -> Part:
    """Begin a program; what it says goes to NAME.log, standard output elsewhere if told so."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"{name}.log"

    with log.open("ab") as stream:
        process = subprocess.Popen(
            command,
            env={**clean_environment(), **(environment or {})},
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=stream if output is None else output,
            stderr=stream,
            # Ctrl-C reaches only us: the parts are stopped in order.
            start_new_session=True,
        )

    return Part(name, process, log)


def clean_environment() -> dict[str, str]:
    """Ours, without settings of an audit or of telemetry that were meant for something else."""
    others = ("WS_AUDIT_", "OTEL_", "AGENT_CHAT_", "PROMETHEUS_")

    return {name: value for name, value in os.environ.items() if not name.startswith(others)}


def find(program: str) -> str:
    """The path of a program of PROGRAMS, or StackError with the command that installs it."""
    names, package = PROGRAMS[program]

    for name in names:
        if found := shutil.which(name):
            return found

    raise StackError(
        f"{program} is not on this machine: apt-get install -y --no-install-recommends {package}\n"
        "(Debian starts it as a service: systemctl disable --now, unless you want it twice)"
    )


# --- each part ------------------------------------------------------------------------------------


def prometheus(folder: Path, port: int, config: str) -> Part:
    file = folder / "prometheus.yml"
    file.write_text(config)
    command = [
        find("Prometheus"),
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address={HOST}:{port}",
        "--enable-feature=exemplar-storage",
    ]

    return start("prometheus", command, folder)


def prometheus_config(
    rules: Path, alertmanager_port: int, jobs: Mapping[str, tuple[int, str]]
) -> str:
    """prometheus.yml for this machine: for each job the port and path of its metrics."""
    head, scrapes, example = (HERE / "prometheus.yml").read_text().partition("scrape_configs:\n")
    head = put(head, "/etc/prometheus/rules/ws_audit.rules.yml", str(rules))
    head = put(head, "alertmanager:9093", f"{HOST}:{alertmanager_port}")

    return (
        head
        + scrapes
        + "".join(
            put(put(example, "job_name: chat", f"job_name: {job}"), "chat:9464", f"{HOST}:{port}")
            + f"    metrics_path: {path}\n"
            for job, (port, path) in jobs.items()
        )
    )


def alertmanager(folder: Path, port: int, config: str) -> Part:
    file = folder / "alertmanager.yml"
    file.write_text(config)
    command = [
        find("Alertmanager"),
        f"--config.file={file}",
        f"--storage.path={folder / 'alertmanager'}",
        f"--web.listen-address={HOST}:{port}",
        "--cluster.listen-address=",
    ]

    return start("alertmanager", command, folder)


def alertmanager_config(pager_port: int) -> str:
    """The routing as it is committed; every receiver is the pager, its name is the path."""
    return re.sub(
        r"(?m)^(\s*(?:- )?url: ).*/([^/'\"]*)['\"]?$",
        rf"\1http://{HOST}:{pager_port}/\2",
        ROUTING.read_text(),
    )


def collector(folder: Path, grpc_port: int, http_port: int) -> Part:
    """rotel, which writes down what it takes and gives it to nobody."""
    found = importlib.util.find_spec("rotel")
    binary = Path(found.origin or "").parent / "rotel-agent" if found else None

    if binary is None or not binary.is_file():
        raise StackError("the collector is not there: pip install --pre rotel")

    # It is linked with Python's own library.
    libraries = (sysconfig.get_config_var("LIBDIR"), os.environ.get("LD_LIBRARY_PATH"))
    command = [
        str(binary),
        "start",
        f"--otlp-grpc-endpoint={HOST}:{grpc_port}",
        f"--otlp-http-endpoint={HOST}:{http_port}",
        "--exporter=blackhole",
        "--debug-log=traces",
        "--debug-log-verbosity=detailed",
        f"--pid-file={folder / 'rotel.pid'}",
    ]

    return start(
        "collector",
        command,
        folder,
        {"LD_LIBRARY_PATH": os.pathsep.join(filter(None, libraries))},
    )


def chat(folder: Path, port: int, users: Mapping[str, str], settings: Mapping[str, str]) -> Part:
    """The example under uvicorn; whether it is audited is for the settings to say."""
    command = [sys.executable, "-m", "uvicorn", "examples.stack.chat:app"]
    command += ["--host", HOST, "--port", str(port), "--log-level", "warning"]

    return start("chat", command, folder, {"AGENT_CHAT_USERS": json.dumps(users), **settings})


def load(folder: Path, port: int, users: Mapping[str, str], pause: float = 0.5) -> Part:
    """Clients of it; their standard output is a pipe."""
    file = folder / "users.json"
    file.write_text(json.dumps(users))
    command = [sys.executable, "-m", "examples.stack.load", "--url", f"ws://{HOST}:{port}/ws"]
    command += ["--users", str(file), "--pause", str(pause)]

    return start("load", command, folder, output=subprocess.PIPE)


def pager(folder: Path, port: int) -> Part:
    command = [sys.executable, "-m", "examples.stack.pager", "--port", str(port)]

    return start("pager", command, folder, output=subprocess.PIPE)


# --- small things ---------------------------------------------------------------------------------


def put(text: str, name: str, value: str) -> str:
    """`text` with another value; that the name is there is part of the bargain."""
    if name not in text:
        raise StackError(f"{name!r} is no longer in the configuration")

    return text.replace(name, value)


def free_port(preferred: int = 0) -> int:
    """The usual port if nobody has it, else any."""
    for each in (preferred, 0):
        with contextlib.suppress(OSError), socket.socket() as asked:
            asked.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            asked.bind((HOST, each))
            found: int = asked.getsockname()[1]

            return found

    raise StackError(f"no port is free on {HOST}")


def ask(url: str, *, post: bool = False) -> str:
    """A page of this machine, past any proxy the environment names."""
    request = Request(url, method="POST" if post else "GET")

    with build_opener(ProxyHandler({})).open(request, timeout=10) as answer:
        text: str = answer.read().decode()

    return text


def await_page(part: Part, url: str) -> None:
    """Until the part answers there."""
    deadline = time.monotonic() + READY_SECONDS

    while time.monotonic() < deadline:
        if part.process.poll() is not None:
            raise StackError(f"{part.name} has ended by itself: see {part.log}")

        try:
            ask(url)
            return
        except HTTPError as refused:
            if refused.code < 500:  # not ready is 503; a collector knows no pages
                return
        except OSError:
            pass  # not listening yet

        time.sleep(0.05)

    raise StackError(f"{part.name} does not answer at {url}: see {part.log}")
