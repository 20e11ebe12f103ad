# SPDX-License-Identifier: Apache-2.0
"""What an agent adds to the start of a process, beside two others that are switched on like it.

    python -m benchmarks.startup [--rounds N] [--format text|json]

Why it exists: whoever sets one variable for a whole image pays it in every interpreter, also
in those that serve nothing. Three starts are measured: `python -c pass`, the import of a small
FastAPI application, and the same under uvicorn until its first request is answered; as CPU time
of the process and by the clock, in an order that is new each round. Ratios are over the process
without any agent. Needs uv and hatchling; what is measured is in environments made for it.

It must never compare agents that are not there: the application says at its first request which
ones are in the process, and another answer than expected fails the run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
PLACE = ROOT / ".venv-startup"
HOST = "127.0.0.1"
SECONDS = 60.0

# The application's own libraries are the same everywhere, at the versions of uv.lock.
SHARED = ("fastapi", "starlette", "uvicorn", "pydantic", "pydantic-core", "anyio")
ENVIRONMENTS = {
    "plain": (),
    "ws-audit": ("WHEEL",),
    "opentelemetry": (
        "opentelemetry-distro",
        "opentelemetry-instrumentation-asgi",
        "opentelemetry-instrumentation-fastapi",
    ),
    "ddtrace": ("ddtrace",),
}
# Nothing is sent anywhere: neither has a collector here, and waiting for one is no start-up.
OTEL = {f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS", "LOGS")}
DDTRACE = {"DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false", "DD_REMOTE_CONFIGURATION_ENABLED": "0"}


class InvalidError(Exception):
    """The measurement is not one of what it says."""


class Variant(NamedTuple):
    """One way to start a process."""

    environment: str
    prefix: tuple[str, ...]
    variables: dict[str, str]
    agents: list[str]  # that have to be there once it serves

    def command(self, *words: str) -> list[str]:
        bin_ = PLACE / self.environment / "bin"
        return [*(str(bin_ / word) for word in self.prefix), str(bin_ / "python"), *words]


BASE = "no agent"
VARIANTS = {
    BASE: Variant("plain", (), {}, []),
    "ws-audit, variable unset": Variant("ws-audit", (), {}, []),
    "ws-audit, variable set": Variant(
        "ws-audit", (), {"WS_AUDIT_ENABLED": "1"}, ["ws_audit.runtime"]
    ),
    "opentelemetry-instrument": Variant(
        "opentelemetry",
        ("opentelemetry-instrument",),
        OTEL,
        ["opentelemetry.instrumentation.fastapi"],
    ),
    "ddtrace-run": Variant("ddtrace", ("ddtrace-run",), DDTRACE, ["ddtrace"]),
}
STARTS = {
    "python -c pass": ("-c", "pass"),
    "import application": ("-c", "import startup_app"),
    "first request": ("-m", "uvicorn", "startup_app:app", "--log-level", "warning", "--port"),
}
SERVING = "first request"


class Cost(NamedTuple):
    """What one start took, in seconds."""

    cpu: float
    clock: float


# --- the environments ------------------------------------------------------------------------


def build() -> None:
    """Make them anew: the wheel, and what PyPI has of the others today."""
    uv = shutil.which("uv", path=f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}")
    if uv is None:
        raise InvalidError("uv is missing: pip install uv, or make bench-startup")
    shutil.rmtree(PLACE, ignore_errors=True)
    PLACE.mkdir()
    wheel = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(PLACE)]
    subprocess.run(wheel, cwd=ROOT, check=True, capture_output=True)
    (found,) = PLACE.glob("*.whl")
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    shared = [line for line in lines if line.partition("==")[0] in SHARED]
    (PLACE / "shared.txt").write_text("\n".join(shared))
    for name, packages in ENVIRONMENTS.items():
        target = PLACE / name
        subprocess.run([uv, "venv", "-q", "--python", sys.executable, target], check=True)
        wanted = [str(found) if package == "WHEEL" else package for package in packages]
        install = [uv, "pip", "install", "-q", "--compile-bytecode", "--python", str(target)]
        subprocess.run(
            [*install, "-r", str(PLACE / "shared.txt"), *wanted], check=True, env=clean()
        )


def clean() -> dict[str, str]:
    dropped = ("WS_AUDIT_", "OTEL_", "DD_", "PYTHON", "PROMETHEUS_", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if not name.startswith(dropped)}


def versions() -> dict[str, str]:
    """What was compared."""
    code = "import importlib.metadata as m, sys; print(*(m.version(n) for n in sys.argv[1:]))"
    asked = {
        "ws-audit": "ws-audit",
        "opentelemetry": "opentelemetry-instrumentation-fastapi",
        "ddtrace": "ddtrace",
        "plain": "fastapi",
    }
    found = {}
    for environment, package in asked.items():
        command = [str(PLACE / environment / "bin" / "python"), "-c", code, package]
        told = subprocess.run(command, check=True, capture_output=True, text=True, env=clean())
        found[package] = told.stdout.strip()
    return found


# --- one start ---------------------------------------------------------------------------------


def start(variant: Variant, words: tuple[str, ...]) -> Cost:
    serving = words == STARTS[SERVING]
    port = free_port()
    command = variant.command(*words, *([str(port)] if serving else []))
    environment = clean() | variant.variables | {"PYTHONPATH": str(Path(__file__).parent)}
    environment["PATH"] = f"{PLACE / variant.environment / 'bin'}{os.pathsep}{environment['PATH']}"
    begun = time.perf_counter()
    process = subprocess.Popen(
        command,
        env=environment,
        cwd=PLACE,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        if serving:
            agents = first_request(port, process)
            if agents != variant.agents:
                raise InvalidError(f"{command}: in the process are {agents}")
            took = time.perf_counter() - begun
            process.send_signal(signal.SIGKILL)  # what it does at its end is no start
        _, status, usage = os.wait4(process.pid, 0)
        if not serving:
            took = time.perf_counter() - begun
            if status != 0:
                said = process.stderr.read() if process.stderr else b""
                raise InvalidError(f"{command} failed: {said.decode()[-1000:]}")
        process.returncode = status
    finally:
        if process.returncode is None:
            process.kill()
            process.wait()
        if process.stderr:
            process.stderr.close()
    return Cost(usage.ru_utime + usage.ru_stime, took)


def first_request(port: int, process: subprocess.Popen[bytes]) -> list[str]:
    """Ask until somebody answers; which agents are in there."""
    request = b"GET /agents HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(ConnectionRefusedError), socket.socket() as client:
            client.connect((HOST, port))
            client.settimeout(SECONDS)
            client.sendall(request)
            answer = b""
            while data := client.recv(65_536):
                answer += data
            found: list[str] = json.loads(answer.partition(b"\r\n\r\n")[2])
            return found
        time.sleep(0.005)
    raise InvalidError(f"nobody answered on {port} for {SECONDS:g} s ({process.args!r})")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


# --- the result ----------------------------------------------------------------------------------


def measure(rounds: int) -> dict[str, dict[str, list[Cost]]]:
    costs: dict[str, dict[str, list[Cost]]] = {
        name: {each: [] for each in STARTS} for name in VARIANTS
    }
    order = [(name, each) for name in VARIANTS for each in STARTS]
    dice = random.Random(1)
    for number in range(rounds + 1):  # the first one fills the caches
        dice.shuffle(order)
        for name, each in order:
            cost = start(VARIANTS[name], STARTS[each])
            if number:
                costs[name][each].append(cost)
        if sys.stderr.isatty():
            print(f"\r{number * 100 // rounds} %", end="", file=sys.stderr)
    if sys.stderr.isatty():
        print("\r     \r", end="", file=sys.stderr)
    return costs


def report(costs: dict[str, dict[str, list[Cost]]], rounds: int) -> dict[str, Any]:
    def median(name: str, each: str, what: str) -> float:
        return float(statistics.median(getattr(cost, what) for cost in costs[name][each]))

    rows = {
        name: {
            each: {
                "cpu_ms": round(median(name, each, "cpu") * 1000, 1),
                "clock_ms": round(median(name, each, "clock") * 1000, 1),
                "added_cpu_ms": round(
                    statistics.median(
                        one.cpu - off.cpu
                        for one, off in zip(costs[name][each], costs[BASE][each], strict=True)
                    )
                    * 1000,
                    1,
                ),
                "over_no_agent": round(median(name, each, "cpu") / median(BASE, each, "cpu"), 2),
            }
            for each in STARTS
        }
        for name in VARIANTS
    }
    return {
        "schema": 1,
        "rounds": rounds,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
        "versions": versions(),
        "variants": rows,
    }


def text(result: dict[str, Any]) -> str:
    told = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    lines = [
        f"{result['rounds']} rounds, Python {result['python']}, {result['machine']}; {told}",
        "median CPU time of the process (added over no agent; ratio) and time by the clock",
        "",
        f"{'':<26} " + " ".join(f"{each:>38}" for each in STARTS),
    ]
    for name, row in result["variants"].items():
        cells = [
            f"{one['cpu_ms']:>6} ms (+{one['added_cpu_ms']:.0f}; {one['over_no_agent']:.2f})"
            f" {one['clock_ms']:>8} ms"
            for one in row.values()
        ]
        lines.append(f"{name:<26} " + " ".join(f"{cell:>38}" for cell in cells))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="what agents add to the start of a process")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--format", choices=["text", "json"], default="text")
    given = parser.parse_args()
    build()
    result = report(measure(given.rounds), given.rounds)
    print(json.dumps(result) if given.format == "json" else text(result))


if __name__ == "__main__":
    try:
        main()
    except InvalidError as error:
        sys.exit(f"not measured: {error}")
