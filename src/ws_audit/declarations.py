# SPDX-License-Identifier: Apache-2.0
"""What the settings declare of people and exceptions, put together for one process.

Why it exists: policies, memberships, the accessor and aliases need each other and the application's
functions; whoever has no such setting pays for none of it.

It must never call a declared function: it only knows who does.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from .configuration.policy_tables import ARGUMENT, FRAMEWORKS
from .hooks.asking import Asking
from .messages.payloads import Places
from .verdict.addressing import Addressing
from .verdict.excuses import Doubts, Excuses, Tenants
from .verdict.outsiders import Outsiders
from .verdict.policy import Policies, until_ns

if TYPE_CHECKING:
    from collections.abc import Callable

    from .configuration.settings import Settings
    from .tally import Tally
    from .verdict.excuses import Inside


class Declarations:
    """The declarations of one process."""

    def __init__(self, settings: Settings, tally: Tally, say: Callable[[str], None]) -> None:
        self.tables = settings.policy
        self._say = say
        self._ended: set[int] = set()
        self._asking = Asking(
            [one.membership for one in self.tables if one.membership not in ("", *FRAMEWORKS)],
            settings.identity_accessor,
            settings.identity_aliases,
            lambda: tally.add(("error", "declared")),
            say,
        )
        named = [one.where for one in self.tables if one.membership]
        # What hooks are to keep of a call, as policies name it: "" is its room.
        self.arguments = {
            where.removeprefix(ARGUMENT)
            for where in named
            if not where or where.startswith(ARGUMENT)
        }
        fields = [where for where in named if where and not where.startswith(ARGUMENT)]
        # "socketio" or "channels" -> what its transport says: whether a connection is in a room
        # now. A transport puts itself in here when it is installed.
        self.frameworks: dict[str, Inside] = {}
        excuses = None
        self.outsiders: Outsiders | None = None  # if a function says who may see what
        if self.tables:
            policies = Policies(self.tables)
            excuses = Excuses(
                policies,
                self._asking,
                Places(fields, settings.limits_payload_bytes),
                self.frameworks,
                tally,
            )
            if any(one.membership not in ("", *FRAMEWORKS) for one in self.tables):
                self.outsiders = Outsiders(policies, excuses)
        people = settings.identity_accessor or settings.identity_aliases
        tenants = None
        if settings.identity_tenant:
            tenants = Tenants(settings.identity_tenant, settings.limits_payload_bytes)
        addressing = Addressing(
            declared=bool(settings.payload_owner), limit=settings.limits_payload_bytes
        )
        self.doubts = Doubts(self._asking if people else None, excuses, tenants, addressing)

    def resolve(self) -> None:
        """A server takes the application: its functions can be found, and policies are told of."""
        self._asking.resolve()
        self.tell_expired(time.time_ns())

    def ended(self, now_ns: int) -> set[int]:
        """The numbers of the policies that hold no longer."""
        return {one.number for one in self.tables if 0 < until_ns(one) <= now_ns}

    def tell_expired(self, now_ns: int) -> None:
        """Say once of each policy that it has ended."""
        ended = self.ended(now_ns) - self._ended if self.tables else set()
        self._ended |= ended
        for table in self.tables:
            if table.number in ended:
                self._say(
                    f"[[policy]] {table.number} ({table.kind}): expired on {table.expires};"
                    " it excuses nothing any more"
                )
