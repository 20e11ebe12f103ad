# SPDX-License-Identifier: Apache-2.0
"""Whose a run, thread or conversation is: the first user it was seen with.

Why it exists: a message may name nobody and still say whose it is, by the run it belongs to.

It must never be used against the message it was learned from, never let a client make somebody
else's messages look like a leak that pages, and never grow without bound: what was pushed out, or
is disputed, says nothing rather than something wrong.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ws_audit.messages.tables import push_out, remember
from ws_audit.model import CALL, INBOUND, MEDIUM, WEAK, Evidence, Principal
from ws_audit.principals.identity import DIFFERENT, SAME, agree

from .served import Served

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ws_audit.model import Resource, Verdict
    from ws_audit.principals.identity import Cell

Mark = tuple[int, int] | None  # (hash of the text, whose task); None: nothing to compare
Key = tuple[str, str]  # what it is (run, thread, ...), and its id
CLAIMS: Final = 1_000  # of one connection: a client that names more owns none of them
_OTHERS: Final = 4  # who named a resource after the first: with more it is nobody's
_THREADS: Final = ("run", "thread")
_new: Final = tuple.__new__  # a named tuple without the detour over its Python constructor
_SEVERAL: Final = 3  # whom the server named beside the owner: with so many it is all of theirs


class Said(NamedTuple):
    """What is known of a message that its resources are held against.

    `direct`: a caller or an instance named the recipient, and it is the connection's user.
    `twice`: so does the message itself. `round`: it goes to a room or is a broadcast.
    `personal`: somebody else speaks in it, or the recipient is mentioned. `asked` is what the
    client's message named that is being answered. `mark` is the same for the same text on one
    task's behalf. `answer`: the sending task answers a message of this very user; None if it
    serves somebody else. `unclear`: somebody is named who may be the connection's user.
    """

    direct: bool
    twice: bool
    round: bool
    personal: bool
    asked: frozenset[Key]
    mark: Mark
    answer: bool | None = False
    unclear: bool = False


class _Owned:
    """Whose a resource is, as the server said at a call; no owner: several people's."""

    __slots__ = ("mark", "others", "owner", "used")

    def __init__(self, owner: Evidence, mark: Mark) -> None:
        self.owner: Evidence | None = owner
        self.mark = mark  # of the last message that was sent to its owner
        self.others: tuple[Principal, ...] = ()  # who was named, and got messages of it, too
        self.used = False


class _Claimed:
    """Who named a resource first, from outside; no owner: several did before the server had."""

    __slots__ = ("by", "heard", "owner", "used")

    def __init__(self, owner: Evidence, heard: bool) -> None:
        self.owner: Evidence | None = owner
        self.by: tuple[Principal, ...] = (owner.principal,)  # all who named it; (): too many
        self.heard = heard  # the server has sent its first claimant something of it
        self.used = False


class Resources:
    """The table; `limit` entries in all.

    Half of them for what the server says at a call, a quarter for what clients say, and a quarter
    for who was merely served first.
    """

    def __init__(self, limit: int, observers: frozenset[str] = frozenset()) -> None:
        self._most = max(1, limit // 2)
        self._most_claimed = max(1, limit // 4)
        self.served = Served(self._most_claimed, observers)
        self._said: dict[Key, _Owned] = {}
        self._claimed: dict[Key, _Claimed] = {}
        # Ids the server has spoken of a thread or run by: they should not stand for users.
        self.threads: set[str] = set()
        # Hashes of what was pushed out: to learn it anew could name the wrong one.
        self._gone_said: dict[int, None] = {}
        self._gone_claimed: dict[int, None] = {}

    def __len__(self) -> int:
        return len(self._said) + len(self._claimed) + len(self.served)

    # -- what it says of a message ----------------------------------------------------------

    def quick(
        self, found: Iterable[Resource], who: Principal, mark: Mark
    ) -> tuple[bool, Evidence | None]:
        """(whether that was all, the evidence), of a message whose resources are all known.

        Nearly every message is one: its resources are the recipient's, or nobody's.
        """
        one = None
        for resource in found:
            owned = self._said.get(resource.key)
            if owned is None:
                return False, None
            owner = owned.owner
            if owner is None:
                continue
            if owner.principal is not who:
                return False, None
            owned.used = True
            if resource.joint:
                owned.mark = mark
            one = owner
        return True, one

    def of(self, found: Iterable[Resource], connection: Evidence, said: Said) -> list[Evidence]:
        """Evidence of who owns what a message names."""
        evidence = []
        for resource in found:
            owned = self._said.get(resource.key)
            one = (
                self._by_claim(resource, connection, said)
                if owned is None
                else _by_call(owned, resource, connection, said)
            )
            if one is not None and one not in evidence:
                evidence.append(one)
        return evidence

    def _by_claim(self, resource: Resource, connection: Evidence, said: Said) -> Evidence | None:
        claimed = self._claimed.get(resource.key)
        if claimed is None:
            return self.served.of(resource, connection, said)
        if claimed.owner is None:
            return None
        claimed.used = True
        if agree(connection, claimed.owner.principal) == SAME:
            claimed.heard = claimed.heard or not said.round
        elif resource.joint and said.personal:
            claimed.owner = None
        elif said.direct and not (claimed.heard and resource.key in said.asked):
            return None  # the server names somebody, unasked: it knows better than any client
        return claimed.owner

    def owner(self, found: Iterable[Resource], text: str) -> Evidence | None:
        """Whose the one of that id is, by the server's own word at a call."""
        for resource in found:
            owned = self._said.get(resource.key) if resource.key[1] == text else None
            if owned is not None:
                return owned.owner
        return None

    # -- learning -----------------------------------------------------------------------------

    def learn(
        self,
        found: Iterable[Resource],
        connection: Evidence,
        said: Said,
        cell: Cell,
        scope: dict[str, Any],
    ) -> None:
        """A message went to whom its caller named: what it is about is theirs.

        Not what this user's client has named before (in a message, or in the address it
        connected to): the server may only have repeated it.
        """
        who = connection.principal
        for resource in found:
            key = resource.key
            owned = self._said.get(key)
            if owned is not None:
                owned.used = True
                owned.mark = said.mark
                continue
            if self._is_gone(key) or key[1] in (cell.address or _address(cell, scope)):
                continue
            claimed = self._claimed.get(key)
            if claimed is not None:
                if not claimed.by or any(agree(connection, one) != DIFFERENT for one in claimed.by):
                    continue
                self._claimed.pop(key, None)
            owner = Evidence("resource", who, CALL, resource.path, MEDIUM, True, connection.aliases)
            self._said[key] = _Owned(owner, said.mark)
            self.served.forget(key)
            if key[0] in _THREADS:
                self.threads.add(key[1])
            if len(self._said) > self._most:
                self.threads.discard(push_out(self._said, self._gone_said, self._most))

    def claim(self, cell: Cell, connection: Evidence, found: Iterable[Resource]) -> None:
        """An authenticated client names resources: the first to do so may well own them."""
        for resource in found:
            key = resource.key
            claimed = self._claimed.get(key)
            if claimed is not None:
                _claim_again(claimed, connection)
            elif key not in self._said and not self._is_gone(key):
                heard = self.served.named(key, connection)
                if heard is None:
                    continue  # the server had given it to somebody else before
                cell.claims += 1
                if cell.claims > CLAIMS:
                    remember(self._gone_claimed, key, self._most_claimed)
                    continue
                owner = Evidence(
                    *("resource", connection.principal, INBOUND, resource.path, WEAK, False),
                    connection.aliases,
                )
                self._claimed[key] = _Claimed(owner, heard)
                if len(self._claimed) > self._most_claimed:
                    push_out(self._claimed, self._gone_claimed, self._most_claimed)

    def deliver(
        self,
        found: Iterable[Resource],
        connection: Evidence,
        said: Said,
        cell: Cell,
        verdict: Verdict,
    ) -> None:
        """A message goes out whose caller named nobody: what nobody knows better of is learned."""
        left = [
            one
            for one in found
            if one.key not in self._said
            and one.key not in self._claimed
            and not self._is_gone(one.key)
        ]
        if left:
            self.served.learn(left, connection, said, cell, verdict)

    def _is_gone(self, key: Key) -> bool:
        return hash(key) in self._gone_said or hash(key) in self._gone_claimed


def _by_call(
    owned: _Owned, resource: Resource, connection: Evidence, said: Said
) -> Evidence | None:
    owned.used = True
    owner = owned.owner
    if owner is None or agree(connection, owner.principal) != DIFFERENT:
        return owner
    asked = resource.key in said.asked
    shared = resource.joint and said.personal  # people talk with each other in it
    if said.direct and not said.round:
        # All of them get it word for word; or the server is of one mind that it is somebody
        # else's, and no client has asked for that; or it is so with one after the other.
        again = resource.joint and said.mark is not None and said.mark == owned.mark
        if connection.principal not in owned.others:
            owned.others = (*owned.others, connection.principal)
        shared |= again or (said.twice and not asked) or len(owned.others) >= _SEVERAL
    if shared:
        owned.owner = None
        return None
    return owner._replace(strength=WEAK) if said.round or said.twice else owner


def _claim_again(claimed: _Claimed, connection: Evidence) -> None:
    claimed.used = True
    owner, who = claimed.owner, connection.principal
    if who in claimed.by or not claimed.by:
        return
    if len(claimed.by) > _OTHERS:
        claimed.owner, claimed.by = None, ()
        return
    claimed.by = (*claimed.by, who)
    if owner is not None and agree(owner, who) == DIFFERENT and not claimed.heard:
        # The server has sent neither of them anything of it: who is to say whose it is?
        claimed.owner = None


def _address(cell: Cell, scope: dict[str, Any]) -> frozenset[str]:
    """The parts of the address a client connected to."""
    path, query = scope.get("path", ""), scope.get("query_string", b"")
    cell.address = frozenset(re.split("[/&=]", f"{path}&{query.decode('latin-1')}"[:4096]))
    return cell.address
