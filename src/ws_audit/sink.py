# SPDX-License-Identifier: Apache-2.0
"""The one place below all managers: who is connected, what leaves, and the verdict on it.

Why it exists: verdicts are per delivery. Transports tell the sink of connections, messages
in and messages out in their own words; here they are joined with what the hooks know,
judged, counted and recorded, the same for every transport.

It must never touch the application: transports and hooks do. Every delivery is counted
exactly once, whatever happens to it afterwards.
"""

from __future__ import annotations

from itertools import count
from time import time_ns
from typing import TYPE_CHECKING, Any, Final

from .evidence.witnesses import Witnesses, collect, gather
from .messages import behalf
from .messages.intents import outcome_of
from .model import (
    ACCEPT,
    BROADCAST,
    CONFIRMED,
    HYGIENE,
    INBOUND,
    INTERNAL_ERROR,
    LIMIT,
    MATCH,
    NONE,
    OK,
    PROBABLE,
    RECORD_VERSION,
    REFUSED,
    STRONG,
    UNATTRIBUTED,
    UNKNOWN,
    VIOLATION,
    WEAK,
    Delivery,
    Evidence,
    Inputs,
    IsolationViolation,
    Principal,
    Verdict,
)
from .naming import RECIPIENTS
from .principals.identity import DIFFERENT, Cell, Handles, agree
from .principals.people import People
from .schema import BLOCKABLE
from .verdict.excuses import Doubts, Told, event_of
from .verdict.judge import MATCHED, judge

if TYPE_CHECKING:
    from collections.abc import Callable

    from .evidence.bindings import Bindings
    from .labels import Events
    from .listeners import Clues, Learner, Violations
    from .messages.intents import Frame, Intents
    from .messages.payloads import Reader
    from .model import Resource
    from .tally import Tally

_INTERNAL: Final = Verdict(UNATTRIBUTED, INTERNAL_ERROR)
_LIMIT: Final = Verdict(UNATTRIBUTED, LIMIT)


class Sink:
    """Judges deliveries; one per process, shared by all transports."""

    def __init__(
        self,
        reader: Reader,
        intents: Intents,
        tally: Tally,
        events: Events,
        append: Callable[[Delivery], None],
        application_site: Callable[[], str],
        failed: Callable[[str, BaseException], None],
        bindings: Bindings,
        clues: Clues,
        max_connections: int = 100_000,
        doubts: Doubts | None = None,
        block: tuple[str, ...] | None = None,
        witnesses: Witnesses | None = None,
    ) -> None:
        self.reader = reader
        self._read = reader.read
        self.payload_bytes = reader.limit  # nothing larger is looked at
        self._witnesses = witnesses or Witnesses()
        self._intents = intents
        self._tally = tally
        self._events = events
        self._append = append
        self.violations: Violations | None = None  # set before a server can send anything
        self._application_site = application_site
        self._failed = failed
        self._bindings = bindings
        self.clues = clues
        self._doubts = doubts or Doubts()
        self._tenants = self._doubts.tenants
        self.people = People()
        self._blocking = block is not None  # None: nothing is refused
        self._block = frozenset(block or BLOCKABLE)
        self.handles = Handles()  # a framework's ids, by which applications call connections
        self.learner: Learner | None = None  # if somebody asked for it
        self._connections = count(1)
        self._inherited = 0  # up to this number they are the parent's; see forget()
        self._open = 0
        self._max_open = max_connections
        self._deliveries = count(1)

    # -- connections ------------------------------------------------------------------------

    def open(self, transport: str) -> Cell:
        """A connection was taken by a server: its new cell."""
        cell = Cell(0, transport)
        self.opened(cell)
        behalf.begin(cell)
        return cell

    def opened(self, cell: Cell) -> None:
        """What could have become a connection is one."""
        self._tally.add(("opened", cell.transport))
        self._open += 1  # a guard against exhaustion, not a count: a lost update does no harm
        cell.connection_id = next(self._connections)
        cell.limited = self._open > self._max_open
        self.people.met(cell, time_ns())

    def close(self, cell: Cell) -> None:
        """The connection has ended."""
        behalf.end(cell)
        self.people.left(cell, time_ns())
        cell.user_seen = None  # tasks that go on keep the cell, and must keep nothing else
        if cell.connection_id > self._inherited:
            self._tally.add(("closed", cell.transport))
            self._open -= 1

    def resolve(self, cell: Cell, scope: dict[str, Any]) -> Evidence | None:
        """Whose connection this is, as far as its scope tells: authenticated, else claimed."""
        user = scope.get("user")
        if cell.held is None or user is not cell.user_seen:
            cell.user_seen = user
            found = self._doubts.accessor(cell, scope)
            if found is None and cell.asked >= 0:
                found = self._bindings.from_scope(scope)
            if found is not None:
                self._offer(cell, found)
            elif user is not None:
                cell.log_out()
            if cell.held is None and not cell.claims_read:
                cell.claims_read = True
                cell.claimed = self._bindings.claimed(scope)
        return cell.held or cell.claimed

    def bind(self, cell: Cell, scope: dict[str, Any], evidence: Evidence, site: str = "") -> None:
        """An inner hook learnt who authenticated: a dependency's result, a connect argument."""
        self.resolve(cell, scope)
        self._offer(cell, evidence, site)

    def dependency(self, cell: Cell, scope: dict[str, Any], name: str, value: object) -> None:
        """A framework's dependency gave a value; it counts if its name says it is the user."""
        found = self._bindings.from_dependency(name, value)
        if found is not None:
            self.bind(cell, scope, found)
        elif cell.connection_id:
            kind = RECIPIENTS.get(name, "id")
            self.clues.offer(cell.connection_id, "dependency", f"dependency:{name}", value, kind)

    def session(self, cell: Cell, scope: dict[str, Any], session: object) -> None:
        """A framework keeps a session of its own with this connection."""
        found = self._bindings.from_session(session)
        if found is not None:
            self.bind(cell, scope, found)

    def pin(self, cell: Cell, who: Principal, *aliases: Principal) -> None:
        """The application said it itself, with ws_audit.bind()."""
        cell.held = Evidence("connection", who, ACCEPT, "ws_audit.bind", STRONG, True, aliases)
        cell.pinned = True
        self.people.met(cell, time_ns())

    def _offer(self, cell: Cell, evidence: Evidence, site: str = "") -> None:
        dissent = cell.offer(evidence)
        self.people.met(cell, time_ns())
        if (
            dissent is not None
            and cell.connection_id
            and self._doubts.differ(cell, dissent.principal)
        ):
            self._event("rebound_connection", PROBABLE, dissent, site, cell=cell)

    def claim(self, cell: Cell, named: tuple[Resource, ...]) -> None:
        """A client names resources, or chose the address that does."""
        if cell.held is not None and named:
            self._witnesses.claim(cell, cell.held, named)

    # -- messages -----------------------------------------------------------------------------

    def outbound(  # noqa: C901, PLR0912, PLR0915  (one body, because it runs for every message)
        self,
        cell: Cell,
        scope: dict[str, Any],
        content: object,
        size: int,
        event_name: str = "",
        carrier: object = None,
    ) -> Delivery:
        """A message is about to leave: joined, judged, counted; a violation is on disk already.

        `event_name` is what the transport calls it, and `carrier` what it is wrapped in.
        """
        now = time_ns()
        frame: Frame | None = None
        evidence: tuple[Evidence, ...] = ()
        event, note, kind, manager, function, intent_id = NONE, "", NONE, NONE, "", 0
        inputs: Inputs | None = None
        try:
            frame = self._intents.join(content, carrier)
            connection = None if cell.limited else self.resolve(cell, scope)
            reading = self._read(content)
            owner, soft, named, note, _, actor, belongs, _, owners = reading
            if frame is None or not frame.evidence:
                frame = self._alike(content, connection, cell, frame, owner)
            room = False
            named = event_name or named
            collected: list[Evidence] = [] if connection is None else [connection]
            if frame is not None:
                intent = frame.intent
                kind, manager, function = intent.kind, intent.manager, intent.function
                intent_id = intent.intent_id
                room = collect(frame, collected)
                # Mostly the hook has read the same field of the same message already.
                if owner is not None and owner not in collected and not (room and soft):
                    collected.append(owner)
                if frame.resources != belongs:
                    belongs = gather(frame, belongs)
                event = intent.event
                if event == NONE and named:
                    event = intent.event = self._events.label(named)
            else:
                if owner is not None:
                    collected.append(owner)
                if named:
                    event = self._events.label(named)
            if owners:
                collected += [one for one in owners if one not in collected]
            round_ = room or kind == BROADCAST
            said = None
            if connection is not None:
                said = self._witnesses.ask(
                    collected, reading, belongs, content, frame, round_, named, now
                )
            evidence = tuple(collected)
            verdict = _LIMIT if cell.limited else judge(evidence, kind, note)
            if verdict is not MATCHED and len(evidence) > 1 and connection is not None:
                known = self.people.resolved(evidence, now)
                if known is not evidence:
                    evidence = known
                    verdict = judge(evidence, kind, note)
            if self._tenants is not None and verdict.verdict == MATCH:
                evidence = self._tenants.told(evidence, content)
                verdict = judge(evidence, kind, note)
            if verdict.verdict != MATCH and not cell.limited:
                # Where somebody speaks, the task that sends may well be theirs.
                if connection is not None and actor is None and not round_:
                    evidence = self._witnesses.with_context(evidence, reading, frame)
                    verdict = judge(evidence, kind, note)
                told = Told(cell, content, frame, named, now, kind, note, actor)
                evidence, verdict, inputs = self._again(evidence, verdict, told)
            if said is not None and connection is not None:
                self._witnesses.learn(belongs, connection, said, cell, scope, verdict)
        except Exception as fault:
            self._failed("judge", fault)
            verdict = _INTERNAL
        self._tally.add(("delivery", cell.transport, manager, verdict.verdict, verdict.reason))
        if self.learner is not None:
            self._learn(evidence, content, frame, event, verdict)
        violated = verdict.verdict == VIOLATION
        site, trace_id, parent = "", 0, 0
        if violated:
            try:
                label = self._events.label(named)
                if label not in (event, NONE):  # a policy may name either
                    inputs = inputs or Inputs(event_of(frame, named))
                    inputs = inputs._replace(named=label)
                if frame is not None:
                    site = self._intents.site(frame.intent)
                    trace_id, parent = self._intents.ids(frame.intent)
                else:
                    site = self._application_site()
            except Exception as fault:  # a violation without its line is still one
                self._failed("sink", fault)
                site = site or NONE
        elif verdict.reason:
            site = self._unjudged(cell, scope, content, frame, evidence, event, verdict.reason)
        delivery = tuple.__new__(
            Delivery,
            (
                RECORD_VERSION,
                next(self._deliveries),
                now,
                cell.transport,
                cell.connection_id,
                intent_id,
                kind,
                manager,
                function,
                event,
                site,
                evidence,
                note,
                size,
                verdict,
                # What nearly always comes of it; a violation's must wait for the answer.
                UNKNOWN if violated else OK,
                trace_id,
                0,
                parent,
                inputs,
            ),
        )
        if violated:
            delivery = self._violate(delivery)
        if self._blocking:
            self._refuse(delivery, frame)
        return delivery

    def _refuse(self, delivery: Delivery, frame: Frame | None) -> None:
        """Mode block: what is surely or probably a leak, by a rule that may refuse, ends here."""
        verdict = delivery.verdict
        refused = verdict.severity in (CONFIRMED, PROBABLE) and verdict.rule in self._block
        if frame is not None:
            if refused:
                frame.intent.refused = True
            try:
                self._intents.judged(frame)
            except Exception as fault:
                self._failed("sink", fault)
        if refused:
            delivery = delivery._replace(outcome=REFUSED)
            self._settled(delivery)
            self._append(delivery)
            raise IsolationViolation(verdict.rule, verdict.severity)

    def _alike(
        self, content: object, connection: Any, cell: Cell, frame: Any, owner: Evidence | None
    ) -> Frame | None:
        try:
            who = None if owner is None else owner.principal
            return self._intents.alike(content, connection, cell.opened_ns, frame, who)
        except Exception as fault:  # it is judged without what might have fitted
            self._failed("sink", fault)
            return frame  # type: ignore[no-any-return]

    def _again(
        self, evidence: tuple[Evidence, ...], verdict: Verdict, told: Told
    ) -> tuple[tuple[Evidence, ...], Verdict, Inputs | None]:
        try:
            answer = self._doubts.again(evidence, verdict, told)
            self.people.met(told.cell, told.time_ns)  # maybe by further names now
            return answer
        except Exception as fault:  # no reason to forget what was found
            self._failed("policy", fault)
            return evidence, verdict, None

    def _learn(self, evidence: tuple[Evidence, ...], *known: Any) -> None:
        try:
            held = evidence[0] if evidence and evidence[0].name == "connection" else None
            if self.learner is not None:
                self.learner.look(held, *known)
        except Exception as fault:
            self._failed("sink", fault)

    def _unjudged(self, *known: Any) -> str:
        try:
            return self.clues.unjudged(*known)
        except Exception as fault:
            self._failed("sink", fault)
            return ""

    def delivered(self, delivery: Delivery, error: BaseException | None) -> None:
        """The transport took the message, or raised."""
        violated = delivery.verdict.verdict == VIOLATION
        if error is not None or violated:
            delivery = delivery._replace(outcome=outcome_of(error))
        if violated:
            self._settled(delivery)
        self._append(delivery)

    def inbound(self, cell: Cell, scope: dict[str, Any], content: object) -> None:
        """A message came in: does the client claim to be someone else, and what does it name?"""
        connection = self.resolve(cell, scope)
        if connection is None:
            connection = self._bindings.greeted(cell, content)
            self.people.met(cell, time_ns())
        serving = behalf.begin(cell, time_ns())
        if connection is None or connection.strength == WEAK:
            return
        reading = self._read(content, claims=True)
        self._witnesses.heard(cell, connection, serving, reading)
        who = reading.claims
        if who is None or agree(connection, who) != DIFFERENT or not self._doubts.differ(cell, who):
            return
        # What only a client controls never pages, and one that floods costs one record.
        cell.inbound_dissents += 1
        if cell.inbound_dissents == 1:
            claimed = Evidence("payload", who, INBOUND, "inbound", WEAK)
            self._event("inbound_vs_connection", HYGIENE, claimed, NONE, cell=cell)
        else:
            self._tally.add(("violation", "inbound_vs_connection", HYGIENE, NONE))

    def _violate(self, delivery: Delivery) -> Delivery:
        verdict = delivery.verdict
        self._tally.add(("violation", verdict.rule, verdict.severity, delivery.manager))
        try:
            if delivery.trace_id == 0:
                trace_id, parent = self._intents.ids(None)
                delivery = delivery._replace(trace_id=trace_id, parent_span_id=parent)
            delivery = delivery._replace(span_id=self._intents.new_span_id())
            if self.violations is not None:
                self.violations.record(delivery)
        except Exception as fault:
            self._failed("violation", fault)
        return delivery

    def shared(self, first: Evidence, second: Evidence, manager: str, site: str) -> None:
        """One manager object was built, or handed out, for two users."""
        self._event("shared_instance", HYGIENE, first, site, other=second, manager=manager)

    def shared_state(
        self, first: Evidence, second: Evidence, severity: str, manager: str, site: str
    ) -> None:
        """Two users' instances reach one mutable object, and it has changed."""
        self._event("shared_state", severity, first, site, other=second, manager=manager)

    def _event(
        self,
        rule: str,
        severity: str,
        dissent: Evidence,
        site: str,
        *,
        cell: Cell | None = None,
        other: Evidence | None = None,
        manager: str = NONE,
    ) -> None:
        """A violation that is no delivery: counted once per event, written when found."""
        if cell is not None:
            other = cell.held or cell.claimed
        delivery = self._violate(
            Delivery(
                RECORD_VERSION,
                next(self._deliveries),
                time_ns(),
                NONE if cell is None else cell.transport,
                0 if cell is None else cell.connection_id,
                0,
                NONE,
                manager,
                "",
                NONE,
                site or self._application_site(),
                (dissent,) if other is None else (other, dissent),
                "",
                0,
                Verdict(VIOLATION, "", rule, severity, dissent),
                OK,
                0,
                0,
                0,
            )
        )
        self._settled(delivery)
        self._append(delivery)

    def forget(self) -> None:
        """After a fork: the connections open now are counted by the parent, and end there."""
        self._inherited = next(self._connections)
        self.people.forget()
        self._open = 0

    def _settled(self, delivery: Delivery) -> None:
        try:
            if self.violations is not None:
                self.violations.outcome(delivery)
        except Exception as fault:
            self._failed("violation", fault)
