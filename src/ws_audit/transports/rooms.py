# SPDX-License-Identifier: Apache-2.0
"""Rooms and groups, by which frameworks address many connections, and sometimes one person's.

Why it exists: `emit(..., room="user:17")` names its recipient as clearly as an argument does,
and any other room means that more than one person may be meant. It must never take the name
of a topic for a person.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ws_audit.model import BROADCAST, CALL, SEND, STRONG, Evidence
from ws_audit.principals.addresses import user_of

if TYPE_CHECKING:
    from ws_audit.messages.intents import Frame, Intents


def enter(
    intents: Intents, room: object, manager: str, function: str, source: str, depth: int
) -> Frame:
    """A call that gives a message to a room: its intent, or what it adds to the one under way.

    `depth` is how many frames up the call's caller stands; `source` is the parameter.
    """
    who = user_of(room)
    frame = intents.enter(BROADCAST if who is None else SEND, manager, function, depth + 1)
    frame.named = (("", room),)
    if who is None:
        frame.room = True
    else:
        # As of a manager's argument: that it names each recipient of a broadcast proves nothing.
        attests = frame.intent.kind != BROADCAST
        frame.evidence.append(Evidence("argument", who, CALL, source, STRONG, attests))
    return frame
