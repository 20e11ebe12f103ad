# SPDX-License-Identifier: Apache-2.0
"""Stands in for the pager: prints what Alertmanager and the agent's own webhook deliver.

    python -m examples.stack.pager --port 8080

Any path will do. A line for each alert or incident, with the time it came.
"""

import argparse
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def lines(path: str, body: dict[str, Any]) -> list[str]:
    """What a person on call would read of one delivery."""
    if "alerts" in body:
        return [
            f"Alertmanager {path}: {alert['labels']['alertname']} {alert['status']}"
            f" ({alert['labels'].get('severity', '?')}):"
            f" {alert['annotations'].get('summary', '')}"
            for alert in body["alerts"]
        ]

    incident = f"incident {body.get('id')} ({body.get('severity')}, {body.get('rule')})"

    return [f"ws-audit {path}: {incident}, {body.get('events')} so far"]


class Pager(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(length))

        for line in lines(self.path, body):
            sys.stdout.write(f"{time.strftime('%H:%M:%S')} {line}\n")

        sys.stdout.flush()
        self._answer()

    def do_GET(self) -> None:
        self._answer()  # a health check

    def _answer(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Nothing: only deliveries are of interest."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="examples.stack.pager", description="Print alerts.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    options = parser.parse_args()
    ThreadingHTTPServer((options.host, options.port), Pager).serve_forever()


if __name__ == "__main__":
    main()
