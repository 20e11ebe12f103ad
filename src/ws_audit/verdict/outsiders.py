# SPDX-License-Identifier: Apache-2.0
"""Who is sent what a declared membership says is others': a leak by the team's own word.

Why it exists: a `share` or `room` policy says who may see a thing. What it excuses is one half of
that; the other is that nobody else may. The design has policies excuse only: this adds evidence,
as of a resource whose owner was learned at a call.

It must never hold an answer against somebody it may not know by this identifier: only once the
same function has named connected users in the same way. Nor an old answer, nor one about nobody.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from ws_audit import naming
from ws_audit.model import CALL, MEDIUM, WEAK, Evidence
from ws_audit.principals.identity import DIFFERENT, SAME, agree

from .excuses import event_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ws_audit.evidence.resources import Resources
    from ws_audit.messages.intents import Frame
    from ws_audit.model import Principal, Resource

    from .excuses import Excuses, Members
    from .policy import Policies, Rule

_WITHOUT_CONTENT: Final = re.compile(naming.WITHOUT_CONTENT, re.IGNORECASE)
_Way = tuple[str, str]  # of identifying people: kind and shape


class Outsiders:
    """Holds deliveries against the memberships of the policies that take their events."""

    def __init__(self, policies: Policies, excuses: Excuses) -> None:
        self._policies = policies
        self._excuses = excuses
        self._proven: dict[str, set[_Way]] = {}  # membership -> how it is known to name people

    def of(
        self,
        collected: list[Evidence],
        belongs: Iterable[Resource],
        resources: Resources,
        content: object,
        frame: Frame | None,
        named: str,
        now: int,
    ) -> Evidence | None:
        """Evidence that a message is others', if its recipient is in none of its memberships.

        `collected` is what else is known, the connection first. The owner is one of the members.
        """
        event = event_of(frame, named)
        rules = self._policies.members(event, now)
        if not rules:
            return None
        connection = collected[0]
        meant = False
        for one in collected[1:]:
            result = agree(connection, one.principal)
            if result == DIFFERENT and one.name == "argument":
                return None  # no membership changes that
            meant = meant or (result == SAME and one.attests)
        found: Evidence | None = None
        for rule in rules:
            literal = event in rule.events
            if meant and not literal:
                continue  # the application has addressed them: an invitation, a refusal, ...
            members = self._members(rule, connection, belongs, resources, content, frame, now)
            if not members:
                continue
            if _inside(connection, members):
                self._proven.setdefault(rule.membership, set()).update(
                    _way(who) for who in _names(connection) if who in members
                )
                return None
            if found is None and (literal or not _WITHOUT_CONTENT.search(event)):
                owner = self._owner(rule.membership, collected, members)
                # What has no name may be a refusal as well.
                strength = MEDIUM if event else WEAK
                if owner is not None:
                    found = Evidence("resource", owner, CALL, rule.where or "room", strength, False)
        return found

    def _members(
        self,
        rule: Rule,
        connection: Evidence,
        belongs: Iterable[Resource],
        resources: Resources,
        content: object,
        frame: Frame | None,
        now: int,
    ) -> Members | None:
        """Who may see what the message names; None if it names nothing, or it is known better."""
        room = self._excuses.room(rule.where, content, frame)
        if room is None:
            return None
        known = resources.owner(belongs, str(room))
        if known is not None and agree(connection, known.principal) == SAME:
            return None  # the server has said so itself
        members = self._excuses.members(rule.membership, room, frame, now, fresh=False)
        if members and not _inside(connection, members):
            members = self._excuses.members(rule.membership, room, frame, now, fresh=True)
        return members

    def _owner(
        self, membership: str, collected: list[Evidence], members: Members
    ) -> Principal | None:
        """One of the members: whom other evidence names too, else the first."""
        connection = collected[0]
        others = [
            one
            for one in collected[1:]
            if one.principal in members and agree(connection, one.principal) == DIFFERENT
        ]
        # What is known of resources are the principals of connections.
        proven = {_way(one.principal) for one in others if one.name == "resource"}
        proven |= self._proven.get(membership, set())
        if not any(_way(who) in proven for who in _names(connection)):
            return None
        if others:
            return others[0].principal
        # A plain text in an answer counts as an id; here it is what the connection's user has.
        kind = connection.principal.kind
        named = (one for who in members for one in (who, who._replace(kind=kind)))
        return next((who for who in named if agree(connection, who) == DIFFERENT), None)


def _names(connection: Evidence) -> tuple[Principal, ...]:
    return (connection.principal, *connection.aliases)


def _inside(connection: Evidence, members: Members) -> bool:
    return any(who in members for who in _names(connection))


def _way(who: Principal) -> _Way:
    return who.kind, who.shape
