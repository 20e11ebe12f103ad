# SPDX-License-Identifier: Apache-2.0
"""Run once, at the end."""

from __future__ import annotations

from benchmarks.leaks.case import Defect, Swap

from . import clients

DEFECTS = [
    Defect(
        "cancelled_future_removed",
        "content",
        "a stopped question leaves the queue, its answer does not: the next in line gets it",
        "jonathanslenders/asyncio-redis#37 (replies and waiting futures out of step)",
        "content",
        (
            Swap(
                "app.py",
                "        return await future\n",
                "        try:\n"
                "            return await future\n"
                "        except asyncio.CancelledError:\n"
                "            waiting.remove(future)\n"
                "            raise\n",
            ),
        ),
        clients.stopped_question,
    ),
    Defect(
        "tell_whole_tenant",
        "recipient",
        "what is for one person is sent to all connections of their tenant",
        "Abbah77/Here_web-backend (send_personal_message sends to the user's whole channel)",
        "routing",
        (
            Swap(
                "app.py",
                "    for send in list(sockets.get(name, ())):\n        await send(message)\n\n\n"
                "async def push(",
                '    tenant = people[name]["tenant"]\n'
                '    near = [other for other in sockets if people[other]["tenant"] == tenant]\n'
                "    for send in [send for other in near for send in sockets[other]]:\n"
                "        await send(message)\n\n\n"
                "async def push(",
            ),
        ),
        clients.reminders,
    ),
]
