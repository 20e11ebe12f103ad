# SPDX-License-Identifier: Apache-2.0
"""What goes wrong with the boards, and what only looks like it."""

from __future__ import annotations

from benchmarks.leaks.case import Benign, Defect, Swap

from . import clients

USERS_BY = "subject"

DEFECTS = [
    Defect(
        "notifier_pending_on_class",
        "shared_state",
        "reminders waiting for absent members hang on the class; whoever comes first gets all",
        "langchain-ai/langchain#10764 (history list as class attribute)",
        "routing",
        (
            Swap(
                "realtime.py",
                '    """Tells one member, on all their devices."""\n',
                '    """Tells one member, on all their devices."""\n\n'
                "    pending: list[dict[str, Any]] = []\n",
            ),
            Swap("realtime.py", "        self.pending: list[dict[str, Any]] = []\n", ""),
        ),
        clients.reminders_while_away,
    ),
    Defect(
        "draft_owner_unchecked",
        "ownership",
        "a draft is opened by its number, whoever asks",
        "open-webui CVE-2026-45349 (chat_id ownership not checked)",
        "identity",
        (Swap("app.py", "            if owner != member:\n", "            if owner is None:\n"),),
        clients.drafts,
    ),
    Defect(
        "digest_cached_per_board",
        "content",
        "the digest is cached under the board's name alone, and it is personal",
        "Klarna 2021-05-27 (cache key without the user)",
        "content",
        (Swap("app.py", "    key = (member.subject, board)\n", "    key = board\n"),),
        clients.digests,
    ),
    Defect(
        "personal_notice_to_tenant",
        "recipient",
        "a member's notices are published on the tenant's channel that all their colleagues follow",
        "AntaresSimulatorTeam/AntaREST#417 (all events sent to all users)",
        "routing",
        (
            Swap(
                "realtime.py",
                '        return f"member:{self.member.subject}"\n',
                '        return f"tenant:{self.member.tenant}"\n',
            ),
        ),
        clients.reminders_at_work,
    ),
]

BENIGN = [
    Benign(
        "team_board",
        "board with assignee ids",
        "cards on a team's board name an owner, a creator and an assignee; all members see all",
        "kanban products (Trello, Kanboard, Planka): board channels carry idMembers",
        clients.team_board,
    ),
    Benign(
        "activity_feed",
        "author's user_id in an activity feed",
        "entries of the feed have the author in user_id; the whole team reads them",
        "GitLab and Discourse activity streams: user_id is the actor's",
        clients.feed,
    ),
    Benign(
        "delegated_access",
        "delegated access",
        "an assistant adds cards for managers and gets confirmations whose owner is the manager",
        "calendar and mail delegation (Exchange, Google Workspace): on behalf of",
        clients.on_behalf,
    ),
    Benign(
        "admin_view_as",
        "admin view-as impersonation",
        "an administrator's socket follows the channel of the member they look at",
        "django-hijack, Zendesk assume user, Salesforce login as",
        clients.view_as,
    ),
]
