# SPDX-License-Identifier: Apache-2.0
"""Audits user isolation on live WebSocket traffic.

Most applications never import this package: `WS_AUDIT_ENABLED=1` in the environment is all.
These calls are for those that start it, stop it, or know better whose connection one is.

Nothing is imported here until it is used, because the activation line loads this module in
every interpreter in which the agent is on.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as type checkers know it; `typing` itself may not be loaded yet
if TYPE_CHECKING:
    from .model import IsolationViolation

__version__ = "0.1.0"
__all__ = ["IsolationViolation", "__version__", "bind", "disable", "enable", "flush"]


def __getattr__(name: str) -> object:
    if name == "IsolationViolation":
        from .model import IsolationViolation

        return IsolationViolation
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def enable() -> None:
    """Begin auditing in this process: patch what is imported already and what will be.

    The same as `WS_AUDIT_ENABLED=1`, later. Settings come from the environment and the
    configuration file; a bad one is said once on stderr and keeps its default.
    """
    from .agent import agent

    agent().enable()


def disable() -> None:
    """Take every patch out and write what is left; the application runs as if never audited."""
    from .agent import agent

    agent().disable()


def flush(timeout: float = 5.0) -> bool:
    """Wait up to `timeout` seconds until everything recorded has left the process.

    True if it has: on disk, accepted by the collector (its answer, not the attempt) and
    taken by the webhook, as far as these are configured.
    """
    from .agent import agent

    runtime = agent().runtime
    return True if runtime is None else runtime.flush(timeout)


def bind(connection: object, user: object, *, tenant: object = None) -> None:
    """Say whose connection this is; it outranks everything the agent finds out by itself.

    `connection` is the framework's WebSocket or request object, its ASGI scope, or the `sid`
    of Socket.IO, `user` an id (str, int, UUID) or an object that has one, `tenant` the id
    within which alone it is unique.
    Without an active agent, or for a connection it has not seen, this does nothing.
    """
    import sys

    # Where nobody has switched the agent on, this is not what begins it.
    module = sys.modules.get("ws_audit.agent")
    runtime = None if module is None or module._agent is None else module._agent.runtime
    if runtime is not None:
        runtime.bind(connection, user, tenant)
