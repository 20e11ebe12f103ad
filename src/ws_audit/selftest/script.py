# SPDX-License-Identifier: Apache-2.0
"""What the self-test plays: the users, their messages, and what has to be said of these.

Why it exists: the agent's own self-test and the command `ws-audit selftest` play the same.

It must never use a name that an application's user could have.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from ws_audit.model import CONFIRMED, MATCH, SEND, VIOLATION, Call, Delivery

if TYPE_CHECKING:
    from collections.abc import Sequence

RECIPIENT: Final = "ws-audit:synthetic:recipient"
OWNER: Final = "ws-audit:synthetic:owner"
EVENT: Final = "ws_audit_selftest"


class Broken(Exception):  # noqa: N818  (what the self-test has found, not an error of its own)
    """A stage that does not do its part; `what` was expected and what there was instead."""

    def __init__(self, stage: str, what: str) -> None:
        super().__init__(stage, what)
        self.stage = stage
        self.what = what


def tokens() -> dict[str, str]:
    """Canary tokens of the two users."""
    return {user: f"synthetic_{os.urandom(12).hex()}" for user in (RECIPIENT, OWNER)}


def messages(token: str, owner_paths: Sequence[str]) -> list[dict[str, Any]]:
    """A message of the recipient's, and one of the owner's with the owner's token."""
    found = []
    for user, text in ((RECIPIENT, "self-test"), (OWNER, token)):
        message: dict[str, Any] = {"event": EVENT, "text": text}
        for path in owner_paths or ("user_id",):
            _put(message, path, user)
        found.append(message)
    return found


def _put(message: dict[str, Any], path: str, user: str) -> None:
    """Write the user where the settings say that owners stand; of two paths in one place the first.

    `notes[].user_id` is a list of things that belong to people, `readers[]` one of people.
    """
    whole, listed, below = path.partition("[]")
    *above, last = whole.split(".")
    value: Any = user
    if listed:
        for step in reversed(below.split(".")[1:]):
            value = {step: value}
        value = [value]
    for step in above:
        message = message.setdefault(step, {})
        if type(message) is not dict:
            return
    message.setdefault(last, value)


def examine(records: Sequence[Any], label: str) -> None:
    """Whether of the two messages the right things were said; raises Broken, with the stage."""
    deliveries = [record for record in records if type(record) is Delivery]
    if len(deliveries) != 2:
        raise Broken("sink", f"saw {len(deliveries)} of 2 messages")
    for delivery, owner in zip(deliveries, (RECIPIENT, OWNER), strict=True):
        known = {item.name: item.principal.user for item in delivery.evidence}
        if delivery.manager != label or delivery.kind != SEND or known.get("argument") != RECIPIENT:
            raise Broken("hooks", "the call of a hooked method was not seen")
        if known.get("connection") != RECIPIENT:
            raise Broken("sink", "whose connection it was is not known")
        if known.get("payload") != owner:
            what = delivery.note or "no owner found in it"
            raise Broken("reader", f"a message could not be read: {what}")
    right, wrong = (delivery.verdict for delivery in deliveries)
    if right.verdict != MATCH:
        raise Broken(
            "judge", f"a message that was right is {right.rule or right.verdict}, not match"
        )
    if (wrong.verdict, wrong.rule, wrong.severity) != (VIOLATION, "canary", CONFIRMED):
        said = f"{wrong.rule} {wrong.severity}".strip() or wrong.verdict
        raise Broken("judge", f"a message that was wrong is {said}, not canary confirmed")
    if not any(type(record) is Call and record.deliveries for record in records):
        raise Broken("hooks", "the call of a hooked method was not settled")
