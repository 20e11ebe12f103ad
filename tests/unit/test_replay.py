# SPDX-License-Identifier: Apache-2.0
"""Stored records judged again: what the agent would have said, or that it cannot be told.

Deliveries are judged by the agent's own parts under one set of policies, written as it writes
them, read back, and judged again under another. The same deliveries, judged by the agent's parts
under that one, must give the same.
"""

from __future__ import annotations

import random
from collections import Counter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from tests.unit.recorder import START
from ws_audit import schema
from ws_audit.configuration.policy_tables import PolicyTable
from ws_audit.evidence.resources import Resources
from ws_audit.journal import Journal
from ws_audit.labels import Events
from ws_audit.messages.payloads import Places
from ws_audit.model import (
    ACCEPT,
    BROADCAST,
    CALL,
    CONSTRUCT,
    CONTENT,
    INBOUND,
    MATCH,
    MEDIUM,
    NONE,
    OK,
    OTHER,
    SEND,
    STRONG,
    VIOLATION,
    WEAK,
    Delivery,
    Evidence,
    Inputs,
    Principal,
    Span,
)
from ws_audit.outputs.lines import Lines
from ws_audit.outputs.spans import SpanMaker
from ws_audit.principals.identity import DIFFERENT, Hasher, agree, principal
from ws_audit.review.rejudging import rejudge
from ws_audit.review.rejudging.replay import Replay, Replayer
from ws_audit.review.segments import lines, read
from ws_audit.review.segments.keep import Keeper
from ws_audit.tally import Tally
from ws_audit.verdict import stored
from ws_audit.verdict.addressing import Addressing
from ws_audit.verdict.excuses import Doubts, Excuses, Members, Told, event_of
from ws_audit.verdict.judge import judge
from ws_audit.verdict.outsiders import Outsiders
from ws_audit.verdict.policy import Policies

if TYPE_CHECKING:
    from ws_audit.incidents import Incident

# Reasons that no record of this version gives.
WRONG = {rejudge.OLD, rejudge.GARBLED, rejudge.OTHERWISE}

HASHER = Hasher("k" * 32)
EVENTS = Events(("presence.x", "joined", "chat.x"))
RESOURCE: dict[str, str | int | bool | float] = {
    "service.name": "chat",
    "host.name": "box",
    "process.pid": 7,
}
TABLES = (
    PolicyTable(1, "broadcast", "x", events=("presence.*", "joined")),
    PolicyTable(2, "broadcast", "x", events=("*",), expires="2026-11-22"),
    PolicyTable(3, "room", "x", events=("chat.*",), membership="app:members", where="room"),
    PolicyTable(4, "share", "x", membership="app:readers", where="doc"),
    PolicyTable(5, "room", "x", membership="socketio", where="room"),
    PolicyTable(6, "impersonation", "x", users=("support-1", "17")),
    PolicyTable(7, "system", "x", users=("system", "Bot@X.org")),
)


class World:
    """What the application would answer, the same in every judgement of one delivery."""

    def __init__(self, chance: random.Random, connection: Evidence) -> None:
        inside = Members([connection.principal])
        outside = Members([_who("zoe", connection.principal.kind)])
        choices = [inside, outside, None]
        self.known = {name: chance.choice(choices) for name in ("app:members", "app:readers")}
        self.weak = {name for name in ("payload", "instance") if chance.random() < 0.3}
        self.socketio = chance.random() < 0.5
        self.proof = inside

    def members(self, name: str, room: object) -> Members | None:
        return self.known[name]

    def aliases(self, who: Principal) -> tuple[Principal, ...]:
        return ()

    def accessor(self, scope: dict[str, Any]) -> Evidence | None:
        return None


class Weighing(Addressing):
    """Addressing whose answer is the world's, of the same pieces as the agent's may be about."""

    def __init__(self, world: World) -> None:
        super().__init__(declared=True)
        self._world = world

    def weighed(self, evidence: tuple[Evidence, ...], *_: Any) -> tuple[Evidence, ...]:
        if not rejudge._weighable(evidence):
            return evidence
        held = evidence[0]
        return tuple(
            one._replace(strength=WEAK)
            if one.name in self._world.weak
            and one.strength == STRONG
            and agree(held, one.principal) == DIFFERENT
            else one
            for one in evidence
        )


def _who(user: object, kind: str = "id", tenant: str | None = None) -> Principal:
    found = principal(user, kind, tenant)
    assert found is not None
    return found


PEOPLE: list[object] = ["ann", "bob", "system", "support-1", 17, 18, "auth0|abc", "bot@x.org"]


def _somebody(chance: random.Random) -> Principal:
    kind = chance.choice(["id", "id", "id", "name"])
    return _who(chance.choice(PEOPLE), kind, chance.choice([None, None, None, "acme", "evil"]))


def _evidence(chance: random.Random) -> tuple[Evidence, ...]:
    connection = Evidence(
        *("connection", _somebody(chance), ACCEPT, "scope.user"),
        chance.choice([STRONG, STRONG, STRONG, WEAK]),
        True,
        tuple(_somebody(chance) for _ in range(chance.choice([0, 0, 1]))),
    )
    weights = {
        "payload": 8,
        "argument": 2,
        "instance": 2,
        "resource": 3,
        "context": 1,
        "canary": 0.3,
    }
    chosen = chance.choices([*weights], [*weights.values()], k=chance.choice([1, 1, 2, 3]))
    return (connection, *(_piece(chance, name) for name in chosen))


def _piece(chance: random.Random, name: str) -> Evidence:
    who = _somebody(chance)
    if name == "payload":
        path = chance.choice(["user_id", "user_id", "data.owner"])
        return Evidence(name, who, CONTENT, path, STRONG)
    if name == "resource":
        learned = chance.random() < 0.7
        point, strength = (CALL, MEDIUM) if learned else (INBOUND, WEAK)
        return Evidence(name, who, point, "run_id", strength, learned)
    return {
        "argument": Evidence(name, who, CALL, "user_id", STRONG, chance.random() < 0.7),
        "instance": Evidence(name, who, CONSTRUCT, "user", STRONG),
        "context": Evidence(name, who, CALL, "task", WEAK, False),
        "canary": Evidence(name, who, CONTENT, "token", STRONG, False),
    }[name]


class Case:
    """One delivery: what is known of it before anybody asks a policy."""

    def __init__(self, seed: int) -> None:
        chance = random.Random(seed)
        self.evidence = _evidence(chance)
        self.kind = chance.choice([SEND, BROADCAST, NONE])
        names = ["", "joined", "presence.x", "chat.x", "presence.y", "secret.x"]
        self.named = chance.choice(names)
        inner = chance.choice([self.named, self.named, "joined", "chat.x"])
        self.frame: Any = None
        if self.kind != NONE:
            label = EVENTS.label(inner)
            raw = inner if label == OTHER else ""
            intent = SimpleNamespace(event=label, named=raw, intent_id=seed + 1)
            self.frame = SimpleNamespace(intent=intent, named=(), above=None)
        self.content = {"room": "blue", "doc": "plan"}
        self.world = World(chance, self.evidence[0])
        self.seed = seed
        self.tables = [tuple(it for it in TABLES if chance.random() < 0.5) for _ in range(2)]

    def live(self, tables: tuple[PolicyTable, ...]) -> Delivery:
        """The record that the sink would make under these policies."""
        world, evidence = self.world, self.evidence
        policies = Policies(tables)
        places = Places(["room", "doc"], 1_000_000)
        inside = {"socketio": lambda *_: world.socketio}
        excuses = Excuses(policies, world, places, inside, Tally())
        now = START + self.seed
        if any(table.membership.startswith("app:") for table in tables):
            outsiders = Outsiders(policies, excuses)
            proof = Outsiders.of.__get__(outsiders)
            answers, world.known = world.known, dict.fromkeys(world.known, world.proof)
            proof([evidence[0]], (), Resources(9), self.content, self.frame, self.named, now)
            world.known = answers
            said = list(evidence)
            fresh = now + 1_000_000_000  # the answer that proves the function is too old by then
            other = outsiders.of(
                said, (), Resources(9), self.content, self.frame, self.named, fresh
            )
            evidence = evidence if other is None else (*evidence, other)
        verdict, inputs = judge(evidence, self.kind), None
        doubts = Doubts(None, excuses if tables else None, None, Weighing(world))
        if verdict.verdict != MATCH:
            told = Told(
                *(None, self.content, self.frame, self.named, now, self.kind, "", None)  # type: ignore[arg-type]
            )
            evidence, verdict, inputs = doubts.again(evidence, verdict, told)
        # As the sink does it.
        event = EVENTS.label(self.named) if self.frame is None else self.frame.intent.event
        if event == NONE and self.named:
            event = EVENTS.label(self.named)
        label = EVENTS.label(self.named)
        if verdict.verdict == VIOLATION and label not in (event, NONE):
            inputs = inputs or Inputs(event_of(self.frame, self.named))
            inputs = inputs._replace(named=label)
        return Delivery(
            *(1, self.seed + 1, now, "asgi", 1, self.seed + 1, self.kind, "app:Hub", "", event),
            *(f"app:Hub.{self.seed}:1", evidence, "", 10, verdict, OK, self.seed + 1),
            *(self.seed + 1, 0, inputs),
        )


def written(
    deliveries: list[Delivery],
    tables: tuple[PolicyTable, ...] | None,
    hasher: Hasher | None = HASHER,
) -> Replayer:
    """What a review finds of violations that a process with these policies has written.

    None: it has not told its policies.
    """
    maker = SpanMaker(HASHER, "chat", "")
    encode = Lines(RESOURCE)
    keeper = Keeper()
    if tables is not None:
        told: dict[str, Any] = {schema.POLICY_TABLES: stored.write_tables(tables, HASHER)}
        told[schema.KEY_ID] = HASHER.id
        process = Span(schema.PROCESS_SPAN, 1, 1, 0, START, START, told)
        keeper.line(1, lines.spans(encode.line(process), {}), coverage=True)
    for delivery in deliveries:
        span = maker.violation(delivery, maker.finding(delivery), outcome=True)
        keeper.line(1, lines.spans(encode.line(span), {}), coverage=False)
    rows = keeper.all()
    coverage = {"frames": 99, "judged": 99, "unattributed": 0, "excused": 0, "dropped": 0}
    findings = [row.finding for row in rows.violations]
    everything = read.Stored(
        findings, coverage, dict.fromkeys(schema.REASONS, 0), START, START + 1, []
    )
    review = read.assemble(everything, Journal([], []))
    return Replayer(review, rows, hasher)


def outcome(replay: Replay) -> tuple[str, ...]:
    """What became of the only record: verdict, rule, severity, owner; or that it is not told."""
    (change,) = [it for it in replay.changes if it.before is not None]
    if change.untold:
        return ("untold", *change.untold)
    now: list[Incident] = replay.after.incidents
    if now:
        ((pair, _),) = now[0].pairs.items()
        return (VIOLATION, now[0].rule, now[0].severity, pair[1])
    return ("excused",) if change.excused else ("cleared",)


def expected(delivery: Delivery) -> tuple[str, ...]:
    verdict = delivery.verdict
    if verdict.verdict == VIOLATION:
        assert verdict.dissent is not None
        return VIOLATION, verdict.rule, verdict.severity, HASHER(verdict.dissent.principal)
    return ("excused",) if verdict.verdict == "excused" else ("cleared",)


def test_what_is_judged_again_is_what_the_agent_would_have_said() -> None:
    seen: Counter[str] = Counter()
    for seed in range(4_000):
        case = Case(seed)
        then, now = case.tables
        delivery = case.live(then)
        if delivery.verdict.verdict != VIOLATION:
            continue
        replayer = written([delivery], then)
        before = replayer.review.document(0)
        assert replayer.under(then).after.document(0) == before, seed

        # ... also if it does not know that these policies were in force, as far as that goes.
        unaware = outcome(written([delivery], None).under(then))
        assert unaware[0] == "untold" or unaware == expected(delivery), seed
        assert not WRONG & {*unaware}, seed
        seen[f"unaware {unaware[0]}"] += 1
        found = outcome(replayer.under(now))
        seen[found[0]] += 1
        assert not WRONG & {*found}, seed
        if found[0] != "untold":
            assert found == expected(case.live(now)), seed
    # It is not by telling nothing that it is right.
    told = seen["excused"] + seen[VIOLATION] + seen["cleared"]
    assert told > seen["untold"], seen
    assert min(seen["excused"], seen[VIOLATION], seen["unaware violation"]) > 100, seen
