# SPDX-License-Identifier: Apache-2.0
"""Defects of the agent chat that are run once, at the end."""

from __future__ import annotations

from benchmarks.leaks.case import Defect, Swap

from . import clients

DEFECTS = [
    Defect(
        name="emitter_released_early",
        category="shared_state",
        what="the emitter goes back to the pool when the run starts; the next user's run takes it",
        source="emitter pool re-homing emitters (managers_in_the_wild.md); GitHub 2021 (evidence.md)",
        carries="identity",
        swaps=(
            Swap(
                "agent.py",
                """        await emitter.emit("agent_cancelled", run)
    finally:
        emitter_pool.release(emitter)
""",
                """        await emitter.emit("agent_cancelled", run)
""",
            ),
            Swap(
                "agent.py",
                "from emitters import current_emitter, emitter_pool, send_message",
                "from emitters import current_emitter, send_message",
            ),
            Swap(
                "app.py",
                '        run.task = asyncio.create_task(run_agent(run, message["text"]))\n',
                """        try:
            run.task = asyncio.create_task(run_agent(run, message["text"]))
        finally:
            emitter_pool.release(emitter)
""",
            ),
            Swap(
                "app.py",
                "from emitters import create_agent_bridge, get_emitter, send_message",
                "from emitters import create_agent_bridge, emitter_pool, get_emitter, send_message",
            ),
        ),
        scenario=clients.approvals,
    ),
    Defect(
        name="watch_without_check",
        category="ownership",
        what="anybody may watch anybody's run, as the support desk does",
        source="deer-flow#3472: the owner check is bypassed by ids in the body (leaks.md)",
        carries="identity",
        swaps=(
            Swap(
                "app.py",
                """        if "support" not in self.context.roles and message["user_id"] != self.context.user_id:
            await self.error("not allowed")
            return
        run = registry.latest""",
                """        run = registry.latest""",
            ),
        ),
        scenario=clients.foreign_run,
    ),
    Defect(
        name="job_without_context",
        category="emitter",
        what="the job's thread relies on the request's user, has none, and so tells everybody",
        source="Flask-SocketIO#1289: emit from a thread has no context and broadcasts (leaks.md)",
        carries="identity",
        swaps=(
            Swap(
                "managers.py",
                "        assert self._loop is not None\n",
                "        assert self._loop is not None\n"
                "        user_id = user_id or request_user.get()\n",
            ),
            Swap(
                "managers.py",
                "from auth import UserExecutionContext\n",
                "from auth import UserExecutionContext, request_user\n",
            ),
            Swap(
                "app.py",
                '        notifier.notify({**progress, "percent": percent}, user_id)\n',
                '        notifier.notify({**progress, "percent": percent})\n',
            ),
            Swap(
                "app.py",
                '    notifier.notify({"type": "job_done", "job_id": job_id, "document": lines}, user_id)\n',
                '    notifier.notify({"type": "job_done", "job_id": job_id, "document": lines})\n',
            ),
        ),
        scenario=clients.exports,
    ),
]
