# SPDX-License-Identifier: Apache-2.0
"""The agent's own metrics endpoint: one port of a range, for as long as the process audits.

Why it exists: each process of a service needs a port of its own, and a port that nobody answers
is worse than none: a scrape hangs there, and the next start cannot have it.

It must never keep a parent's port open in a forked child, nor close a descriptor that is no
longer ours.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


class Endpoint:
    """Serves a registry on the first free port of a range, from a thread of prometheus_client."""

    def __init__(self, host: str, first: int, last: int) -> None:
        self._host = host
        self._ports = range(first, last + 1)
        self._server: Any = None  # not None: it serves, at `_where`
        self._thread: Any = None
        self._where = ""
        self._identity = (0, 0)

    def open(self, registry: CollectorRegistry) -> str:
        """Begin to serve, and where; OSError, with the fix in its text, if no port is free."""
        from prometheus_client import start_http_server

        if self._server is not None:
            return self._where
        for port in self._ports:
            try:
                self._server, self._thread = start_http_server(port, self._host, registry)
            except OSError as error:
                if port == self._ports[-1]:
                    raise OSError(
                        error.errno,
                        f"WS_AUDIT_METRICS_ADDR: no free port in {self._host}:{self._ports[0]}-"
                        f"{port} ({error.strerror or error}); widen the range or free a port",
                    ) from error
            else:
                status = os.fstat(self._server.fileno())
                self._identity = (status.st_dev, status.st_ino)
                self._where = f"http://{self._host}:{port}/metrics"
                return self._where
        raise AssertionError("an empty range is refused by the settings")

    def close(self) -> None:
        """Serve no longer (disabled); the port is free and the thread has ended."""
        if self._server is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server = None

    def forget(self) -> None:
        """After a fork: let the parent's port go, or it stays taken until this child ends.

        Connections to it would wait in vain once the parent is gone. To close a listening
        socket is no I/O: the parent's goes on.
        """
        server, self._server = self._server, None
        if server is None:
            return
        try:
            status = os.fstat(server.fileno())
            ours = (status.st_dev, status.st_ino) == self._identity
        except OSError:  # an application that becomes a daemon closes every descriptor
            ours = False
        if ours:
            server.socket.close()
        else:
            server.socket.detach()
