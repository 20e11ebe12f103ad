# SPDX-License-Identifier: Apache-2.0
"""On whose behalf a task runs: the user whose connection, or message, it was started for.

Why it exists: code that serves one user and sends to another is worth a look where nothing else
says whom a message is for. A queue or a thread loses the task, so what is sent through a manager
takes this along.

It must never be inherited from one connection to the next: servers let a variable that one
request has set shine into the next of the same keep-alive connection (cpython#140947), so every
connection and every message sets it anew. It must never hold an object of the application.
"""

from __future__ import annotations

from contextvars import ContextVar
from itertools import count
from time import time_ns
from typing import TYPE_CHECKING, Final

from ws_audit.model import CALL, STRONG, WEAK, Evidence
from ws_audit.principals.identity import SAME, agree

if TYPE_CHECKING:
    from ws_audit.principals.identity import Cell

ANSWER_NS: Final = 10_000_000_000
_serials = count(1)


class Behalf:
    """One connection's or message's task, and those it starts.

    `served` is whom messages without a declared recipient went to; a second one makes it void,
    for this task and for what its connection does later: it hands messages round.
    """

    __slots__ = ("asked", "cell", "serial", "served", "void", "who")

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.serial = next(_serials)
        # Kept: the task may go on when its connection has been let go.
        self.who: Evidence | None = cell.held
        self.served: Evidence | None = None
        self.void = cell.hands_round
        self.asked: frozenset[tuple[str, str]] = frozenset()  # resources its client's message named

    def answers(self, connection: Evidence) -> bool | None:
        """Whether a message to that connection may answer its own; None if to somebody else's.

        Also one that a writer task takes from a queue: its client has asked a moment ago.
        """
        who = self.who or self.cell.held
        if who is None or agree(connection, who.principal) != SAME:
            return None
        return 0 <= time_ns() - self.cell.heard < ANSWER_NS

    def serves(self, connection: Evidence) -> Evidence | None:
        """What this says of a message to that connection; None if nothing, or no more.

        Only who authenticated counts: a claim is the client's.
        """
        if self.served is None:
            self.served = connection
        elif self.served is not connection and agree(connection, self.served.principal) != SAME:
            self.void = self.cell.hands_round = True
        who = self.who = self.who or self.cell.held
        if self.void or who is None or who.strength != STRONG:
            return None
        # Weak: that it agrees proves nothing of what is in the message.
        return Evidence("context", who.principal, CALL, "task", WEAK, False, who.aliases)


_current: ContextVar[Behalf | None] = ContextVar("ws_audit_behalf", default=None)
current = _current.get


def begin(cell: Cell, heard: int = 0) -> Behalf:
    """This task serves a connection now, or its next message, which came at `heard` (ns)."""
    cell.heard = heard
    behalf = Behalf(cell)
    _current.set(behalf)
    return behalf


def nobody() -> None:
    """This task serves nobody we know, whatever it has inherited."""
    _current.set(None)


def end(cell: Cell) -> None:
    """The connection is over; a server may use the same task for the next."""
    behalf = _current.get()
    if behalf is not None and behalf.cell is cell:
        _current.set(None)
