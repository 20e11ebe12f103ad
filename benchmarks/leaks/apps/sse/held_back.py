# SPDX-License-Identifier: Apache-2.0
"""The notes service's defects that are run once, at the end."""

from __future__ import annotations

from benchmarks.leaks.case import Defect, Swap

from . import clients

DEFECTS = [
    Defect(
        "thread-in-body",
        "ownership",
        "a thread named in the body is taken as it is",
        "deer-flow #3472/#3473: thread_id in body bypasses the owner check",
        "identity",
        (Swap("app.py", "threads.owned(body.thread_id, me) if", "threads.get(body.thread_id) if"),),
        clients.thread_in_body,
    ),
    Defect(
        "notifier-of-the-tenant",
        "emitter",
        "notifiers are cached by tenant: a colleague's is handed out",
        "emitters re-homed between users, verdict caches keyed without the user (managers in the "
        "wild); nicegui#3219",
        "identity",
        (
            Swap(
                "broker.py",
                "        if user.email not in self._made:\n"
                "            self._made[user.email] = Notifier(self._broker, user)\n"
                "        return self._made[user.email]\n",
                "        if user.tenant not in self._made:\n"
                "            self._made[user.tenant] = Notifier(self._broker, user)\n"
                "        return self._made[user.tenant]\n",
            ),
        ),
        clients.notes,
    ),
]
