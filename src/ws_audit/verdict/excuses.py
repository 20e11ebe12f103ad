# SPDX-License-Identifier: Apache-2.0
"""The second look at a delivery that is not simply right, and what is asked for it.

Why it exists: whether somebody is in a room is known only now, and only by the application. It
is asked when a verdict depends on it, never for a clean match; what it answers goes into the
record, so that the record can be judged again.

It must never call the application itself (hooks do), and keeps an answer for the deliveries of
one call only, for a tenth of a second.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from ws_audit.configuration.policy_tables import ARGUMENT, FRAMEWORKS
from ws_audit.messages.payloads import Places
from ws_audit.model import (
    EXCUSED,
    MATCH,
    NONE,
    OTHER,
    VIOLATION,
    Evidence,
    Inputs,
    Principal,
    Verdict,
)
from ws_audit.principals.identity import DIFFERENT, SAME, agree, principal

from .addressing import Addressing
from .judge import judge
from .policy import first, refuted

if TYPE_CHECKING:
    from ws_audit.messages.intents import Frame
    from ws_audit.principals.identity import Cell
    from ws_audit.tally import Tally

    from .policy import Policies

# What a transport answers for its framework: whether a connection is in a room now.
Inside = Callable[[object, "Cell"], bool]

EAGER: Final = 8  # times the accessor is asked whenever nobody is known; then one of so many
_PLACES: Final = 64
_FRESH_NS: Final = 100_000_000


class Members:
    """Who belongs to a room or reads a resource, as identifiers to look somebody up in."""

    __slots__ = ("_known", "_people", "_users")

    def __init__(self, people: Iterable[Principal]) -> None:
        self._people = tuple(people)
        self._known = {(one.tenant, one.user) for one in self._people}
        self._users = {user for _, user in self._known}

    def __len__(self) -> int:
        return len(self._people)

    def __iter__(self) -> Iterator[Principal]:
        return iter(self._people)

    def __contains__(self, who: Principal) -> bool:
        if who.tenant is None:
            return who.user in self._users
        # (no tenant, u) against (t, u) compares u.
        return (who.tenant, who.user) in self._known or (None, who.user) in self._known


class Answers(Protocol):
    """Calls what the settings name; see hooks.asking."""

    def members(self, name: str, room: object) -> Members | None: ...
    def aliases(self, who: Principal) -> tuple[Principal, ...]: ...
    def accessor(self, scope: dict[str, Any]) -> Evidence | None: ...


class Told(NamedTuple):
    """What is known of a delivery besides its evidence."""

    cell: Cell
    content: object
    frame: Frame | None
    named: str  # the event as the message has it
    time_ns: int
    kind: str
    note: str
    actor: Principal | None


class Tenants:
    """Reads the tenant that a message names beside its owner.

    Only under the names that `identity.tenant` has for the connection's: elsewhere a tenant's
    field holds a display name as likely as an id.
    """

    def __init__(self, paths: Iterable[str], limit: int) -> None:
        self._names = tuple(dict.fromkeys(re.split("[.:]", path)[-1] for path in paths))
        self._limit = limit
        self._places: dict[str, Places] = {}  # by where the owner stands

    def told(self, evidence: tuple[Evidence, ...], content: object) -> tuple[Evidence, ...]:
        """The evidence, its payload's owners with their tenant where it is another one."""
        tenant = principal(evidence[0].principal.tenant)
        if tenant is None:
            return evidence
        found = list(evidence)
        for index, one in enumerate(evidence):
            if one.name == "payload" and one.principal.tenant is None:
                holder = self._holder(one.source.rpartition(".")[0], content)
                # As with people: only what looks alike can be compared.
                if holder and holder.shape == tenant.shape and holder.user != tenant.user:
                    owner = one.principal._replace(tenant=holder.user)
                    found[index] = one._replace(principal=owner)
        return tuple(found)

    def _holder(self, beside: str, content: object) -> Principal | None:
        paths = [f"{beside}.{name}" for name in self._names if beside] + [*self._names]
        places = self._places.get(beside)
        if places is None:
            if len(self._places) >= _PLACES:
                self._places.clear()
            places = self._places[beside] = Places(paths, self._limit)
        return next((who for path in paths if (who := principal(places.read(content, path)))), None)


class Doubts:
    """A second look at what is not simply right: aliases, the author's own words, policies.

    `answers` is given if the settings name an accessor or aliases, `excuses` if there are policies,
    `tenants` if they say where a connection's tenant is, `addressing` weighs what dissents.
    """

    def __init__(
        self,
        answers: Answers | None = None,
        excuses: Excuses | None = None,
        tenants: Tenants | None = None,
        addressing: Addressing | None = None,
    ) -> None:
        self._answers = answers
        self._excuses = excuses
        self.tenants = tenants
        self._addressing = addressing or Addressing()

    def again(
        self, evidence: tuple[Evidence, ...], verdict: Verdict, told: Told
    ) -> tuple[tuple[Evidence, ...], Verdict, Inputs | None]:
        """The evidence as it is then, the verdict, and what policies went by."""
        if self._answers is not None and evidence and evidence[0].name == "connection":
            held = self._with_aliases(told.cell)
            if held is not None and held is not evidence[0]:
                evidence = (held, *evidence[1:])
                verdict = judge(evidence, told.kind, told.note)
        if verdict.verdict == VIOLATION and told.actor is not None:
            evidence = _own_words(evidence, told.actor)
            verdict = judge(evidence, told.kind, told.note)
        inputs = None
        if self._excuses is not None and verdict.verdict != MATCH:
            verdict, inputs = self._excuses.judged(verdict, evidence, told)
        if verdict.verdict == VIOLATION and (inputs is None or not refuted(inputs.answers)):
            evidence = self._addressing.weighed(evidence, told.cell, told.content, told.frame)
            verdict = judge(evidence, told.kind, told.note)
        return evidence, verdict, inputs

    def differ(self, cell: Cell, other: Principal) -> bool:
        """Whether somebody who seems to be another person is one, with the declared aliases."""
        held = self._with_aliases(cell)
        return held is None or agree(held, other) == DIFFERENT

    def accessor(self, cell: Cell, scope: dict[str, Any]) -> Evidence | None:
        """Who the declared accessor says it is: asked until it answers, less and less often."""
        if self._answers is None or cell.asked < 0:
            return None
        cell.asked += 1
        if cell.asked > EAGER and cell.asked % EAGER:
            return None
        found = self._answers.accessor(scope)
        if found is not None:
            cell.asked = -1  # it outranks the scope from now on
        return found

    def _with_aliases(self, cell: Cell) -> Evidence | None:
        held = cell.held or cell.claimed
        if self._answers is None or held is None or cell.aliases_of == held.principal:
            return held
        return cell.know(self._answers.aliases(held.principal))


def _own_words(evidence: tuple[Evidence, ...], actor: Principal) -> tuple[Evidence, ...]:
    """What speaks of the owner, unless the connection's own user is the author.

    A chat shows a message to who wrote it as well: that it is for somebody else is no leak.
    What is certain stays: nobody writes somebody else's token.
    """
    connection = evidence[0]
    if agree(connection, actor) != SAME:
        return evidence
    return tuple(
        one
        for one in evidence
        if one.name == "canary" or agree(connection, one.principal) != DIFFERENT
    )


class Excuses:
    """Asks the policies about one delivery at a time."""

    def __init__(
        self,
        policies: Policies,
        answers: Answers,
        places: Places,
        frameworks: dict[str, Inside],
        tally: Tally,
    ) -> None:
        self._policies = policies
        self._answers = answers
        self._places = places
        self._tally = tally
        self._frameworks = frameworks
        # The last call's room: a broadcast asks for it once, not once for each recipient.
        self._last: tuple[tuple[int, str, object], int, Members | None] | None = None

    def judged(
        self, verdict: Verdict, evidence: tuple[Evidence, ...], told: Told
    ) -> tuple[Verdict, Inputs]:
        """The verdict with the policies, and what they went by."""
        answers: list[tuple[str, str, bool]] = []

        def belongs(membership: str, where: str) -> bool:
            for known in answers:
                if known[:2] == (membership, where):
                    return known[2]
            found = self._belongs(membership, where, evidence[0], told)
            answers.append((membership, where, found))
            return found

        # A message may come to be called otherwise than its caller did: a policy names either.
        event = event_of(told.frame, told.named)
        names = (event, told.named) if told.named and told.named != event else (event,)
        asked = [(self._policies, name) for name in names]
        rules, found = first(asked, verdict, evidence, told.time_ns, belongs)
        inputs = Inputs(found if rules else event, tuple(answers))
        if not rules:
            return verdict, inputs
        for number in {rule.number for rule in rules}:
            self._tally.add(("policy", str(number)))
        return Verdict(EXCUSED, rules[0].kind), inputs

    def _belongs(self, membership: str, where: str, connection: Evidence, told: Told) -> bool:
        room = self.room(where, told.content, told.frame)
        if room is None:
            return False
        if membership in FRAMEWORKS:
            inside = self._frameworks.get(membership)
            return inside is not None and inside(room, told.cell)
        members = self.members(membership, room, told.frame, told.time_ns, fresh=False)
        return members is not None and any(
            who in members for who in (connection.principal, *connection.aliases)
        )

    def members(
        self, membership: str, room: object, frame: Frame | None, time_ns: int, *, fresh: bool
    ) -> Members | None:
        """Who belongs to it, as declared; None if that cannot be said.

        `time_ns` is the delivery's, and with `fresh` an answer for another one will not do.
        """
        key = (0 if frame is None else frame.intent.intent_id, membership, room)
        last, age = self._last, 0 if fresh or frame is None else _FRESH_NS
        if last is not None and last[0] == key and 0 <= time_ns - last[1] <= age:
            return last[2]
        found = self._answers.members(membership, room)
        self._last = (key, time_ns, found)
        return found

    def room(self, where: str, content: object, frame: Frame | None) -> object:
        """The room's or resource's identifier: an atom, or None if nobody named one."""
        if where and not where.startswith(ARGUMENT):
            return atom(self._places.read(content, where))
        name = where.removeprefix(ARGUMENT)
        while frame is not None:
            for known, room in frame.named:
                if known == name:
                    return atom(room)
            frame = frame.above
        return None


def atom(value: object) -> object:
    """The value if it is a plain identifier: what it means is the application's business."""
    if type(value) in (str, int):
        return value
    who = principal(value)
    return None if who is None else who.user


def event_of(frame: Frame | None, named: str) -> str:
    """An event's own name: a label says `other` of those no developer wrote."""
    if frame is None or frame.intent.event == NONE:
        return named
    event = frame.intent.event
    return (frame.intent.named or named) if event == OTHER else event
