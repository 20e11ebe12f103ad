# SPDX-License-Identifier: Apache-2.0
"""What is known of a delivery beside its own words and its caller's: runs, tasks, canaries.

Why it exists: most leaked messages name nobody. The run they belong to, the user the sending
task serves and content that can only be one user's still tell whose they are.

It must never judge, and never say more than it knows: what is disputed says nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ws_audit.messages import behalf
from ws_audit.model import CALL, CONSTRUCT, CONTENT, MATCH, WEAK, Evidence
from ws_audit.principals.identity import INCOMPARABLE, SAME, agree

from .resources import Resources, Said

if TYPE_CHECKING:
    from ws_audit.messages.behalf import Behalf
    from ws_audit.messages.intents import Frame
    from ws_audit.messages.payloads import Reading
    from ws_audit.model import Resource, Verdict
    from ws_audit.principals.identity import Cell
    from ws_audit.verdict.outsiders import Outsiders

    from .canaries import Canaries

_THREAD: Final = "thread_as_user"


class Witnesses:
    """Collects that evidence for the sink; one per process."""

    def __init__(
        self,
        resources: Resources | None = None,
        canaries: Canaries | None = None,
        outsiders: Outsiders | None = None,
    ) -> None:
        self.resources = resources or Resources(100_000)
        self.canaries = canaries
        self._outsiders = outsiders  # if a policy says who may see what

    def ask(
        self,
        collected: list[Evidence],
        reading: Reading,
        belongs: tuple[Resource, ...],
        content: object,
        frame: Frame | None,
        round_: bool,
        named: str,
        now: int,
    ) -> Said | None:
        """Add what is known of a message, which calls itself `named`, to what is said of it.

        `collected` begins with the connection's evidence. Returns what the table of resources
        may learn from, if the message turns out to be its recipient's.
        """
        connection = collected[0]
        resources = self.resources
        said = None
        if resources.threads:
            _no_users(resources.threads, collected)
        if belongs:
            serving = behalf.current() if frame is None else frame.intent.behalf
            # The same text goes to everybody it is meant for.
            mark = None
            if type(content) is str or type(content) is bytes:
                mark = (hash(content), 0 if serving is None else serving.serial)
            done, owner = resources.quick(belongs, connection.principal, mark)
            if not done:
                asked = frozenset() if serving is None else serving.asked
                answer = False if serving is None else serving.answers(connection)
                said = _said(collected, reading, round_, asked, mark, answer)
                collected += resources.of(belongs, connection, said)
            elif owner is not None:
                collected.append(owner)
        if self._outsiders is not None:
            other = self._outsiders.of(collected, belongs, resources, content, frame, named, now)
            if other is not None:
                collected.append(other)
        if self.canaries is not None:
            canary = self.canaries.search(content, connection)
            if canary is not None:
                collected.append(canary)
        return said

    def learn(
        self,
        belongs: tuple[Resource, ...],
        connection: Evidence,
        said: Said,
        cell: Cell,
        scope: dict[str, Any],
        verdict: Verdict,
    ) -> None:
        """The message goes out: if where its caller meant it to, what it is about is that user's.

        If no caller meant anybody, it may be theirs.
        """
        if verdict.verdict == MATCH and said.direct and not said.round:
            if connection.strength != WEAK:
                self.resources.learn(belongs, connection, said, cell, scope)
        else:
            self.resources.deliver(belongs, connection, said, cell, verdict)

    def heard(self, cell: Cell, connection: Evidence, serving: Behalf, said: Reading) -> None:
        """An authenticated client's message: what and whom it names."""
        owner = None if said.owner is None else said.owner.principal
        cell.named = tuple(who for who in (said.claims, owner) if who is not None)
        if said.resources:
            serving.asked = frozenset(resource.key for resource in said.resources)
            self.claim(cell, connection, said.resources)

    def claim(self, cell: Cell, connection: Evidence, named: tuple[Resource, ...]) -> None:
        """An authenticated client names resources."""
        self.resources.claim(cell, connection, named)

    @staticmethod
    def with_context(
        evidence: tuple[Evidence, ...], reading: Reading, frame: Frame | None
    ) -> tuple[Evidence, ...]:
        """The evidence with whom the task serves that sends, unless the recipient is mentioned."""
        connection = evidence[0]
        serving = behalf.current() if frame is None else frame.intent.behalf
        if serving is None or _mentioned(reading, connection):
            return evidence
        context = serving.serves(connection)
        return evidence if context is None else (*evidence, context)


def _no_users(threads: set[str], collected: list[Evidence]) -> None:
    """Ids that stand for a user and are known as a thread's or run's."""
    known = None
    for item in collected:
        who = item.principal
        if who is not known:
            known = known or who
            if who.user in threads and item.name != "payload":
                source = f"{item.name}:{item.source}"
                collected.append(Evidence(_THREAD, who, item.at, source, WEAK, False))
                return


def _said(
    collected: list[Evidence],
    reading: Reading,
    round_: bool,
    asked: frozenset[tuple[str, str]],
    mark: tuple[int, int] | None,
    answer: bool | None,
) -> Said:
    connection = collected[0]
    who = connection.principal
    direct = twice = unclear = False
    for item in collected[1:]:
        result = SAME if item.principal is who else agree(connection, item.principal)
        if result == INCOMPARABLE:
            unclear = True
        elif result == SAME and item.attests:
            if item.at == CONTENT:
                twice = True
            elif item.at in (CALL, CONSTRUCT):
                direct = True
    actor = reading.actor
    personal = actor is not None and agree(connection, actor) != SAME
    if reading.mentions and not personal:
        personal = _mentioned(reading, connection)
    return tuple.__new__(Said, (direct, twice, round_, personal, asked, mark, answer, unclear))


def _mentioned(reading: Reading, connection: Evidence) -> bool:
    return any(agree(connection, one) == SAME for one in reading.mentions)


def gather(frame: Frame, found: tuple[Resource, ...]) -> tuple[Resource, ...]:
    """What a message is about: as it says itself, and as the hook calls around it do."""
    keys = {resource.key for resource in found}
    step: Frame | None = frame
    while step is not None:
        for resource in step.resources:
            if resource.key not in keys:
                keys.add(resource.key)
                found += (resource,)
        step = step.above
    return found


def collect(frame: Frame, evidence: list[Evidence]) -> bool:
    """Gather what the hook calls around a delivery know; whether one of them named a room."""
    room = frame.room
    step: Frame | None = frame
    while step is not None:
        evidence.extend(step.evidence)
        if step.soft is not None and not room:
            evidence.append(step.soft)
        step = step.above
    return room
