# SPDX-License-Identifier: Apache-2.0
"""Run once, at the end."""

from __future__ import annotations

from benchmarks.leaks.case import Defect, Swap

from . import clients

DEFECTS = [
    Defect(
        "notifier_per_tenant",
        "shared_state",
        "notifiers are kept per tenant to save memory: the first colleague's serves everybody",
        "JoshuaC215/agent-service-toolkit#308 (one instance carries what is per user)",
        "routing",
        (
            Swap(
                "realtime.py",
                "        notifier = self._notifiers.get(member.subject)\n",
                "        notifier = self._notifiers.get(member.tenant)\n",
            ),
            Swap(
                "realtime.py",
                "self._notifiers[member.subject] = MemberNotifier(member)",
                "self._notifiers[member.tenant] = MemberNotifier(member)",
            ),
        ),
        clients.reminders_at_work,
    ),
    Defect(
        "personal_board_by_name",
        "ownership",
        "channels of personal boards are keyed by the board's name alone",
        "Senthil455/Atlas-Workforce-System#196 (channels keyed by name, no tenant)",
        "identity",
        (Swap("realtime.py", 'f"personal:{member.subject}:{board}"', 'f"personal:{board}"'),),
        clients.personal_boards,
    ),
    Defect(
        "outbox_worker_context",
        "emitter",
        "the worker takes the member from the context it was started in, the first request's",
        "ogx-ai/ogx#5221 (create_task copies the first request's context into a worker)",
        "identity",
        (
            Swap(
                "realtime.py",
                "            notifiers.for_member(member).notify(event, **body)\n",
                "            notifiers.for_member(current_member.get()).notify(event, **body)\n",
            ),
            Swap(
                "realtime.py",
                "from members import Member\n",
                "from members import Member, current_member\n",
            ),
        ),
        clients.reminders_of_two,
    ),
]
