# SPDX-License-Identifier: Apache-2.0
# The floor is on the path of these processes, but of no type checker.
# mypy: disable-error-code="import-not-found"
"""Parent and child, each with frames of its own, each with a metrics page of its own.

python ports.py PORT PORT
"""

from __future__ import annotations

import os
import socket
import sys
import time
from urllib.request import ProxyHandler, build_opener

import floor


def page(port: str) -> float:
    """The frames a metrics page counts."""
    with build_opener(ProxyHandler({})).open(f"http://127.0.0.1:{port}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return sum(
        float(line.split()[-1]) for line in lines if line.startswith("ws_audit_frames_total")
    )


def main() -> None:
    audited = floor.serve()
    floor.some(audited, 20, 1)
    pid = os.fork()
    if not pid:
        floor.some(audited, 7, 2)
        while not taken(sys.argv[2]):
            time.sleep(0.01)
        floor.tell(parents=page(sys.argv[1]), childs=page(sys.argv[2]))
        sys.exit(0)
    assert floor.reap(pid) == 0


def taken(port: str) -> bool:
    """Whether the child's worker has come so far."""
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", int(port))) == 0


if __name__ == "__main__":
    main()
