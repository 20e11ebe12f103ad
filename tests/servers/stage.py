# SPDX-License-Identifier: Apache-2.0
"""A real server from the wheel's environment, real clients, and the two accounts to compare.

Why it exists: each server starts, forks and ends in its own way; what is asserted of them is
the same. The clients are in the tests' process, the application is in the server's.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from websockets.sync.client import ClientConnection, connect

from tests.real.world import Page, eventually, get, hears
from tests.servers import backend
from tests.startup.interpreters import Environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOST = "127.0.0.1"
START_SECONDS, STOP_SECONDS = 30.0, 40.0
VICTIM = "alice"  # whose messages leak


class Received(NamedTuple):
    """One message as its client got it."""

    recipient: str
    owner: str
    pid: int
    size: int


@dataclass
class Stage:
    """A directory with the application, and the environment with the wheel."""

    root: Path
    directory: Path

    def __post_init__(self) -> None:
        self.environment = Environment(self.root, self.directory)
        self.environment.write(
            chat=backend.CHAT,
            script=backend.SCRIPT,
            twice=backend.TWICE,
            enabling=backend.ENABLING,
            metered=backend.METRICS,
            eager=backend.EAGER,
        )

    @contextlib.contextmanager
    def serve(
        self, *words: str, workers: int = 1, ports: int = 4, **variables: str
    ) -> Iterator[Server]:
        """A server process started by `words`, in which PORT stands for its port.

        `ports` is how many the metrics range has; 0 for none.
        """
        port, first = free_port(), free_range(max(ports, 1))
        log = self.directory / "server.log"
        given = {
            "PYTHONFAULTHANDLER": "1",
            "WS_AUDIT_ENABLED": "1",
            "WS_AUDIT_TRACE_DIR": "traces",
            "WS_AUDIT_METRICS_ADDR": f"{HOST}:{first}-{first + ports - 1}" if ports else "",
            **variables,
        }
        given = {name: value for name, value in given.items() if value}
        command = [word.replace("PORT", str(port)) for word in words]
        command[0] = str(self.root / "bin" / command[0])
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=self.directory,
                env=self.environment.variables(**given),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # what is left of it can be ended with it
                preexec_fn=hears,  # noqa: PLW1509  (nothing but a system call)
            )
        server = Server(self, process, port, range(first, first + ports), log)
        try:
            server.await_ready(workers)
            yield server
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def review(self) -> dict[str, Any]:
        """`ws-audit review traces --format json`."""
        words = (self.environment.command, "review", "traces", "--format", "json")
        ended = self.environment.call(*words)
        assert ended.code in (0, 1), ended.err
        document: dict[str, Any] = json.loads(ended.out)
        return document


@dataclass
class Server:
    """A running server, however many processes it has."""

    stage: Stage
    process: subprocess.Popen[bytes]
    port: int
    metrics_ports: range
    log: Path
    received: list[Received] = field(default_factory=list)

    def said(self) -> str:
        """Everything all its processes have written."""
        return self.log.read_text(errors="replace")

    def starts(self) -> list[str]:
        """The agent's start lines: one for each process that serves."""
        return [line for line in self.said().splitlines() if " manager class" in line]

    def await_ready(self, workers: int) -> None:
        def ready() -> bool:
            assert self.process.poll() is None, self.said()[-3000:]
            with contextlib.suppress(OSError):
                get(f"http://{HOST}:{self.port}/health")
                return len(self.starts()) >= workers
            return False

        eventually("the server answers", START_SECONDS, ready)

    # -- clients ----------------------------------------------------------------------------

    def talk(self, user: str, messages: int = 6, leaks: int = 2) -> int:
        """One client: so many messages, the first `leaks` of which are somebody else's.

        Answers which process served it.
        """
        with self.client(user) as client:
            for number in range(messages):
                pid = self.ask(client, user, VICTIM if number < leaks else user)
        return pid

    @contextlib.contextmanager
    def connected(self, user: str) -> Iterator[int]:
        """A client that stays, after one message; which process serves it."""
        with self.client(user) as client:
            yield self.ask(client, user, user)

    def client(self, user: str) -> ClientConnection:
        """As a context manager, a new connection."""
        return connect(f"ws://{HOST}:{self.port}/ws/{user}", proxy=None, close_timeout=1)

    def ask(self, client: ClientConnection, user: str, owner: str) -> int:
        """Have a message of this owner's sent to the client."""
        client.send(owner)
        text = client.recv(timeout=10)
        message = json.loads(text)
        size = len(text.encode() if isinstance(text, str) else text)
        self.received.append(Received(user, message["user_id"], message["pid"], size))
        return int(message["pid"])

    def talk_to_all(self, workers: int) -> set[int]:
        """Clients until each worker has served some; the workers' pids."""
        pids: set[int] = set()
        for number in range(200):
            pids.add(self.talk(f"user-{number}"))
            if len(pids) >= workers and number >= 3:
                return pids
        raise AssertionError(f"only {pids} have served 200 clients")

    @property
    def leaked(self) -> list[Received]:
        return [one for one in self.received if one.owner != one.recipient]

    # -- the agent's account -----------------------------------------------------------------

    def pages(self) -> list[Page]:
        """The pages of all ports of the range on which somebody answers."""
        pages = []
        for port in self.metrics_ports:
            with contextlib.suppress(OSError):
                pages.append(Page(get(f"http://{HOST}:{port}/metrics")))
        return pages

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send the signal to the process that was started, as an orchestrator does, and wait."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> int:
        """Its exit code, when it has ended; if it does not, where all its threads stand."""
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGABRT)
            self.process.wait(STOP_SECONDS)
            raise AssertionError(f"did not end\n{self.said()}") from None

    def interrupt(self) -> None:
        """Ctrl-C in its terminal: every process of the group gets the signal."""
        os.killpg(self.process.pid, signal.SIGINT)

    def writers(self) -> set[int]:
        """The processes that have written to the store."""
        names = [path.stem for path in (self.stage.directory / "traces").glob("*-*.jsonl")]
        return {int(name.split("-")[-3]) for name in names}

    def assert_quiet(self, workers: int) -> None:
        """As many start lines as processes that serve, and nothing went wrong."""
        said = self.said()
        assert len(self.starts()) == workers, said
        # Some servers print tracebacks of their own at the end; none may go through the agent.
        for trouble in ("/ws_audit/", "internal error", "not started", "not served"):
            assert trouble not in said, said

    def assert_counts(self, pages: list[Page]) -> None:
        """The pages together say what the clients received."""
        frames = sum(page.balanced() for page in pages)
        assert frames == len(self.received)
        violations = sum(page.total("ws_audit_violations_total") for page in pages)
        assert violations == len(self.leaked)
        for page in pages:
            assert page.troubles() == {"dropped": {}, "errors": {}}

    def assert_reviewed(self, *, complete: bool = True) -> dict[str, Any]:
        """The review says what the clients received, over all processes."""
        document = self.stage.review()
        (incident,) = document["incidents"]
        assert incident["rule"] == "payload_vs_connection"
        assert incident["events"] == incident["attempted"] == len(self.leaked)
        assert incident["bytes"] == sum(one.size for one in self.leaked)
        by_pair = Counter(pair["events"] for pair in incident["pairs"])
        assert by_pair == Counter(Counter(one.recipient for one in self.leaked).values())
        assert len({pair["owner"] for pair in incident["pairs"]}) == 1
        if complete:
            frames = len(self.received)
            assert document["coverage"] == {
                "frames": frames,
                "judged": frames,
                "unattributed": 0,
                "excused": 0,
                "dropped": 0,
            }
            assert document["problems"] == []
        return document


def free_port() -> int:
    """A port nobody has."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def free_range(count: int) -> int:
    """The first of so many free ports in a row."""
    while True:
        first = free_port()
        with contextlib.suppress(OSError, OverflowError), contextlib.ExitStack() as held:
            for port in range(first, first + count):
                probe = held.enter_context(socket.socket())
                probe.bind((HOST, port))
            return first


def gone(pid: int) -> bool:
    """Whether no such process exists any more."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def wait_gone(pid: int) -> None:
    """Until it has been reaped."""
    eventually(f"{pid} is gone", 10, lambda: gone(pid))
