# SPDX-License-Identifier: Apache-2.0
"""Agent runs, each worked on at one of four desks."""

import itertools
from collections.abc import Callable, Coroutine
from typing import Any

from .agents.bridge import get_bridge
from .agents.emitter import pool
from .legacy import factory as legacy
from .realtime import create_websocket_manager, get_websocket_manager

Desk = Callable[[str, str], Coroutine[Any, Any, None]]


async def front_desk(user_id: str, run_id: str) -> None:
    """Each event by the way that was the newest when it was added."""
    await get_websocket_manager(user_id).send_to_user(user_id, "agent_started", run_id)
    await get_websocket_manager().send_to_user("agent_thinking", run_id, user_id)
    await pool.of(user_id).emit_event("tool_executing", run_id)
    message = {"type": "tool_completed", "run_id": run_id}
    await legacy.get_websocket_manager().send_personal_message(message, user_id)
    await get_bridge().emit_event(user_id, "agent_completed", run_id)


async def agent_desk(user_id: str, run_id: str) -> None:
    """The agents' team uses its bridge, and for one event already what is to replace it."""
    bridge = get_bridge()
    await bridge.emit_event(user_id, "agent_started", run_id)
    manager = await create_websocket_manager()
    await manager.send_to_user(user_id, "agent_thinking", run_id)
    await pool.of(user_id).emit_event("tool_executing", run_id)
    await bridge.emit_event(user_id, "tool_completed", run_id)
    await bridge.emit_event(user_id, "agent_completed", run_id)


async def new_desk(user_id: str, run_id: str) -> None:
    """Moved to the asynchronous factory. Nothing is raised, and nothing arrives."""
    manager = await create_websocket_manager()
    for event in ("agent_started", "agent_thinking"):
        await manager.send_to_user(user_id, event, run_id)
    await pool.of(user_id).emit_event("tool_executing", run_id)
    for event in ("tool_completed", "agent_completed"):
        await manager.send_to_user(user_id, event, run_id)


DESKS: tuple[Desk, ...] = (front_desk, agent_desk, front_desk, new_desk)
_numbers = itertools.count()


async def work(user_id: str, run_id: str) -> None:
    """One run, at the next desk."""
    await DESKS[next(_numbers) % len(DESKS)](user_id, run_id)
