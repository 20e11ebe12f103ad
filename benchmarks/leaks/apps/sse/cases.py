# SPDX-License-Identifier: Apache-2.0
"""The notes service's cases."""

from __future__ import annotations

from benchmarks.leaks.case import Benign, Defect, Swap

from . import clients

USERS_BY = "email"

DEFECTS = [
    Defect(
        "one-memory",
        "shared_state",
        "the assistant, one per process, keeps the conversation itself",
        "aws/agentcore-cli PR#1314: module-global agent accumulates everybody's history",
        "content",
        (
            Swap(
                "assistant.py",
                "        self.open: dict[str, Question] = {}\n",
                "        self.open: dict[str, Question] = {}\n"
                "        self.memory: list[str] = []\n",
            ),
            Swap(
                "assistant.py",
                "        messages = question.thread.messages\n"
                "        messages.append(question.text)\n"
                "        async for piece in self.model.stream(list(messages)):\n",
                "        question.thread.messages.append(question.text)\n"
                "        self.memory.append(question.text)\n"
                "        async for piece in self.model.stream(list(self.memory)):\n",
            ),
        ),
        clients.questions,
    ),
    Defect(
        "current-question",
        "shared_state",
        "the question in hand is an attribute of the one assistant: the next one overwrites it",
        "xorbitsai/xagent#1282: process-wide service's request overwritten by each request",
        "identity",
        (
            Swap(
                "assistant.py",
                "        self.open[question.id] = question\n",
                "        self.question = question\n        self.open[question.id] = question\n",
            ),
            Swap(
                "assistant.py",
                "            await question.approved.wait()\n",
                "            await question.approved.wait()\n        question = self.question\n",
            ),
        ),
        clients.approvals,
    ),
    Defect(
        "thread-not-checked",
        "ownership",
        "a thread's stream opens for whoever knows its id; the first event holds all messages",
        "aegra CVE-2026-44504",
        "identity",
        (
            Swap(
                "app.py",
                "    thread = threads.get(thread_id)\n"
                "    if thread.owner != me.email:\n"
                '        raise HTTPException(404, "no such thread")\n',
                "    thread = threads.get(thread_id)\n",
            ),
        ),
        clients.thread_links,
    ),
    Defect(
        "job-of-the-tenant",
        "ownership",
        "a job belongs to the tenant rather than to the person who started it",
        "pipefy/ai-toolkit#548: owner degrades to the OAuth client_id",
        "routing",
        (
            Swap(
                "app.py",
                "if job is None or job.started_by != me.email:",
                "if job is None or job.tenant != me.tenant:",
            ),
        ),
        clients.exports,
    ),
    Defect(
        "answer-cache-key",
        "content",
        "quick answers are remembered by the question's words, without the user",
        "Klarna 2021-05-27; prompt caches keyed by the prompt alone",
        "content",
        (Swap("assistant.py", "key = (user.email, words)", "key = words"),),
        clients.quick_answers,
    ),
    Defect(
        "batch-order",
        "content",
        "a batch's results are handed out in the order in which they were finished",
        "vllm-project/vllm#13408, #9910: responses mixed between concurrent requests",
        "content",
        (
            Swap(
                "assistant.py",
                "summaries = await asyncio.gather(*calls)",
                "summaries = [await done for done in asyncio.as_completed(calls)]",
            ),
        ),
        clients.summaries,
    ),
    Defect(
        "publish-to-all",
        "recipient",
        "a message for one inbox is put into every subscriber's queue",
        "BG8CFB/TradingAgents-CN: broadcast_to_user sends to every connection; wikimind PR#208",
        "routing",
        (
            Swap(
                "broker.py",
                "        for subscription in self._subscribers[channel]:\n"
                "            subscription.queue.put_nowait(message)\n",
                "        for subscriptions in self._subscribers.values():\n"
                "            for subscription in subscriptions:\n"
                "                subscription.queue.put_nowait(message)\n",
            ),
        ),
        clients.notes,
    ),
    Defect(
        "digest-late-binding",
        "recipient",
        "a callback made in a loop looks up the recipient when it runs: it is the last one",
        "gradio-app/gradio#4697: output meant for another user; Python's late-binding closures",
        "routing",
        (
            Swap(
                "work.py",
                "task.add_done_callback(partial(self._deliver, user.email))",
                "task.add_done_callback(lambda done: self._deliver(user.email, done))",
            ),
        ),
        clients.digests,
    ),
]

BENIGN = [
    Benign(
        "team-activity",
        "batch messages listing many users",
        "one message lists all colleagues, and everybody gets it",
        "GitHub and Linear team digests; presence_state of Phoenix",
        clients.team_activity,
    ),
    Benign(
        "support-exports",
        "job progress for who started it",
        "a worker reports the progress of an export of one account to the other who started it",
        "data subject requests in help desks (Zendesk, Discourse exports)",
        clients.support_exports,
    ),
    Benign(
        "replays",
        "history replay on reconnect",
        "what was missed is sent again on a new connection, by Last-Event-ID",
        "EventSource as browsers have it; Mercure's hub, sse-starlette applications",
        clients.replays,
    ),
    Benign(
        "typed-addresses",
        "e-mail case differences",
        "the recipient's address in the payload is written as somebody typed it",
        "Jira, Asana and mail-based task assignment",
        clients.typed_addresses,
    ),
    Benign(
        "boards",
        "shared dashboard",
        "updates name the board's owner and whoever changed it, for all members",
        "Grafana and Metabase shared dashboards, Trello boards",
        clients.boards,
    ),
]
