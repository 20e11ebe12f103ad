# SPDX-License-Identifier: Apache-2.0
"""A real uvicorn with an application in it, and a client that writes down every byte.

Why it exists: what a client sees is decided below every framework. The client's half of the
protocol is the websockets library's, the bytes are the socket's own.

It must never leave a process behind.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from websockets.client import ClientProtocol
from websockets.frames import Frame
from websockets.uri import parse_uri

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

APPLICATIONS = Path(__file__).parent / "applications"
SOURCE = Path(__file__).parents[2] / "src"
HOST = "127.0.0.1"
START_SECONDS, STOP_SECONDS, ANSWER_SECONDS = 30.0, 15.0, 20.0
KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # fixed, so that the answer to it is

# The activation line of an installed agent; where it has run already, this is nothing new.
SERVE = """
import os, sys
if os.environ.get("WS_AUDIT_ENABLED") == "1":
    import ws_audit.bootstrap
    ws_audit.bootstrap.start()
import uvicorn
sys.path.insert(0, sys.argv[1])
uvicorn.run(sys.argv[2], host="127.0.0.1", port=int(sys.argv[3]), log_level="error")
"""


def free_ports(number: int) -> list[int]:
    """Ports nobody listens on at the moment."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind((HOST, 0))
        return [one.getsockname()[1] for one in sockets]


class Server:
    """One process; `said` is its stderr."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process, self.port, self.log = process, port, log

    @property
    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def ours(self) -> list[str]:
        """The lines of the agent's."""
        return [line for line in self.said.splitlines() if line.startswith("ws-audit: ")]

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(STOP_SECONDS)


@contextlib.contextmanager
def server(
    folder: Path,
    application: str = "shapes:app",
    *,
    before: Callable[[], None] | None = None,
    **environment: str,
) -> Iterator[Server]:
    """Serve an application of this folder; without settings, without an agent.

    `before` runs in the new process first (limits).
    """
    folder.mkdir(parents=True, exist_ok=True)
    (port,) = free_ports(1)
    log = folder / "stderr"
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("WS_AUDIT_", "OTEL_", "PROMETHEUS_"))
    }
    paths = [str(SOURCE), *filter(None, [clean.get("PYTHONPATH")])]
    clean.update(PYTHONPATH=os.pathsep.join(paths), PYTHONDONTWRITEBYTECODE="1", **environment)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(APPLICATIONS), application, str(port)],
            env=clean,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=before,  # noqa: PLW1509
        )
    found = Server(process, port, log)
    try:
        _await(found)
        yield found
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def _await(found: Server) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        assert found.process.poll() is None, found.said
        assert time.monotonic() < deadline, f"not up in {START_SECONDS:g} s: {found.said}"
        with contextlib.suppress(OSError):
            if http(found.port, "GET", "/health").startswith(b"HTTP/1.1 200"):
                return
        time.sleep(0.02)


class Answer(NamedTuple):
    """Everything a client got: bytes of the handshake, bytes after it, how it was closed."""

    handshake: bytes
    frames: bytes
    code: int | None
    reason: str | None
    messages: tuple[tuple[str, bytes], ...]


def websocket(
    port: int,
    target: str,
    *,
    sends: Iterable[str | bytes] = (),
    subprotocols: Iterable[str] = (),
    leave: bool = False,
) -> Answer:
    """One connection until the server ends it, or, with `leave`, until all was answered."""
    wanted: Any = list(subprotocols) or None
    protocol = ClientProtocol(
        parse_uri(f"ws://audit.invalid{target}"), subprotocols=wanted, max_size=None
    )
    protocol.key = KEY
    left = list(sends)
    expected = len(left)
    raw = b""
    messages: list[tuple[str, bytes]] = []
    with socket.create_connection((HOST, port), timeout=ANSWER_SECONDS) as wire:
        protocol.send_request(protocol.connect())
        _flush(protocol, wire)
        while True:
            data = wire.recv(1 << 16)
            raw += data
            if data:
                protocol.receive_data(data)
            else:
                protocol.receive_eof()
            messages += [
                (event.opcode.name, bytes(event.data))
                for event in protocol.events_received()
                if isinstance(event, Frame) and event.opcode.name in ("TEXT", "BINARY")
            ]
            if protocol.state.name == "OPEN":
                for item in left:
                    if isinstance(item, str):
                        protocol.send_text(item.encode())
                    else:
                        protocol.send_binary(item)
                left = []
                if leave and len(messages) == expected:
                    protocol.send_close(1000, "enough")
                    leave = False
            _flush(protocol, wire)
            if not data:
                break
    handshake, _, frames = raw.partition(b"\r\n\r\n")
    return Answer(
        _undated(handshake), frames, protocol.close_code, protocol.close_reason, tuple(messages)
    )


def _flush(protocol: ClientProtocol, wire: socket.socket) -> None:
    for data in protocol.data_to_send():
        if data:
            with contextlib.suppress(OSError):
                wire.sendall(data)
        else:
            with contextlib.suppress(OSError):
                wire.shutdown(socket.SHUT_WR)


def http(port: int, method: str, target: str, body: bytes = b"") -> bytes:
    """A whole answer as it came, but for its date."""
    with socket.create_connection((HOST, port), timeout=ANSWER_SECONDS) as wire:
        head = f"{method} {target} HTTP/1.1\r\nHost: audit.invalid\r\nConnection: close\r\n"
        wire.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        raw = b""
        while data := wire.recv(1 << 16):
            raw += data
    return _undated(raw)


def _undated(head: bytes) -> bytes:
    return re.sub(rb"(?im)^date: [^\r\n]*", b"date: -", head, count=1)
