# SPDX-License-Identifier: Apache-2.0
"""The chat that began as FastAPI's WebSocket tutorial."""

from __future__ import annotations

from benchmarks.leaks.case import Benign, Defect, Swap

from . import clients

DEFECTS = [
    Defect(
        name="personal_to_everybody",
        category="recipient",
        what="send_personal_message goes through all connections instead of the user's own",
        source="BG8CFB/TradingAgents-CN websocket_manager.broadcast_to_user (leaks.md)",
        carries="routing",
        swaps=(
            Swap(
                "manager.py",
                """        for connection in list(self.active_connections.get(user_id, [])):
            await self._send(connection, message)

    async def broadcast(""",
                """        connections = [one for many in self.active_connections.values() for one in many]
        for connection in connections:
            await self._send(connection, message)

    async def broadcast(""",
            ),
        ),
        scenario=clients.notes_of_everybody,
    ),
    Defect(
        name="notification_broadcast",
        category="recipient",
        what="a notification for one user is broadcast; the front end is meant to filter",
        source="AntaREST#417, booklore#939/940: broadcast instead of to the user (evidence.md)",
        carries="routing",
        swaps=(
            Swap(
                "notifications.py",
                "    await manager.send_personal_message(notification, user_id)\n",
                "    await manager.broadcast(notification)\n",
            ),
        ),
        scenario=clients.notifications,
    ),
    Defect(
        name="drafts_on_the_class",
        category="shared_state",
        what="the drafts are a class attribute: one list for all workspaces",
        source="langchain-ai/langchain#10764 (leaks.md)",
        carries="content",
        swaps=(
            Swap(
                "notes.py",
                """    def __init__(self, user_id: int):
        self.user_id = user_id
        self.drafts: List[dict] = []
""",
                """    drafts: List[dict] = []

    def __init__(self, user_id: int):
        self.user_id = user_id
""",
            ),
        ),
        scenario=clients.drafts,
    ),
    Defect(
        name="digest_last_request",
        category="shared_state",
        what="the one digest service remembers the user of the last request",
        source="xorbitsai/xagent#1282; redhat-data-and-ai/template-agent#220 (leaks.md)",
        carries="routing",
        swaps=(
            Swap(
                "notes.py",
                """        template = await self._template()
        items = [note["text"] for note in NOTES.values() if note["owner_id"] == user.id]
        return {
            "type": "digest",
            "user_id": user.id,
            "headline": template.format(name=user.name, count=len(items)),
""",
                """        self.user = user
        template = await self._template()
        items = [note["text"] for note in NOTES.values() if note["owner_id"] == self.user.id]
        return {
            "type": "digest",
            "user_id": self.user.id,
            "headline": template.format(name=self.user.name, count=len(items)),
""",
            ),
        ),
        scenario=clients.digests,
    ),
    Defect(
        name="inbox_reset_to_shared_list",
        category="shared_state",
        what="reading everything sets the inbox to the one default list instead of a new one",
        source="reflex-dev/reflex#1888: reset assigns the class default itself (leaks.md)",
        carries="routing",
        swaps=(
            Swap(
                "notifications.py",
                "    def __init__(self):\n        self.unread",
                "    EMPTY: List[dict] = []\n\n    def __init__(self):\n        self.unread",
            ),
            Swap(
                "notifications.py",
                "        self.unread[user_id] = []\n",
                "        self.unread[user_id] = self.EMPTY\n",
            ),
        ),
        scenario=clients.read_and_come_back,
    ),
    Defect(
        name="note_without_owner_check",
        category="ownership",
        what="a note is opened by its number, whoever's it is",
        source="open-webui CVE-2026-45349: ownership of the id not checked (leaks.md)",
        carries="identity",
        swaps=(
            Swap(
                "app.py",
                '        if note is None or note["owner_id"] != user.id:\n',
                "        if note is None:\n",
            ),
        ),
        scenario=clients.open_by_number,
    ),
    Defect(
        name="reminder_worker_context",
        category="emitter",
        what="the worker, started by the first user, reminds whoever its context names",
        source="ogx-ai/ogx#5221: create_task copies the first request's variable (leaks.md)",
        carries="identity",
        swaps=(
            Swap(
                "notifications.py",
                '        await manager.send_personal_message(message, reminder["user_id"])\n',
                "        await manager.send_personal_message(message, current_user_var.get().id)\n",
            ),
            Swap(
                "notifications.py",
                "from users import User\n",
                "from users import User, current_user_var\n",
            ),
        ),
        scenario=clients.reminders,
    ),
]

BENIGN = [
    Benign(
        name="presence",
        kind="presence",
        what="everybody is told who comes and goes, with that user's id as user_id",
        source="ConnectionManager tutorials grown a presence broadcast; Mattermost status_change",
        scenario=clients.presence,
    ),
    Benign(
        name="typing",
        kind="typing",
        what="the others in a room are told who types, user_id being the typist's",
        source="Mattermost's and Rocket.Chat's typing events",
        scenario=clients.typing,
    ),
    Benign(
        name="room_chat",
        kind="room chat with sender ids",
        what="a room's messages carry the author as user_id and reach all members",
        source="Zulip, Matrix, every chat room on FastAPI",
        scenario=clients.room_chat,
    ),
    Benign(
        name="mentions",
        kind="mentions",
        what="who is mentioned gets a personal message that names who mentioned them",
        source="GitHub's, Slack's and Mattermost's mention notifications",
        scenario=clients.mentions,
    ),
    Benign(
        name="direct_message_echo",
        kind="direct message echo to the author's own devices",
        what="the author's devices get the message with recipient_id of the other person",
        source="Telegram and Signal linked devices; Matrix local echo",
        scenario=clients.direct_messages,
    ),
    Benign(
        name="devices",
        kind="several devices",
        what="one user on up to four sockets, all of which get what is private to them",
        source="ConnectionManager with Dict[user_id, List[WebSocket]]",
        scenario=clients.devices,
    ),
    Benign(
        name="moderation",
        kind="moderation notice",
        what="room and moderators see whose message was removed, as user_id, and by whom",
        source="Discourse's flag queue, Discord's audit-log channel",
        scenario=clients.moderation,
    ),
    Benign(
        name="invitations",
        kind="invitations naming the inviter",
        what="the invitee gets the inviter's id and e-mail, the inviter the invitee's id",
        source="Matrix m.room.member invites, Slack's channel invitations",
        scenario=clients.invitations,
    ),
]
