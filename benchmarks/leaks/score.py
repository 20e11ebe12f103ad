# SPDX-License-Identifier: Apache-2.0
"""What the clients saw against what the agent says, case by case.

Why it exists: "found" needs one meaning. A defect is found when the agent names a pair of
people, whose data and who saw it, that the clients' journal has as well.

It must never ask the agent who leaked: the truth is computed from the journal alone.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timezone
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

from .world import HASH_KEY

if TYPE_CHECKING:
    from .people import Person
    from .world import Played

Pair = tuple[str, str]  # recipient, owner: names
SEVERITIES: Final = ("confirmed", "probable", "suspected", "hygiene")
NO_DELIVERIES: Final = (
    "rebound_connection", "inbound_vs_connection", "shared_instance", "shared_state"
)  # fmt: skip
EARLY_NS: Final = 1_000_000_000


@dataclass
class Score:
    """One case: what leaked, and what the agent made of it."""

    case: str
    frames: int  # all the clients received
    leaked: Counter[Pair] = field(default_factory=Counter)
    claimed: Counter[Pair] = field(default_factory=Counter)  # deliveries called violations
    rules: dict[str, str] = field(default_factory=dict)  # rule -> worst severity
    named: str = ""  # the worst severity under which a true pair is named
    alarms: Counter[str] = field(default_factory=Counter)  # severity -> events
    coverage: dict[str, int] = field(default_factory=dict)
    times: str = ""  # what is wrong with the agent's times
    strangers: int = 0  # hashes of nobody

    @property
    def worst(self) -> str:
        """The worst severity of anything the agent raised, "" for nothing."""
        return next((one for one in SEVERITIES if one in self.rules.values()), "")

    @property
    def exact(self) -> bool:
        """Whether pairs and counts are the clients'."""
        return self.leaked == self.claimed

    @property
    def recalled(self) -> int:
        """Leaking frames that the agent has as well, pair by pair."""
        return (self.leaked & self.claimed).total()

    @property
    def invented(self) -> int:
        """Deliveries called violations that were none."""
        return (self.claimed - self.leaked).total()


def truth(played: Played) -> tuple[Counter[Pair], dict[Pair, tuple[int, int]]]:
    """Whose secrets whom reached, counted in messages, and when first and last."""
    by_secret = {one.private: one.name for one in played.people}
    pairs: Counter[Pair] = Counter()
    when: dict[Pair, tuple[int, int]] = {}
    for line in played.journal:
        for secret, owner in by_secret.items():
            if owner != line["who"] and secret in line["text"]:
                pair = (line["who"], owner)
                pairs[pair] += 1
                first = when[pair][0] if pair in when else line["t"]
                when[pair] = (first, line["t"])
    return pairs, when


def score(case: str, played: Played) -> Score:
    """Compare one played case with its review."""
    leaked, when = truth(played)
    result = Score(case, len(played.journal), leaked)
    if played.review is None:
        return result
    result.coverage = played.review["coverage"]
    names = _hashes(played.people)
    late: list[str] = []
    for incident in played.review["incidents"]:
        rule = incident["rule"]
        for pair in incident["pairs"]:
            severity = pair["severity"]
            result.alarms[severity] += pair["events"]
            result.rules[rule] = min(result.rules.get(rule, severity), severity, key=_rank)
            if "" in (pair["recipient"], pair["owner"]):
                continue
            who = names.get(pair["recipient"], "?"), names.get(pair["owner"], "?")
            result.strangers += "?" in who
            delivered = rule not in NO_DELIVERIES
            if delivered:
                result.claimed[who] += pair["events"]
            # Of what is no delivery it is not said who of the two saw whose.
            if who in leaked or (not delivered and who[::-1] in leaked):
                result.named = min(result.named or severity, severity, key=_rank)
            if delivered and who in when and pair["events"] == leaked[who]:
                late += _misdated(pair, when[who])
    result.times = "; ".join(late)
    return result


def _misdated(pair: dict[str, Any], received: tuple[int, int]) -> list[str]:
    found = []
    for key, at in zip(("first_seen", "last_seen"), received, strict=True):
        seen = _nanoseconds(pair[key])
        if not at - EARLY_NS <= seen <= at:
            found.append(f"{key} is {(seen - at) / 1e9:+.3f} s from the client's receipt")
    return found


def _nanoseconds(text: str) -> int:
    whole, fraction = text.removesuffix("Z").split(".")
    moment = datetime.fromisoformat(whole).replace(tzinfo=timezone.utc)
    return int(moment.timestamp()) * 1_000_000_000 + int(fraction.ljust(9, "0"))


def _rank(severity: str) -> int:
    return SEVERITIES.index(severity)


def _hashes(people: list[Person]) -> dict[str, str]:
    """Every keyed hash a person may have (DESIGN section 4, written out here once more)."""
    found = {}
    for one in people:
        for user in (str(one.id), one.uuid, one.name, one.email, one.subject):
            for tenant in (None, one.tenant):
                raw = json.dumps([tenant, user], separators=(",", ":"), ensure_ascii=False)
                key = HASH_KEY.encode()
                digest = blake2b(raw.encode(), digest_size=16, key=key).hexdigest()
                found[digest] = one.name
    return found


def bound(events: int, frames: int) -> float:
    """The one-sided 95 % upper bound (Clopper-Pearson) of a rate: `events` in `frames`."""
    if not frames or events >= frames:
        return 1.0
    low, high = events / frames, 1.0
    for _ in range(60):
        rate = (low + high) / 2
        if _at_most(events, frames, rate) > 0.05:
            low = rate
        else:
            high = rate
    return high


def _at_most(events: int, frames: int, rate: float) -> float:
    """The probability of at most `events` in `frames` at this rate."""
    total = 0.0
    for k in range(events + 1):
        log = math.lgamma(frames + 1) - math.lgamma(k + 1) - math.lgamma(frames - k + 1)
        total += math.exp(log + k * math.log(rate) + (frames - k) * math.log1p(-rate))
    return total
