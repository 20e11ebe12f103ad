# SPDX-License-Identifier: Apache-2.0
"""In-process publish/subscribe with a short memory, so that a browser can pick up again."""

import asyncio
import itertools
import json
from collections import defaultdict, deque
from collections.abc import AsyncIterator

from accounts import User

REMEMBERED = 200


class Subscription:
    def __init__(self, channel: str) -> None:
        self.channel = channel
        self.queue: asyncio.Queue[dict] = asyncio.Queue()


class Broker:
    def __init__(self) -> None:
        self._subscribers: dict[str, set[Subscription]] = defaultdict(set)
        self._remembered: dict[str, deque[dict]] = defaultdict(lambda: deque(maxlen=REMEMBERED))
        self._ids = itertools.count(1)

    def subscribe(self, channel: str, last_id: int | None = None) -> Subscription:
        subscription = Subscription(channel)
        if last_id is not None:
            for message in self._remembered[channel]:
                if message["id"] > last_id:
                    subscription.queue.put_nowait(message)
        self._subscribers[channel].add(subscription)
        return subscription

    def publish(self, channel: str, message: dict) -> None:
        message = {"id": next(self._ids), **message}
        self._remembered[channel].append(message)
        for subscription in self._subscribers[channel]:
            subscription.queue.put_nowait(message)

    async def listen(self, subscription: Subscription) -> AsyncIterator[dict]:
        """Events as sse-starlette wants them."""
        try:
            while True:
                message = await subscription.queue.get()
                yield {"id": str(message["id"]), "data": json.dumps(message)}
        finally:
            self._subscribers[subscription.channel].discard(subscription)


def inbox(email: str) -> str:
    return f"inbox:{email.casefold()}"


class Notifier:
    """Tells one user things; handed to whatever works for them."""

    def __init__(self, broker: Broker, user: User) -> None:
        self._broker = broker
        self.user = user

    def send(self, kind: str, **fields) -> None:
        self._broker.publish(inbox(self.user.email), {"type": kind, **fields})


class Notifiers:
    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._made: dict[str, Notifier] = {}

    def of(self, user: User) -> Notifier:
        if user.email not in self._made:
            self._made[user.email] = Notifier(self._broker, user)
        return self._made[user.email]
