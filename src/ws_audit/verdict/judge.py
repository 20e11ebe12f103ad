# SPDX-License-Identifier: Apache-2.0
"""The verdict: a pure function of what is known of one delivery.

Why it exists: everything else collects evidence or carries the answer away. Because nothing
but its arguments decides, any stored record can be judged again, and the same function
serves the agent, the review and the tests.

It must never read a clock, a setting or global state, and never count absent evidence as
agreement.
"""

from __future__ import annotations

from itertools import combinations
from typing import Final

from ws_audit.model import (
    BROADCAST,
    CONFIRMED,
    HYGIENE,
    INCOMPARABLE,
    MATCH,
    MEDIUM,
    NO_EVIDENCE,
    NO_PRINCIPAL,
    PROBABLE,
    STRONG,
    SUSPECTED,
    UNATTRIBUTED,
    UNDECLARED_BROADCAST,
    VIOLATION,
    WEAK,
    Evidence,
    Verdict,
)
from ws_audit.principals.identity import DIFFERENT, SAME, agree, compare

# The first of these that dissents names the violation; the others are its attributes.
ORDER: Final = {
    name: rank
    for rank, name in enumerate(
        ("canary", "argument", "payload", "instance", "resource", "context", "thread_as_user")
    )
}
_WEIGHT: Final = {STRONG: 0, MEDIUM: 1, WEAK: 2}

MATCHED: Final = Verdict(MATCH)  # and nothing was said that could not be compared
_IN_PART: Final = Verdict(MATCH)  # equal, and not the same: a second look may tell more
_NO_PRINCIPAL: Final = Verdict(UNATTRIBUTED, NO_PRINCIPAL)
_INCOMPARABLE: Final = Verdict(UNATTRIBUTED, INCOMPARABLE)
_UNDECLARED: Final = Verdict(UNATTRIBUTED, UNDECLARED_BROADCAST)


# One loop, because it runs over the evidence of every message.
def judge(  # noqa: C901
    evidence: tuple[Evidence, ...], kind: str, note: str = ""
) -> Verdict:
    """Judge one delivery.

    `evidence` begins with whose connection it went to (if it does not, nobody knows) and
    goes on with whose message it is; `kind` is the outermost hook's (send, broadcast, or
    none when no intent joined), `note` a reason why the content said nothing (opaque,
    unreadable, limit).
    """
    if not evidence or evidence[0].name != "connection":
        return _NO_PRINCIPAL
    connection = evidence[0]
    attested = incomparable = False
    dissents: list[Evidence] = []
    behalf: Evidence | None = None
    no_user: Evidence | None = None
    who = connection.principal
    for item in evidence[1:]:
        # Principals are mostly one and the same object: that answers most of all questions.
        result = SAME if item.principal is who else agree(connection, item.principal)
        if result == SAME and item.attests:
            attested = True
        elif item.name == "thread_as_user":
            no_user = item  # whatever it agrees with
        elif item.name == "context":
            if result == DIFFERENT:
                behalf = item
        elif result == DIFFERENT:
            dissents.append(item)
        elif result != SAME:
            incomparable = True
    if dissents:
        return _violation(connection, dissents, kind)
    # That the task serves somebody else is no surprise if the message is known to be theirs, or
    # goes to many.
    if behalf is not None and not attested and kind != BROADCAST:
        return _violation(connection, [behalf], kind)
    if no_user is not None:
        return Verdict(VIOLATION, "", no_user.name, HYGIENE, no_user)
    if attested:
        return _IN_PART if incomparable else MATCHED
    if incomparable:
        return _INCOMPARABLE
    if kind == BROADCAST:
        return _UNDECLARED
    return Verdict(UNATTRIBUTED, note or NO_EVIDENCE)


def _violation(connection: Evidence, dissents: list[Evidence], kind: str) -> Verdict:
    # A weak one names the violation only where there is nothing better.
    dissents.sort(
        key=lambda item: (item.strength == WEAK, ORDER[item.name], _WEIGHT[item.strength])
    )
    first = dissents[0]
    if first.name == "canary":
        return Verdict(VIOLATION, "", first.name, CONFIRMED, first)  # certain, whatever else
    if kind == BROADCAST or WEAK in (connection.strength, first.strength):
        severity = SUSPECTED  # a cap: what a client controls, or nobody declared, never pages
    elif any(_corroborates(*pair) for pair in combinations(dissents, 2)):
        severity = CONFIRMED
    else:
        severity = PROBABLE
    return Verdict(VIOLATION, "", f"{first.name}_vs_connection", severity, first)


def _corroborates(one: Evidence, other: Evidence) -> bool:
    """Two independent statements, at least one strong, that name the same other principal."""
    return (
        one.at != other.at
        and STRONG in (one.strength, other.strength)
        and {one.strength, other.strength} <= {STRONG, MEDIUM}
        and compare(one.principal, other.principal) == SAME
    )
