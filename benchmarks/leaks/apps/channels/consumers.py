# SPDX-License-Identifier: Apache-2.0
import asyncio
from urllib.parse import parse_qs

from asgiref.sync import async_to_sync
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer

import assistant
import desk
import exports
from accounts import Guest, current_user, directory


class ActionConsumer(AsyncJsonWebsocketConsumer):
    """{"action": "x", ...} is handled by do_x."""

    @property
    def user(self):
        return self.scope["user"]

    async def receive_json(self, content, **kwargs):
        action = str(content.get("action", ""))
        handler = getattr(self, f"do_{action}", None)
        if handler is None or not (self.user.is_authenticated or action == "login"):
            await self.send_json({"type": "error", "detail": f"cannot {action}"})
            return
        current_user.set(self.user)
        await handler(content)

    async def push(self, message):
        await self.send_json(message["event"])


class HomeConsumer(ActionConsumer):
    """The start page. Guests may connect and log in later."""

    async def connect(self):
        await self.accept()
        if self.user.is_authenticated:
            await self.sign_in(self.user)
        else:
            await self.send_json({"type": "auth.required"})

    async def disconnect(self, code):
        if self.user.is_authenticated:
            await self.leave_groups(self.user)

    def groups_of(self, user):
        authors = [author for author, ids in desk.followers.items() if user.id in ids]
        feeds = [f"followers_{author}" for author in authors]
        return ["announcements", f"user_{user.id}", *feeds]

    async def sign_in(self, user):
        self.scope["user"] = user
        for group in self.groups_of(user):
            await self.channel_layer.group_add(group, self.channel_name)
        await self.send_json({"type": "ready", "user": {"id": user.id, "name": user.username}})

    async def leave_groups(self, user):
        for group in self.groups_of(user):
            await self.channel_layer.group_discard(group, self.channel_name)

    async def do_login(self, content):
        user = directory.by_token(content.get("token"))
        if user is None or self.user.is_authenticated:
            await self.send_json({"type": "error", "detail": "cannot log in"})
        else:
            await self.sign_in(user)

    async def do_logout(self, content):
        await self.leave_groups(self.user)
        self.scope["user"] = Guest()
        await self.send_json({"type": "auth.required"})

    async def do_note(self, content):
        note = desk.add_note(content["text"])
        await desk.notify(self.user.id, {"type": "note.saved", "note": note})

    async def do_digest(self, content):
        await self.send_json({"type": "digest", "entries": desk.digest(self.user.id)})

    async def do_remind(self, content):
        await desk.notify(self.user.id, {"type": "reminder", "text": content["text"]})

    async def do_export(self, content):
        await self.send_json({"type": "export.queued", "job_id": await exports.submit()})

    async def do_announce(self, content):
        if self.user.is_staff:
            await desk.announce(content["text"])

    async def do_follow(self, content):
        author = int(content["user_id"])
        desk.followers[author].add(self.user.id)
        await self.channel_layer.group_add(f"followers_{author}", self.channel_name)
        await self.send_json({"type": "feed.following", "author_id": author})
        await self.channel_layer.group_send(
            f"user_{author}",
            {"type": "push", "event": {"type": "feed.follower", "actor_id": self.user.id}},
        )

    async def do_post(self, content):
        post = {
            "type": "feed.post",
            "user_id": self.user.id,
            "user_name": self.user.username,
            "text": content["text"],
        }
        await self.channel_layer.group_send(
            f"followers_{self.user.id}", {"type": "push", "event": post}
        )
        await self.send_json(post)


class AssistantConsumer(ActionConsumer):
    history: list[dict]

    async def connect(self):
        if not self.user.is_authenticated:
            await self.close(4401)
            return
        await self.accept()
        self.history = []
        self.task = None
        query = parse_qs(self.scope["query_string"].decode())
        session = query.get("session", ["main"])[0]
        log = assistant.backlog[assistant.session_key(self.user, session)]
        self.streamer = assistant.streamer_for(self.user, self.send_json, log)
        await self.send_json({"type": "connected", "resumed": len(log)})
        for event in list(log):
            await self.send_json(event)

    async def disconnect(self, code):
        if self.user.is_authenticated and self.task is not None:
            self.task.cancel()

    async def do_ask(self, content):
        thread_id, text = content["thread_id"], content["text"]
        thread = assistant.threads.setdefault(thread_id, {"owner": self.user.id, "messages": []})
        if thread["owner"] != self.user.id:
            await self.send_json({"type": "error", "detail": "no such thread"})
            return
        thread["messages"].append({"role": "user", "text": text})
        self.history.append({"role": "user", "text": text})
        self.task = asyncio.create_task(assistant.run(self.streamer, thread_id, text))

    async def do_stop(self, content):
        if self.task is not None:
            self.task.cancel()

    async def do_recap(self, content):
        """What was asked since the page was opened."""
        await self.send_json({"type": "recap", "turns": self.history[-20:]})

    async def do_open(self, content):
        thread = assistant.threads.get(content["thread_id"])
        if thread is None or thread["owner"] != self.user.id:
            await self.send_json({"type": "error", "detail": "no such thread"})
            return
        await self.send_json(
            {
                "type": "thread.history",
                "thread_id": content["thread_id"],
                "messages": thread["messages"],
            }
        )

    async def do_summary(self, content):
        summary = await assistant.daily_summary(self.user)
        await self.send_json({"type": "summary", "text": summary})


class TicketConsumer(JsonWebsocketConsumer):
    """A customer's conversation with the agent who has the ticket."""

    def connect(self):
        self.user = self.scope["user"]
        self.ticket_id = int(self.scope["url_route"]["kwargs"]["ticket_id"])
        self.ticket = desk.open_ticket(self.ticket_id, self.user)
        if self.ticket is None:
            self.close(4403)
            return
        self.group = f"ticket_{self.ticket_id}"
        async_to_sync(self.channel_layer.group_add)(self.group, self.channel_name)
        desk.draft_saved.connect(self.on_draft_saved)
        self.accept()
        self.send_json(
            {
                "type": "ticket.opened",
                "ticket": self.ticket_id,
                "customer_id": self.ticket.customer,
                "agent_id": self.ticket.agent,
                "messages": self.ticket.messages,
            }
        )

    def disconnect(self, code):
        if self.ticket is not None:
            desk.draft_saved.disconnect(self.on_draft_saved)
            async_to_sync(self.channel_layer.group_discard)(self.group, self.channel_name)

    def receive_json(self, content, **kwargs):
        if self.user.id not in (self.ticket.customer, self.ticket.agent):
            self.send_json({"type": "error", "detail": "no longer yours"})
        elif content["action"] == "say":
            self.say(content["text"])
        elif content["action"] == "draft":
            draft = {"ticket": self.ticket_id, "user_id": self.user.id, "text": content["text"]}
            desk.draft_saved.send(sender=self.__class__, draft=draft)
        elif content["action"] == "transfer" and self.user.id == self.ticket.agent:
            self.transfer(directory.get(int(content["to"])))

    def say(self, text):
        if text == "/notes":
            found = "\n".join(note["text"] for note in desk.notes[self.user.id])
            self.reply_privately({"type": "ticket.aside", "to": self.user.id, "text": found})
            return
        message = {"author_id": self.user.id, "author": self.user.username, "text": text}
        self.ticket.messages.append(message)
        self.to_group({"type": "ticket.message", "ticket": self.ticket_id, **message})

    def transfer(self, agent):
        self.ticket.agent = agent.id
        event = {
            "type": "ticket.transferred",
            "ticket": self.ticket_id,
            "from_agent": self.user.id,
            "to_agent": agent.id,
        }
        self.to_group(event)
        async_to_sync(self.channel_layer.group_send)(
            f"user_{agent.id}", {"type": "push", "event": {**event, "type": "ticket.assigned"}}
        )
        # the notice above is already on its way to this agent's tab
        async_to_sync(self.channel_layer.group_discard)(self.group, self.channel_name)

    def on_draft_saved(self, sender, draft, **kwargs):
        """Autosaved drafts appear in the user's other tabs, too."""
        if draft["ticket"] == self.ticket_id and draft["user_id"] == self.user.id:
            self.send_json(
                {
                    "type": "draft.saved",
                    "ticket": self.ticket_id,
                    "saved_by": draft["user_id"],
                    "text": draft["text"],
                }
            )

    def reply_privately(self, event):
        self.send_json(event)

    def to_group(self, event):
        async_to_sync(self.channel_layer.group_send)(self.group, {"type": "push", "event": event})

    def push(self, message):
        self.send_json(message["event"])


class DocumentConsumer(ActionConsumer):
    """Shared editing: everybody sees everybody's cursor and edits."""

    async def connect(self):
        self.slug = self.scope["url_route"]["kwargs"]["slug"]
        self.document = None
        if self.user.is_authenticated:
            self.document = desk.open_document(self.slug, self.user)
        if self.document is None:
            await self.close(4403)
            return
        self.group = f"doc_{self.slug}"
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()
        await self.send_json(
            {
                "type": "doc.snapshot",
                "doc": self.slug,
                "owner_id": self.document.owner,
                "rev": self.document.rev,
                "lines": self.document.lines,
            }
        )

    async def disconnect(self, code):
        if self.document is not None:
            await self.channel_layer.group_discard(self.group, self.channel_name)

    async def do_share(self, content):
        if self.user.id == self.document.owner:
            self.document.members.add(int(content["user_id"]))
            await self.to_group({"type": "doc.shared", "with": int(content["user_id"])})

    async def do_cursor(self, content):
        await self.to_group(
            {
                "type": "doc.cursor",
                "user_id": self.user.id,
                "line": content["line"],
                "column": content["column"],
            }
        )

    async def do_edit(self, content):
        self.document.rev += 1
        self.document.lines.append(content["text"])
        await self.to_group(
            {
                "type": "doc.edit",
                "author": {"id": self.user.id, "name": self.user.username},
                "rev": self.document.rev,
                "ops": [{"insert": content["text"]}],
            }
        )

    async def to_group(self, event):
        event = {**event, "doc": self.slug}
        await self.channel_layer.group_send(self.group, {"type": "push", "event": event})
