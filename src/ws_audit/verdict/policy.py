# SPDX-License-Identifier: Apache-2.0
"""What a declared policy excuses: five kinds of exception, each a positive match.

Why it exists: presence, rooms, shared documents and support consoles show people other
people's data on purpose. Nothing but what somebody declared, with a reason, is excused.

It must never excuse a canary, an argument that names somebody else because of what the message
is (the caller said whom it was for), or anything because something is missing. It decides from
its arguments alone: with the answers a record carries, the record can be judged again.
"""

from __future__ import annotations

import datetime as dt
import fnmatch
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from ws_audit.configuration.policy_tables import (
    BROADCAST,
    FRAMEWORKS,
    IMPERSONATION,
    ROOM,
    SHARE,
    SYSTEM,
)
from ws_audit.model import (
    INCOMPARABLE,
    NO_EVIDENCE,
    UNDECLARED_BROADCAST,
    VIOLATION,
    WEAK,
    Evidence,
    Inputs,
    Verdict,
)
from ws_audit.principals.identity import DIFFERENT, SAME, agree, principal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ws_audit.configuration.policy_tables import PolicyTable

# (membership, where the room or resource is named) -> whether the connection's user belongs to it.
Belongs = Callable[[str, str], bool]

# What the message is about may be somebody else's; "": nothing was known of it at all.
_CONTENT: Final = frozenset({"", "payload", "instance", "resource", "context"})
_DISSENTS: Final = frozenset({"argument", "payload", "instance", "resource", "context"})
# Kind -> the dissents it may excuse. A canary is in none.
EXCUSES: Final = {
    BROADCAST: _CONTENT,
    ROOM: _CONTENT,
    SHARE: _CONTENT,
    # A support console is sent what is meant for the customer, by name.
    IMPERSONATION: _DISSENTS,
    SYSTEM: _DISSENTS,
}
_UNKNOWN: Final = (UNDECLARED_BROADCAST, NO_EVIDENCE)
_EVENTS: Final = 4_096
_DAY_NS: Final = 86_400_000_000_000


class Rule(NamedTuple):
    """A policy, ready to be asked."""

    number: int
    kind: str
    until_ns: int  # 0: for ever
    takes: Callable[[str], object]  # an event's name
    membership: str
    where: str
    users: frozenset[str]
    events: frozenset[str]  # as they are listed: names and patterns


class Policies:
    """The declared policies of one process."""

    def __init__(self, tables: tuple[PolicyTable, ...]) -> None:
        # Those that need nobody's answer first: then a callable is asked only if it must be.
        self._rules = sorted(map(_rule, tables), key=lambda rule: rule.membership != "")
        self._by_event: dict[str, tuple[Rule, ...]] = {}

    def excuse(
        self,
        verdict: Verdict,
        evidence: tuple[Evidence, ...],
        event: str,
        time_ns: int,
        belongs: Belongs,
    ) -> tuple[Rule, ...]:
        """The policies that excuse each piece of evidence that does not agree; () if not all."""
        unsettled = _unsettled(verdict, evidence)
        rules = self._in_force(event, time_ns)
        if not unsettled or not rules:
            return ()
        candidates = [[rule for rule in rules if _may(rule, evidence[0], one)] for one in unsettled]
        if not all(candidates):
            return ()
        found = []
        for possible in candidates:
            for rule in possible:
                if not rule.membership or belongs(rule.membership, rule.where):
                    found.append(rule)
                    break
            else:
                return ()
        return tuple(found)

    def members(self, event: str, time_ns: int) -> list[Rule]:
        """The policies whose function says who may see a message of this event; not if all may."""
        rules = self._in_force(event, time_ns)
        if any(rule.kind == BROADCAST for rule in rules):
            return []
        return [rule for rule in rules if rule.membership and rule.membership not in FRAMEWORKS]

    def _in_force(self, event: str, time_ns: int) -> list[Rule]:
        rules = self._by_event.get(event)
        if rules is None:
            if len(self._by_event) >= _EVENTS:
                self._by_event.clear()
            rules = tuple(rule for rule in self._rules if rule.takes(event))
            self._by_event[event] = rules
        return [rule for rule in rules if not rule.until_ns or time_ns < rule.until_ns]


def first(
    asked: Iterable[tuple[Policies, str]],
    verdict: Verdict,
    evidence: tuple[Evidence, ...],
    time_ns: int,
    belongs: Belongs,
) -> tuple[tuple[Rule, ...], str]:
    """The policies that excuse it under the first name it goes by that will do, and that name."""
    for policies, event in asked:
        rules = policies.excuse(verdict, evidence, event, time_ns, belongs)
        if rules:
            return rules, event
    return (), ""


def refuted(answers: Iterable[tuple[str, str, bool]]) -> bool:
    """Whether a room was asked for, and the connection's user is none of its members."""
    return not all(answer for _, _, answer in answers)


def as_recorded(inputs: Inputs) -> Belongs:
    """The answers as they were: for judging a record again."""
    return lambda membership, where: (membership, where, True) in inputs.answers


def until_ns(table: PolicyTable) -> int:
    """When a policy ends, at the end of its last day in UTC; 0: it does not."""
    if not table.expires:
        return 0
    epoch = dt.date(1970, 1, 1)
    return ((dt.date.fromisoformat(table.expires) - epoch).days + 1) * _DAY_NS


def _rule(table: PolicyTable) -> Rule:
    takes: Callable[[str], object] = re.compile(
        "|".join(map(fnmatch.translate, table.events or ("*",)))
    ).fullmatch
    users = ((principal(text), text) for text in table.users)
    return Rule(
        table.number,
        table.kind,
        until_ns(table),
        takes,
        table.membership,
        table.where,
        frozenset(text if who is None else who.user for who, text in users),
        frozenset(table.events),
    )


def _unsettled(verdict: Verdict, evidence: tuple[Evidence, ...]) -> list[Evidence | None]:
    """The evidence that must be excused; None stands for "there is none". Empty: nothing can be."""
    if verdict.verdict == VIOLATION:
        if not verdict.rule.endswith("_vs_connection"):
            return []
        return [
            one
            for one in evidence[1:]
            if agree(evidence[0], one.principal) == DIFFERENT and _counts(one.name, verdict.rule)
        ]
    if verdict.reason == INCOMPARABLE:
        return [one for one in evidence[1:] if agree(evidence[0], one.principal) != SAME]
    return [None] if verdict.reason in _UNKNOWN else []


def _counts(name: str, rule: str) -> bool:
    """Whether such evidence had a say: for whom a task runs only where nothing else was said."""
    if name == "context":
        return rule == "context_vs_connection"
    return name != "thread_as_user"  # which names nobody


def _may(rule: Rule, connection: Evidence, item: Evidence | None) -> bool:
    """Whether a policy may excuse this, as far as can be said without asking anybody."""
    if ("" if item is None else item.name) not in EXCUSES[rule.kind]:
        return False
    if rule.kind == SYSTEM:
        return item is not None and item.principal.user in rule.users
    if rule.kind == IMPERSONATION:
        # Not if only the client says that it is the support console.
        return connection.strength != WEAK and any(
            who.user in rule.users for who in (connection.principal, *connection.aliases)
        )
    return True
