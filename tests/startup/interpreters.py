# SPDX-License-Identifier: Apache-2.0
"""Fresh interpreters of an environment in which the built wheel is installed.

Why it exists: activation is a matter of files in site-packages and of what an interpreter
imports, so nothing here may be tested inside the interpreter that runs the tests.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import textwrap
import time
import venv
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

# None of these may be loaded before the stage it belongs to.
DEPENDENCIES = (
    "wrapt",
    "opentelemetry",
    "prometheus_client",
    "msgspec",
    "tomli",
    "google.protobuf",
    "grpc",
)
# Loading one of these early is what breaks gevent's monkey patching.
PATCHED_BY_GEVENT = ("ssl", "socket", "select", "threading", "subprocess", "asyncio", "queue")

# Modules every script may import: `told(...)` hands the test a value.
TELLING = """
import json, sys

def told(**values):
    print("told " + json.dumps(values), flush=True)

def loaded(*names):
    return sorted(
        module for module in sys.modules
        if any(module == name or module.startswith(name + ".") for name in names)
    )

def metric(name, **labels):
    from prometheus_client import REGISTRY

    return REGISTRY.get_sample_value(name, labels)
"""

# uvicorn and a client in one event loop: `async with serving(app) as url`.
LOOPBACK = """
import asyncio, contextlib

@contextlib.asynccontextmanager
async def serving(application):
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(application, port=0, log_level="warning"))
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"ws://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task

async def message(url):
    from websockets.asyncio.client import connect

    async with connect(url) as client:
        return json.loads(await asyncio.wait_for(client.recv(), 10))

import json
"""


class Ended(NamedTuple):
    """What an interpreter left: its exit code and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def told(self) -> dict[str, Any]:
        """What the script handed over by `told`, all calls together."""
        assert self.code == 0, f"exit code {self.code}\n{self.out}\n{self.err}"
        values: dict[str, Any] = {}
        for line in self.out.splitlines():
            if line.startswith("told "):
                values.update(json.loads(line[5:]))
        return values


class Serving(NamedTuple):
    """A running server process."""

    port: int
    process: subprocess.Popen[str]

    def end(self) -> Ended:
        """Stop it as a supervisor does, and wait."""
        self.process.send_signal(signal.SIGTERM)
        out, err = self.process.communicate(timeout=20)
        return Ended(self.process.returncode, out, err)


class Environment(NamedTuple):
    """A virtual environment with the wheel, and a directory with an application."""

    root: Path
    directory: Path

    @property
    def python(self) -> Path:
        return self.root / "bin" / "python"

    @property
    def command(self) -> Path:
        return self.root / "bin" / "ws-audit"

    @property
    def site_packages(self) -> Path:
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        return self.root / "lib" / version / "site-packages"

    def write(self, **modules: str) -> None:
        """Put modules of the application into its directory, by their dotted names."""
        for name, source in modules.items():
            path = self.directory / (name.replace(".", "/") + ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(source), encoding="utf-8")

    def variables(self, **given: str) -> dict[str, str]:
        """A clean environment, so that nothing of the tests' own reaches the interpreter."""
        search = f"{self.root / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        return {"PATH": search, "HOME": str(self.directory), "LANG": "C.UTF-8", **given}

    def call(self, *words: str | Path, **variables: str) -> Ended:
        """Run a command to its end."""
        ended = subprocess.run(
            [str(word) for word in words],
            cwd=self.directory,
            env=self.variables(**variables),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Ended(ended.returncode, ended.stdout, ended.stderr)

    def run(self, script: str, **variables: str) -> Ended:
        """Run a script of the application's directory in a fresh interpreter."""
        self.write(telling=TELLING, loopback=LOOPBACK, script=script)
        return self.call(self.python, "script.py", **variables)

    def audited(self, script: str, **variables: str) -> Ended:
        """The same with the agent switched on."""
        return self.run(script, WS_AUDIT_ENABLED="1", **variables)

    @contextlib.contextmanager
    def serve(self, *words: str, **variables: str) -> Iterator[Serving]:
        """A Python process that serves on the port appended to `words`."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        with subprocess.Popen(
            [self.python, *words, str(port)],
            cwd=self.directory,
            env=self.variables(WS_AUDIT_ENABLED="1", **variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                _wait(port, process)
                yield Serving(port, process)
            finally:
                if process.poll() is None:
                    process.kill()


def _wait(port: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AssertionError("".join(process.communicate()))
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError(f"nothing listens on {port}")


def build_wheel(checkout: Path, target: Path) -> Path:
    """The wheel as it is released, built without touching the network."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", target],
        cwd=checkout,
        check=True,
        capture_output=True,
    )
    (wheel,) = target.glob("*.whl")
    return wheel


def create(root: Path, wheel: Path) -> None:
    """A virtual environment with the wheel; what it depends on comes from the tests' own."""
    venv.create(root, with_pip=False, symlinks=True)
    pip("install", "--no-deps", "--no-index", "--no-compile", wheel, root=root)
    libraries = root / "libraries" / "site-packages"
    libraries.mkdir(parents=True)
    for directory in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for entry in Path(directory).iterdir():
            # All but the agent itself, which the tests' environment may have, too.
            link = libraries / entry.name
            if not (
                entry.name.startswith(("ws_audit", "__editable__", "_editable")) or link.exists()
            ):
                link.symlink_to(entry)
    # A plain path: none of the .pth files in there take effect.
    (Environment(root, root).site_packages / "libraries.pth").write_text(f"{libraries}\n")


def pip(*words: str | Path, root: Path) -> None:
    """Run the tests' own pip on another environment."""
    given = [str(word) for word in words]
    python = str(root / "bin" / "python")
    options = ["--quiet", "--disable-pip-version-check", "--python", python]
    subprocess.run([sys.executable, "-m", "pip", *options, *given], check=True)


def copy(source: Path, target: Path) -> Path:
    """The same environment once more, to be taken apart."""
    shutil.copytree(source, target, symlinks=True)
    return target
