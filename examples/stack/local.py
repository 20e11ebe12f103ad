# SPDX-License-Identifier: Apache-2.0
"""The stack without containers: the example under audit, Prometheus, Alertmanager, a collector, a
pager, all on loopback, until Ctrl-C.

    make stack             Enter leaks one frame, k kills the service, q (or Ctrl-C) ends
    make stack STACK=--leak   leaks one frame by itself, ten seconds after the start

Grafana, Tempo and ClickHouse come from no package registry: for those see compose.yaml.
"""

import argparse
import secrets
import select
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

from examples.stack import parts
from examples.stack.parts import HOST, Part, StackError, ask, await_page, free_port

NAMES = ("ada", "ben", "cleo", "dan", "eve", "finn", "gus", "hana")
LEAK_AFTER = 10.0  # seconds: Prometheus has seen the zeros twice by then


class Local:
    """Every part, its port and its place."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = folder / "trace"
        self.chat, self.metrics = free_port(8000), free_port(9464)
        self.prometheus, self.alertmanager = free_port(9090), free_port(9093)
        self.pager, self.grpc, self.http = free_port(8080), free_port(4317), free_port(4318)
        self._users = {secrets.token_hex(16): name for name in NAMES}
        self._key = secrets.token_hex(32)
        self._parts: list[Part] = []  # in the order they were started
        self._listeners: list[threading.Thread] = []

    def start(self) -> None:
        """Whatever the others speak to comes first."""
        for program in parts.PROGRAMS:
            parts.find(program)

        self._follow(self._add(parts.pager(self.folder, self.pager), self.pager, "/"))
        self._add(parts.collector(self.folder, self.grpc, self.http), self.http, "/")

        routing = parts.alertmanager_config(self.pager)
        alertmanager = parts.alertmanager(self.folder, self.alertmanager, routing)
        self._add(alertmanager, self.alertmanager, "/-/ready")

        jobs = {"chat": (self.metrics, "/metrics")}
        config = parts.prometheus_config(parts.RULES, self.alertmanager, jobs)
        prometheus = parts.prometheus(self.folder, self.prometheus, config)
        self._add(prometheus, self.prometheus, "/-/ready")

        self._serve()
        self._follow(self._add(parts.load(self.folder, self.chat, self._users)))

    def stop(self) -> None:
        """In reverse: the service can still tell the others its last."""
        for part in reversed(self._parts):
            part.stop()

        for listener in self._listeners:
            listener.join(1)

    def ended(self) -> Part | None:
        """A part that should run and does not."""
        return next((part for part in self._parts if part.process.poll() is not None), None)

    def leak(self) -> None:
        ask(f"http://{HOST}:{self.chat}/slip", post=True)

    def kill(self) -> None:
        """SIGKILL for the service; the next one finds what it left in the trace directory."""
        (service,) = (part for part in self._parts if part.name == "chat")
        service.kill()
        self._parts.remove(service)
        self._serve()

    def _serve(self) -> None:
        config = self.folder / "ws-audit.toml"
        toml = (parts.HERE / "ws-audit.toml").read_text()
        config.write_text(parts.put(toml, "pager:8080", f"{HOST}:{self.pager}"))
        service = parts.chat(
            self.folder,
            self.chat,
            self._users,
            {
                "WS_AUDIT_ENABLED": "1",
                "WS_AUDIT_CONFIG": str(config),
                "WS_AUDIT_TRACE_DIR": str(self.store),
                "WS_AUDIT_METRICS_ADDR": f"{HOST}:{self.metrics}",
                "WS_AUDIT_HASH_KEY": self._key,
                "OTEL_SERVICE_NAME": "chat",
                "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{HOST}:{self.grpc}",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            },
        )
        self._add(service, self.chat, "/health")

    def _add(self, part: Part, port: int = 0, path: str = "") -> Part:
        self._parts.append(part)

        if port:
            await_page(part, f"http://{HOST}:{port}{path}")

        return part

    def _follow(self, part: Part) -> None:
        """What it says, as it comes."""

        def copy() -> None:
            for line in part.lines():
                say(f"[{part.name}] {line}")

        listener = threading.Thread(target=copy, daemon=True)
        listener.start()
        self._listeners.append(listener)


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def introduce(stack: Local) -> None:
    prometheus = f"http://{HOST}:{stack.prometheus}{pages(stack.prometheus)}"
    say(
        f"""
The example runs under audit, and eight users chat. Everything is in {stack.folder}

  alerts         {prometheus}/alerts
  by numbers     {prometheus}/graph?g0.expr=ws_audit_violations_total
  routed         amtool --alertmanager.url=http://{HOST}:{stack.alertmanager} alert
  the agent's    http://{HOST}:{stack.metrics}/metrics
  spans          {stack.folder / "collector.log"}
  who saw whose  ws-audit review {stack.store}
  all judged?    ws-audit doctor {stack.store}

Enter leaks one frame. k kills the service (-9) and starts it again. q or Ctrl-C ends it all.
[load] is what a client saw; [pager] is what woke somebody.
"""
    )


def pages(port: int) -> str:
    """Where this Prometheus has its pages: Debian's has only those of old."""
    try:
        ask(f"http://{HOST}:{port}/classic/alerts")
    except OSError:
        return ""

    return "/classic"


def carry_on(stack: Local, leak_at: float) -> None:
    """Until somebody ends it, or a part of it has ended."""
    listening = True

    while (gone := stack.ended()) is None:
        if time.monotonic() > leak_at:
            leak_at = float("inf")
            stack.leak()
            say("a frame is about to go to the wrong user")

        told, _, _ = select.select([sys.stdin] if listening else [], [], [], 0.2)

        if told:
            line = sys.stdin.readline()
            listening = bool(line)  # a closed standard input is no order

            if line.strip() == "q":
                return
            if line.strip() == "k":
                stack.kill()
                say("the service was killed, and is back")
            elif line:
                stack.leak()
                say("a frame is about to go to the wrong user")

    raise StackError(f"{gone.name} has ended by itself: see {gone.log}")


def interrupted(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(prog="examples.stack.local", description="The stack, here.")
    parser.add_argument("--leak", action="store_true", help="leak one frame after ten seconds")
    parser.add_argument("--folder", type=Path, help="for data and logs (default: a new one)")
    options = parser.parse_args()
    stack = Local(options.folder or Path(tempfile.mkdtemp(prefix="ws-audit-stack-")))

    # A plain kill and a closed terminal end us as Ctrl-C does: nothing is left running.
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, interrupted)

    try:
        stack.start()
        introduce(stack)
        carry_on(stack, time.monotonic() + LEAK_AFTER if options.leak else float("inf"))
    except KeyboardInterrupt:
        say("")
    except StackError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    finally:
        stack.stop()

    say(f"All stopped. What was found stays in {stack.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
