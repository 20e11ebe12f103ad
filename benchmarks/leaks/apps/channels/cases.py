# SPDX-License-Identifier: Apache-2.0
"""Deskline: Django Channels under daphne, groups per user, int ids, no database."""

from __future__ import annotations

from ...case import Benign, Defect, Swap
from . import clients

COMMAND = ("-m", "daphne", "-b", "127.0.0.1", "-p", "PORT", "-v", "0", "app:app")

DEFECTS = [
    Defect(
        "class_level_history",
        "shared_state",
        "the consumer's history became a class attribute: everybody's questions in every recap",
        "langchain-ai/langchain#10764",
        "content",
        (
            Swap("consumers.py", "    history: list[dict]\n", "    history: list[dict] = []\n"),
            Swap("consumers.py", "        self.history = []\n", ""),
        ),
        clients.two_conversations,
    ),
    Defect(
        "one_streamer",
        "shared_state",
        "one streamer for the process, pointed at whoever connected last",
        "xorbitsai/xagent#1282",
        "identity",
        (
            Swap(
                "assistant.py",
                "def streamer_for(user, send, log):\n    return Streamer(user.id, send, log)\n",
                "_streamer = None\n\n\n"
                "def streamer_for(user, send, log):\n"
                '    """Streamers are all alike, one will do."""\n'
                "    global _streamer\n"
                "    if _streamer is None:\n"
                "        _streamer = Streamer(user.id, send, log)\n"
                "    _streamer.user_id, _streamer.send, _streamer.log = user.id, send, log\n"
                "    return _streamer\n",
            ),
        ),
        clients.both_open_then_ask,
    ),
    Defect(
        "thread_not_checked",
        "ownership",
        "a thread is opened by whoever knows its id",
        "aegra CVE-2026-44504 / GHSA-m98r-6667-4wq7",
        "identity",
        (
            Swap(
                "consumers.py",
                'if thread is None or thread["owner"] != self.user.id:',
                "if thread is None:",
            ),
        ),
        clients.thread_of_another,
    ),
    Defect(
        "session_without_user",
        "ownership",
        "the backlog is kept by the browser's session name alone, and they are all called main",
        "gradio-app/gradio#2132",
        "identity",
        (Swap("assistant.py", 'return f"{user.id}/{session}"', "return session"),),
        clients.tab_comes_back,
    ),
    Defect(
        "unread_reply",
        "content",
        "a cancelled call gives its model connection back with the reply still to come",
        "redis/redis-py#2624, openai.com/blog/march-20-chatgpt-outage",
        "content",
        (
            Swap(
                "assistant.py",
                "        reply = await connection.receive()\n"
                "        self._idle.append(connection)\n"
                "        return reply\n",
                "        try:\n"
                "            return await connection.receive()\n"
                "        finally:\n"
                "            self._idle.append(connection)\n",
            ),
        ),
        clients.stopped_run,
    ),
    Defect(
        "worker_keeps_first_context",
        "emitter",
        "the export worker asks the context variable, which is a copy of the first request's",
        "ogx-ai/ogx (llama-stack)#5221",
        "identity",
        (
            Swap(
                "exports.py",
                'await notify(\n            job["user_id"],',
                "await notify(\n            current_user.get().id,",
            ),
        ),
        clients.exporting,
    ),
    Defect(
        "notify_reaches_everybody",
        "recipient",
        "notify(user_id, ...) sends to the group of the announcements",
        "BG8CFB/TradingAgents-CN broadcast_to_user",
        "routing",
        (
            Swap(
                "desk.py",
                '        f"user_{user_id}", {"type": "push", "event": {**event, "user_id": user_id}}\n',
                '        "announcements", {"type": "push", "event": {**event, "user_id": user_id}}\n',
            ),
        ),
        clients.reminders,
    ),
    Defect(
        "private_reply_to_group",
        "recipient",
        "a private reply goes to all who have the ticket open, so that all tabs get it",
        "Abbah77/Here_web-backend send_personal_message",
        "routing",
        (
            Swap(
                "consumers.py",
                "    def reply_privately(self, event):\n        self.send_json(event)\n",
                "    def reply_privately(self, event):\n"
                "        # all tabs of the user, not only this one\n"
                "        self.to_group(event)\n",
            ),
        ),
        clients.notes_in_a_ticket,
    ),
]

BENIGN = [
    Benign(
        "edit_together",
        "shared document edits",
        "edits of all members go to all members, with their author",
        "collaborative editors over Channels groups (OT or CRDT back ends, Etherpad-like)",
        clients.edit_together,
    ),
    Benign(
        "cursors",
        "collaborative cursors",
        "user_id in a cursor message is whose cursor it is",
        "awareness messages of Yjs and Liveblocks, whiteboards",
        clients.cursors,
    ),
    Benign(
        "guest_logs_in",
        "anonymous to login on one socket",
        "channels.auth.login() style: the open socket of a guest becomes a user's",
        "Channels documentation, 'How to log a user in/out'; chat widgets of shops",
        clients.guest_logs_in,
    ),
    Benign(
        "next_at_the_counter",
        "user switch after logout on one socket",
        "a terminal keeps its socket while users log out and in",
        "point-of-sale and ward terminals; channels.auth.logout() then login()",
        clients.next_at_the_counter,
    ),
    Benign(
        "hand_over",
        "hand-over of a support conversation",
        "another agent gets a conversation's history and its further messages",
        "Chatwoot and Zammad: assignment of a conversation to another agent",
        clients.hand_over,
    ),
    Benign(
        "feed",
        "followers' feed",
        "a post with its author's user_id goes to the followers",
        "Mastodon streaming and other social feeds",
        clients.feed,
    ),
]
