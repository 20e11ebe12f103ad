# SPDX-License-Identifier: Apache-2.0
"""What the process did just before a violation: its last sends, kept until one happens.

Why it exists: the cause of a leak is often the call before it. Keeping everything costs
too much; keeping the last few hundred and writing them only beside a violation does not.

It must never write on the call path, and never write the same record twice.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from ws_audit.messages.intents import send_ids
from ws_audit.model import VIOLATION, Call, Delivery

if TYPE_CHECKING:
    from .spans import SpanMaker
    from .store import Store


class Neighbours:
    """A ring of settled sends, emptied into the store when a violation comes by."""

    def __init__(self, maker: SpanMaker, store: Store, size: int) -> None:
        self._maker = maker
        self._store = store
        self._ring: deque[Call] = deque(maxlen=size)

    def fold(self, record: Any) -> None:
        """Keep a send; write the kept ones when a violation passes."""
        if type(record) is Call:
            self._ring.append(record)
        elif type(record) is Delivery and record.verdict.verdict == VIOLATION:
            while self._ring:
                call = self._ring.popleft()
                ids = send_ids(call.intent_id, call.parent_trace_id)
                self._store.write_violation(self._maker.send(call, *ids))

    def tick(self, now_ns: int) -> None:
        """Nothing periodic."""

    def forget(self) -> None:
        """After a fork: the parent's sends are in the parent's ring."""
        self._ring.clear()
