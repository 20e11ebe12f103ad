# SPDX-License-Identifier: Apache-2.0
"""Whose a resource may be: the first person to whom a message that names it was delivered.

Why it exists: many applications have no manager to be asked, and no client names an id before the
server does: the handler answers on the connection itself. That answer is then all there is.
The design has owners first seen inbound or at a call; this adds the delivery, as content.

It is the weakest evidence of all. It must never be held against the message it was learned from
(nor that text to others, if it is all there was), never make a message right, and never go on
about what is evidently shared: two other people, a room, a policy or a third report make it
nobody's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from weakref import ref

from ws_audit.configuration.policy_tables import BROADCAST, IMPERSONATION, ROOM, SHARE, SYSTEM
from ws_audit.messages.tables import push_out
from ws_audit.model import CONTENT, EXCUSED, STRONG, VIOLATION, WEAK, Evidence
from ws_audit.principals.identity import DIFFERENT, GUEST, SAME, agree, principal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ws_audit.configuration.policy_tables import PolicyTable
    from ws_audit.model import Principal, Resource, Verdict
    from ws_audit.principals.identity import Cell

    from .resources import Key, Said

REPORTS: Final = 3  # deliveries of one resource that are held against it; then it is shared
COMMON: Final = 8  # resources of one sort that went to several people, and ...
_SHARE: Final = 4  # ... every so manieth of all of them: then people share that sort
_PUBLIC: Final = (BROADCAST, ROOM, SHARE)


class _First:
    """Who was served first; no owner: several people were, or it was public."""

    __slots__ = ("alone", "answered", "cell", "mark", "other", "owner", "reports", "text", "used")

    def __init__(self) -> None:
        self.owner: Evidence | None = None
        self.cell: ref[Cell] | None = None  # the connection that was served
        self.text: int | None = None  # hash of the message it was learned from, if that has text
        self.mark: tuple[int, int] | None = None  # of the last message to its owner
        self.answered = False  # it was an answer to its owner
        self.alone = False  # its owner has had a second message of it before anybody else
        self.other: Principal | None = None  # who was served beside its owner
        self.reports = 0
        self.used = False


class Served:
    """The table: at most `most` resources, and what was pushed out of it says nothing.

    `observers` are users who see what others are sent: support consoles, the service itself.
    """

    def __init__(self, most: int, observers: frozenset[str] = frozenset()) -> None:
        self._most = most
        self._observers = observers
        self._first: dict[Key, _First] = {}
        self._gone: dict[int, None] = {}
        self._sorts: dict[str, list[int]] = {}  # what it is -> [how many are known, are shared]

    def __len__(self) -> int:
        return len(self._first)

    def of(self, resource: Resource, connection: Evidence, said: Said) -> Evidence | None:
        """Who was served first, if somebody else is now and nothing speaks for that."""
        first = self._first.get(resource.key)
        if first is None or first.owner is None or not (first.answered or first.alone):
            return None
        first.used = True
        if agree(connection, first.owner.principal) != DIFFERENT:
            return None  # that it agrees proves nothing: see docs/decisions.md
        if said.direct or said.twice or said.personal or said.unclear:
            return None
        if not first.alone and (_same(first, said) or _handed(first, said)):
            return None
        if resource.joint and (said.round or (said.mark is not None and said.mark == first.mark)):
            return None
        if first.other is not None and first.other != connection.principal:
            return None
        known = None if first.cell is None else first.cell()
        if known is not None and known.held is connection:
            return None  # somebody has logged in there meanwhile
        return None if self._common(resource.key[0]) else first.owner

    def learn(
        self,
        found: Iterable[Resource],
        connection: Evidence,
        said: Said,
        cell: Cell,
        verdict: Verdict,
    ) -> None:
        """A message that names resources nobody knows better was judged, and goes out."""
        if verdict.verdict == EXCUSED:
            if verdict.reason in _PUBLIC:
                for resource in found:
                    self._entry(resource.key).owner = None
            return
        for resource in found:
            first = self._first.get(resource.key)
            if first is None:
                self._meet(resource, connection, said, cell, verdict)
            elif first.owner is not None:
                first.used = True
                self._again(first, first.owner, resource, connection, said, cell, verdict)

    def named(self, key: Key, connection: Evidence) -> bool | None:
        """A client names it: whether it was the one to be served; None if others were.

        Its word is as good then, and nothing is kept here any more.
        """
        first = self._first.get(key)
        if first is None:
            return False
        if first.owner is None or first.other is not None:
            return None
        if agree(connection, first.owner.principal) != SAME:
            return None
        self._first.pop(key, None)
        return True

    def forget(self, key: Key) -> None:
        """Somebody knows better."""
        self._first.pop(key, None)

    def _meet(
        self,
        resource: Resource,
        connection: Evidence,
        said: Said,
        cell: Cell,
        verdict: Verdict,
    ) -> None:
        key = resource.key
        if hash(key) in self._gone or verdict.verdict == VIOLATION:
            return
        if said.round or said.personal:
            self._entry(key)
            return
        who = connection.principal
        if (
            said.answer is None  # on somebody else's behalf
            or connection.strength != STRONG
            or said.unclear
            or who.user in self._observers
            or GUEST.match(who.user)
        ):
            return
        first = self._entry(key)
        first.owner = _owner(connection, resource)
        first.cell = ref(cell)
        first.text = None if said.mark is None else said.mark[0]
        first.mark, first.answered = said.mark, said.answer
        self._sorts.setdefault(key[0], [0, 0])[0] += 1

    def _again(
        self,
        first: _First,
        owner: Evidence,
        resource: Resource,
        connection: Evidence,
        said: Said,
        cell: Cell,
        verdict: Verdict,
    ) -> None:
        result = agree(connection, owner.principal)
        if result == SAME:
            if said.round and resource.joint:
                first.owner = None
            elif not said.round:
                first.mark = said.mark
                first.answered = first.answered or bool(said.answer)
                first.alone = first.alone or not _same(first, said)
            return
        if verdict.verdict == VIOLATION:
            if verdict.dissent is not owner:
                return  # a leak all the same
            first.other = connection.principal
            first.reports += 1
            if first.reports < REPORTS:
                return
        elif first.cell is not None and first.cell() is cell:
            first.owner = _owner(connection, resource)
            return
        first.owner = None
        if result == DIFFERENT:
            self._sorts.setdefault(resource.key[0], [0, 0])[1] += 1

    def _common(self, sort: str) -> bool:
        """Whether things of this sort are mostly shared, by what was seen of others."""
        known, shared = self._sorts.get(sort, (0, 0))
        return shared >= COMMON and shared * _SHARE >= known

    def _entry(self, key: Key) -> _First:
        first = self._first.get(key)
        if first is None:
            first = self._first[key] = _First()
            if len(self._first) > self._most:
                push_out(self._first, self._gone, self._most)
        return first


def _same(first: _First, said: Said) -> bool:
    """Whether it is, word for word, the message that the owner was learned from."""
    return said.mark is not None and said.mark[0] == first.text


def _handed(first: _First, said: Said) -> bool:
    """Whether the task that has just served its owner serves others as well, one by one."""
    if said.mark is None or first.mark is None or said.round:
        return False
    return said.mark[1] == first.mark[1] != 0


def _owner(connection: Evidence, resource: Resource) -> Evidence:
    return Evidence(
        *("resource", connection.principal, CONTENT, resource.path, WEAK, False),
        connection.aliases,
    )


def observers(tables: Iterable[PolicyTable]) -> frozenset[str]:
    """Who is declared to see what others are sent, or to be nobody."""
    found = set()
    for table in tables:
        if table.kind in (IMPERSONATION, SYSTEM):
            people = ((principal(text), text) for text in table.users)
            found |= {text if who is None else who.user for who, text in people}
    return frozenset(found)
