# SPDX-License-Identifier: Apache-2.0
import asyncio
import itertools
from collections import defaultdict
from typing import Dict, List, Optional

from manager import manager
from users import User

notification_ids = itertools.count(1)
reminder_ids = itertools.count(1)


class Inbox:
    """Notifications until they are marked as read."""

    def __init__(self):
        self.unread: Dict[int, List[dict]] = defaultdict(list)

    def add(self, user_id: int, notification: dict):
        self.unread[user_id].append(notification)

    def mark_read(self, user_id: int):
        self.unread[user_id] = []


inbox = Inbox()


async def notify(user_id: int, title: str, body: str):
    notification = {
        "type": "notification",
        "notification_id": next(notification_ids),
        "user_id": user_id,
        "title": title,
        "body": body,
    }
    inbox.add(user_id, notification)
    await manager.send_personal_message(notification, user_id)


# --- reminders -----------------------------------------------------------------------------

_reminders: asyncio.Queue = asyncio.Queue()
_worker: Optional[asyncio.Task] = None


async def _send_reminders():
    while True:
        reminder = await _reminders.get()
        await asyncio.sleep(0.02)  # no burst
        message = {
            "type": "reminder",
            "reminder_id": reminder["reminder_id"],
            "text": reminder["text"],
        }
        await manager.send_personal_message(message, reminder["user_id"])


def schedule_reminder(user: User, text: str, delay: float) -> int:
    """The worker is started when somebody needs it."""
    global _worker
    if _worker is None:
        _worker = asyncio.create_task(_send_reminders())
    reminder = {"reminder_id": next(reminder_ids), "user_id": user.id, "text": text}
    asyncio.get_running_loop().call_later(delay, _reminders.put_nowait, reminder)
    return reminder["reminder_id"]
