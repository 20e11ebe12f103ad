# SPDX-License-Identifier: Apache-2.0
"""The agent's own steps after and around a call: each may fail without a trace.

Why it exists: the guard's wrappers have these in common. It must never call the application, and
nothing may stand between a hook's `before` and the application's caller: that one is in the guard.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ws_audit.model import IsolationViolation

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeGuard

    from .meter import Meter
    from .terms import Failed, Hook, Resting, Traffic


def refused(fault: BaseException) -> bool:
    """Whether a step says in mode `block` that the application's call must not be made."""
    return type(fault) is IsolationViolation


def rests(hook: Hook) -> TypeGuard[Resting]:
    """Whether a hook wants to know when its call comes to rest."""
    return hasattr(hook, "pause")


def pause(hook: Hook, state: Any, value: Any, failed: Failed) -> None:
    """The call comes to rest."""
    if state is not None and rests(hook):
        try:
            hook.pause(state, value)
        except Exception as fault:
            failed(hook.stage, fault)


def resume(hook: Hook, state: Any, failed: Failed) -> None:
    """The call goes on."""
    if state is not None and rests(hook):
        try:
            hook.resume(state)
        except Exception as fault:
            failed(hook.stage, fault)


def over(
    after: Callable[[Any, Any, BaseException | None], None],
    state: Any,
    result: Any,
    error: BaseException | None,
    stage: str,
    failed: Failed,
    meter: Meter,
    timed: int,
) -> None:
    """The call is over."""
    if state is None:
        return
    begun = meter.begin() if timed else 0
    try:
        after(state, result, error)
    except Exception as fault:
        failed(stage, fault)
        begun = -begun
    if timed:
        meter.end(begun, after, timed)


def delivered(
    traffic: Traffic[Any],
    state: Any,
    error: BaseException | None,
    failed: Failed,
    meter: Meter,
    timed: int,
) -> None:
    """The server took a message, or raised."""
    begun = meter.begin() if timed else 0
    try:
        traffic.delivered(state, error)
    except Exception as fault:
        failed("sink", fault)
        begun = -begun
    if timed:
        meter.end(begun, getattr(traffic, "delivered", None), timed)
