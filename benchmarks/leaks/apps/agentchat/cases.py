# SPDX-License-Identifier: Apache-2.0
"""An agent chat: factories, per-user emitters and bridges, runs in the background."""

from __future__ import annotations

from benchmarks.leaks.case import Benign, Defect, Swap

from . import clients

USERS_BY = "subject"

DEFECTS = [
    Defect(
        name="bridge_singleton",
        category="shared_state",
        what="the factory keeps one bridge instead of one for each user",
        source="xorbitsai/xagent#1282, agent-service-toolkit#308: per-process object (leaks.md)",
        carries="routing",
        swaps=(
            Swap(
                "emitters.py",
                """    if context.user_id not in _bridges:
        _bridges[context.user_id] = AgentWebSocketBridge(context, create_user_manager(context))
    return _bridges[context.user_id]
""",
                """    if "bridge" not in _bridges:
        _bridges["bridge"] = AgentWebSocketBridge(context, create_user_manager(context))
    return _bridges["bridge"]
""",
            ),
        ),
        scenario=clients.web_chats,
    ),
    Defect(
        name="history_on_the_class",
        category="shared_state",
        what="the agent's history is a class attribute: every answer recalls all conversations",
        source="langchain-ai/langchain#10764; aws/agentcore-cli PR#1314 (leaks.md)",
        carries="content",
        swaps=(
            Swap(
                "agent.py",
                """    def __init__(self, thread_id: str) -> None:
        self.thread_id = thread_id
        self.history: list[str] = []
""",
                """    history: list[str] = []

    def __init__(self, thread_id: str) -> None:
        self.thread_id = thread_id
""",
            ),
        ),
        scenario=clients.cli_chats,
    ),
    Defect(
        name="router_first_handler",
        category="shared_state",
        what="one router for the process, in which the first session's handlers stay",
        source="process-wide message router, first handler wins (managers_in_the_wild.md)",
        carries="identity",
        swaps=(
            Swap(
                "router.py",
                "        self._handlers[message_type] = handler\n",
                "        self._handlers.setdefault(message_type, handler)\n",
            ),
            Swap("app.py", "    router = MessageRouter()\n", ""),
            Swap(
                "app.py",
                '@app.websocket("/ws/chat")\n',
                'router = MessageRouter()\n\n\n@app.websocket("/ws/chat")\n',
            ),
        ),
        scenario=clients.cli_chats,
    ),
    Defect(
        name="runs_by_name_alone",
        category="ownership",
        what="runs are registered by the id the client chose, without the user",
        source="Senthil455/Atlas-Workforce-System#196: keyed by name, no tenant (leaks.md)",
        carries="routing",
        swaps=(Swap("runs.py", "        return (user_id, run_id)\n", "        return run_id\n"),),
        scenario=clients.same_run_name,
    ),
    Defect(
        name="history_without_owner_check",
        category="ownership",
        what="a thread's history is given to whoever knows its id",
        source="aegra CVE-2026-44504: thread_id ownership not checked (leaks.md)",
        carries="identity",
        swaps=(
            Swap(
                "app.py",
                '        thread = threads.get_for_user(message["thread_id"], self.context.user_id)\n',
                '        thread = threads.get(message["thread_id"])\n',
            ),
        ),
        scenario=clients.foreign_thread,
    ),
    Defect(
        name="tool_cache_without_user",
        category="content",
        what="the document tool caches what it found by the query alone",
        source="verdict caches keyed without the user (managers_in_the_wild.md); litellm PR#36149",
        carries="content",
        swaps=(
            Swap("agent.py", "        key = (user_id, query)\n", "        key = query.lower()\n"),
        ),
        scenario=clients.same_question,
    ),
    Defect(
        name="model_connection_desync",
        category="content",
        what="a cancelled prompt leaves its answer in the connection, which goes back to the pool",
        source="redis/redis-py#2624, openai.com/blog/march-20-chatgpt-outage (leaks.md)",
        carries="content",
        swaps=(
            Swap(
                "agent.py",
                """        try:
            answer = await connection.complete(prompt)
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)
        return answer
""",
                """        try:
            return await connection.complete(prompt)
        finally:
            self._idle.append(connection)
""",
            ),
        ),
        scenario=clients.stopped_run,
    ),
    Defect(
        name="tool_worker_context",
        category="emitter",
        what="the tool worker, started in the first run, emits through its context's bridge",
        source="ogx-ai/ogx#5221: create_task copies the first request's variable (leaks.md)",
        carries="identity",
        swaps=(
            Swap(
                "agent.py",
                """            emitter = run.emitter
            found =""",
                """            emitter = current_emitter.get()
            found =""",
            ),
        ),
        scenario=clients.documents,
    ),
    Defect(
        name="suggestion_to_thread",
        category="recipient",
        what="a suggestion for the one who asked goes to all members of the thread",
        source="Abbah77/Here_web-backend: personal message to the whole channel (leaks.md)",
        carries="routing",
        swaps=(
            Swap(
                "emitters.py",
                "    await get_websocket_manager().send_to_user(user_id, suggestion)\n",
                "    await get_websocket_manager().send_to_thread(thread_id, suggestion)\n",
            ),
        ),
        scenario=clients.team_suggestions,
    ),
]

BENIGN = [
    Benign(
        name="assistant",
        kind="assistant actor in the payload",
        what="every answer has the assistant as author.id and user_id",
        source="OpenAI Assistants' and LangGraph's messages with role and author",
        scenario=clients.assistant,
    ),
    Benign(
        name="resumed",
        kind="resumed run after reconnect",
        what="a run goes on without its user, who comes back and is sent its events again",
        source="LangGraph Platform joinStream, AG-UI and Chainlit session restore",
        scenario=clients.resumed,
    ),
    Benign(
        name="team_thread",
        kind="team thread shared by two members",
        what="both members get the events of runs that name the one who started them as userId",
        source="ChatGPT group chats, Dust's and LibreChat's shared conversations",
        scenario=clients.team_thread,
    ),
    Benign(
        name="job_progress",
        kind="progress of a background job",
        what="a thread of a pool reports an export to the user who started it",
        source="Celery and Flower progress bars over WebSocket; ChatGPT data export",
        scenario=clients.exports,
    ),
    Benign(
        name="same_run_name",
        kind="run ids reused by name across users' own namespaces",
        what="two users both have a run-1, and resume it",
        source="CI runners and notebooks (run-1); MLflow run names; thread ids chosen by clients",
        scenario=clients.same_run_name,
    ),
    Benign(
        name="support",
        kind="support agent viewing a user's run (impersonation)",
        what="the support desk's account is sent the events of a user's run",
        source="Intercom's and Stripe's view as customer; LangSmith run viewers",
        scenario=clients.support,
    ),
]
