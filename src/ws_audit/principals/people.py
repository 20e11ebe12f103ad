# SPDX-License-Identifier: Apache-2.0
"""Who is connected, or was lately, by every identifier they go by: text -> what it is, and whose.

Why it exists: `{"owner": "bob"}` does not say what "bob" is. If somebody is connected by that very
name, it is one, and then it can be compared with the name another connection goes by.

It must never give a number a meaning, never let what a client says of itself be more than weak or
hide what is known of others, and never guess: what is ambiguous stays incomparable.
"""

from __future__ import annotations

from time import time_ns
from typing import TYPE_CHECKING, Final

from ws_audit.model import WEAK, Evidence, Principal
from ws_audit.naming import NO_PEOPLE

from .identity import DIFFERENT, GUEST, INCOMPARABLE, SAME, agree, compare

if TYPE_CHECKING:
    from .identity import Cell

MOST: Final = 20_000  # identifiers that clients authenticated by, and as many they only said
LATELY_NS: Final = 3_600_000_000_000  # after the last connection of that name has ended
_PEOPLE: Final = 4  # of one identifier: one that more people go by tells nobody
_RESOLVED: Final = frozenset({"payload", "argument", "instance"})  # who they name may be anything
_GREETED: Final = "login."  # the source of a claim that came with a credential

Person = tuple[Principal, ...]  # all identifiers of one connection


class _Known:
    """Who goes by one text."""

    __slots__ = ("open", "people", "seen_ns")

    def __init__(self) -> None:
        self.people: tuple[Person, ...] = ()
        self.open = 0  # connections
        self.seen_ns = 0


class People:
    """The identifiers of this process's connections; one per process."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._known: dict[str, _Known] = {}
        self._claimed: dict[str, _Known] = {}

    def __len__(self) -> int:
        return len(self._known) + len(self._claimed)

    # -- learning -----------------------------------------------------------------------------

    def met(self, cell: Cell, now_ns: int) -> None:
        """It is known whose connection this is, or by which further names they go."""
        evidence = cell.held or cell.claimed
        if evidence is cell.met or evidence is None or not cell.connection_id:
            return
        if evidence.strength == WEAK and not evidence.source.startswith(_GREETED):
            return  # an address anybody may choose
        before, cell.met = cell.met, evidence
        if before is not None:
            # Somebody else's now, unless more is known of the same person, or better.
            same = before.principal == evidence.principal or before.strength == WEAK
            self._gone(before, 0 if same else now_ns)
        table = self._table(evidence)
        person = (evidence.principal, *evidence.aliases)
        for one in person:
            if not _tells(one, person):
                continue
            known = table.pop(one.user, None)
            if known is None:
                known = _Known()
                if len(table) >= self._most:
                    _push_out(table)
            table[one.user] = known  # now the youngest
            known.open += 1
            known.seen_ns = now_ns
            if person not in known.people and len(known.people) <= _PEOPLE:
                known.people = (*known.people, person)

    def left(self, cell: Cell, now_ns: int) -> None:
        """The connection has ended: its user was here lately."""
        if cell.met is not None:
            self._gone(cell.met, now_ns)
            cell.met = None

    def forget(self) -> None:
        """After a fork: they are the parent's."""
        self._known.clear()
        self._claimed.clear()

    def _table(self, evidence: Evidence) -> dict[str, _Known]:
        return self._claimed if evidence.strength == WEAK else self._known

    def _gone(self, evidence: Evidence, now_ns: int) -> None:
        table = self._table(evidence)
        for one in (evidence.principal, *evidence.aliases):
            known = table.get(one.user)
            if known is not None:
                known.open -= 1
                known.seen_ns = now_ns
                if known.open <= 0 and not now_ns:
                    table.pop(one.user, None)

    # -- what is known ------------------------------------------------------------------------

    def here(self, text: str) -> bool:
        """Whether somebody who authenticated goes by this text, or did lately."""
        known = self._known.get(text)
        return known is not None and bool(_fresh(known, time_ns()))

    def departed(self, text: str, before_ns: int) -> bool:
        """Whether who goes by this text was connected, and had left before that moment."""
        known = self._known.get(text)
        return known is not None and known.open <= 0 and known.seen_ns < before_ns

    def resolved(self, evidence: tuple[Evidence, ...], now_ns: int) -> tuple[Evidence, ...]:
        """The evidence, where it could not be compared with the kind it is known to be of.

        Somebody who turns out to be the connection's own user bears their principal then.
        """
        connection = evidence[0]
        found: list[Evidence] | None = None
        for index, one in enumerate(evidence):
            who = one.principal
            if one.name not in _RESOLVED or agree(connection, who) != INCOMPARABLE:
                continue
            told = self._told(one, connection, now_ns)
            if told is not None:
                found = found or list(evidence)
                found[index] = told
        return evidence if found is None else tuple(found)

    def _told(self, one: Evidence, connection: Evidence, now_ns: int) -> Evidence | None:
        who, strength = one.principal, one.strength
        people = _fresh(self._known.get(who.user), now_ns)
        if not people:
            people, strength = _fresh(self._claimed.get(who.user), now_ns), WEAK
        tenant = who.tenant or connection.principal.tenant
        different, unclear = None, False
        for person in people:
            if tenant is not None and person[0].tenant not in (None, tenant):
                continue
            result, kind = _whose(person, who.user, connection)
            if result == SAME:
                return one._replace(principal=connection.principal)
            unclear = unclear or result == INCOMPARABLE  # then it may be theirs
            different = kind
        if different is None or unclear:
            return None
        # As the text stands there: an alias told later may still say whose it is.
        return one._replace(
            principal=who._replace(kind=different.kind, shape=different.shape), strength=strength
        )


def _tells(one: Principal, person: Person) -> bool:
    """Whether an identifier can tell of its bearer where it stands without its kind."""
    if one.shape == "int" or len(one.user) < 2:
        return False
    if one.shape != "opaque":
        return len(person) > 1  # it is compared by what it looks like
    return one.user.lower() not in NO_PEOPLE and not GUEST.match(one.user)


def _fresh(known: _Known | None, now_ns: int) -> tuple[Person, ...]:
    if known is None or len(known.people) > _PEOPLE:
        return ()
    if known.open <= 0 and now_ns - known.seen_ns > LATELY_NS:
        return ()
    return known.people


def _whose(person: Person, text: str, connection: Evidence) -> tuple[int, Principal | None]:
    """Whether the connection is this person's; if not, as what kind of identifier they differ."""
    own = (connection.principal, *connection.aliases)
    results = {
        (compare(mine, theirs), "name" in (mine.kind, theirs.kind))
        for mine in own
        for theirs in person
    }
    if (SAME, False) in results:
        return SAME, None
    if (SAME, True) in results:
        # Two people may bear one name, but one person has not two ids.
        return (INCOMPARABLE if (DIFFERENT, False) in results else SAME), None
    folded = text.casefold()
    if any(mine.user.casefold() == folded for mine in own):
        return INCOMPARABLE, None
    for theirs in person:
        if theirs.user == text and agree(connection, theirs) == DIFFERENT:
            return DIFFERENT, theirs
    return INCOMPARABLE, None


def _push_out(table: dict[str, _Known]) -> None:
    try:
        table.pop(next(iter(table)), None)
    except (RuntimeError, StopIteration):  # another thread is at it
        pass
