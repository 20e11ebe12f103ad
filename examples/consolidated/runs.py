# SPDX-License-Identifier: Apache-2.0
"""Agent runs."""

from .realtime import get_manager

EVENTS = ("agent_started", "agent_thinking", "tool_executing", "tool_completed", "agent_completed")


async def work(user_id: str, run_id: str) -> None:
    """One run, from its first event to its last."""
    manager = get_manager()
    for event in EVENTS:
        await manager.send_to_user(user_id, event, run_id)
