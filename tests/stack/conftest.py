# SPDX-License-Identifier: Apache-2.0
"""What takes its time, begun once for all tests here; and how long it took, told at the end."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from examples.stack import parts
from tests.stack.scene import play, scene

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.stack.scene import Scene

TOLD = "told at the end"


@dataclass
class Walk:
    """`make stack` with a leak, on its way."""

    process: subprocess.Popen[str]
    said: list[str] = field(default_factory=list)

    def told(self, pattern: str) -> bool:
        return any(re.search(pattern, line) for line in self.said)

    def type(self, keys: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(keys)
        self.process.stdin.flush()

    def processes(self) -> list[int]:
        """Those it has started."""
        found = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(each) for each in found.split()]

    def ports(self) -> list[int]:
        """Those it has told of."""
        return [int(port) for line in self.said for port in re.findall(r"127\.0\.0\.1:(\d+)", line)]


@pytest.fixture(scope="session")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    """Only begun: whoever needs it waits for what it says."""
    folder = tmp_path_factory.mktemp("local") / "stack"
    process = subprocess.Popen(
        [sys.executable, "-m", "examples.stack.local", "--leak", "--folder", str(folder)],
        env=parts.clean_environment(),
        cwd=parts.ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    walk = Walk(process)

    def read() -> None:
        assert process.stdout is not None
        with process.stdout:
            walk.said += (line.rstrip() for line in process.stdout)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield walk
    finally:
        process.terminate()
        process.wait(30)
        reader.join(5)
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture(scope="session")
def played(walk: Walk, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """What happened; Prometheus, Alertmanager and the services are still there to be asked."""
    with scene(tmp_path_factory.mktemp("stack")) as running:
        play(running)
        yield running


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """What it is given stands in the summary of the run, passed or not."""
    return lambda line: record_property(TOLD, line)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    told = [
        line
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        for name, line in report.user_properties
        if name == TOLD and report.when == "call"
    ]
    if told:
        terminalreporter.section("from the frame to the pager")
        for line in told:
            terminalreporter.line(str(line))
