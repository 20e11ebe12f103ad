# SPDX-License-Identifier: Apache-2.0
"""What the closed sets mean, in words that somebody understands who has never seen the product.

Why it exists: the page is handed to people who decide what to tell others: a duty officer, a
data protection officer, a lawyer.

It must never say more than was seen, and never draw a legal conclusion.
"""

from __future__ import annotations

from typing import Final

HEADLINES: Final = {
    "confirmed": "Leak confirmed",
    "probable": "Leak probable",
    "suspected": "Leak suspected",
    "hygiene": "No leak among the violations, but poor hygiene",
}

SURE: Final = {
    "confirmed": "Two independent statements name the same other person, or a test user's secret "
    "token came to somebody else.",
    "probable": "One strong statement names another person, or the run or thread belongs to "
    "another.",
    "suspected": "Only a weak statement names another person: a broadcast nobody declared, a user "
    "whom only the client claimed, or a task that was serving somebody else.",
    "hygiene": "Worth a look, but no delivery was seen to go wrong.",
}

RULES: Final = {
    "canary": "The secret token of a test user was in a message to somebody else.",
    "argument_vs_connection": "The calling code named one person as the recipient; the message "
    "went to a connection that belongs to another.",
    "payload_vs_connection": "The message itself names one person as its owner; it went to a "
    "connection that belongs to another.",
    "instance_vs_connection": "The object that sent the message was built for one person; the "
    "message went to a connection that belongs to another.",
    "resource_vs_connection": "The message is about a run, thread or other thing of one person; "
    "it went to a connection that belongs to another.",
    "context_vs_connection": "The task that sent the message was serving one person; the message "
    "went to a connection that belongs to another.",
    "thread_as_user": "The id of a thread or run stands where the id of a person should.",
    "rebound_connection": "A connection that belonged to one person was given to another.",
    "inbound_vs_connection": "A client claimed to be a person other than the one its connection "
    "belongs to.",
    "shared_instance": "One object was built for, or handed to, two people.",
    "shared_state": "The objects of two people share something that changes.",
}

# Rules that are no delivery: what happened, and how their pairs are read.
HAPPENED: Final = {
    "rebound_connection": "A connection was given to a second person",
    "inbound_vs_connection": "A client claims to be someone else",
    "shared_instance": "One object serves two people",
    "shared_state": "Two people's objects share something that changes",
}
PAIRED: Final = {
    "rebound_connection": ("", " came second on the connection of "),
    "inbound_vs_connection": ("A client claims to be ", " on the connection of "),
    "shared_instance": ("First ", ", then "),
    "shared_state": ("First ", ", then "),
}
DELIVERED: Final = ("Data of ", " on the connection of ")

KINDS: Final = {
    "connection": "whose connection it was",
    "argument": "the recipient the calling code named",
    "payload": "the owner named in the message",
    "instance": "the person the sending object was built for",
    "resource": "the owner of the run, thread or other thing the message is about",
    "context": "the person the sending task was serving",
    "canary": "the test user whose token was in the message",
    "thread_as_user": "the thread or run whose id stands for a person",
}

POINTS: Final = {
    "accept": "when the connection was accepted",
    "construct": "when the sending object was built",
    "inbound": "from an earlier message of a client",
    "call": "when the code called send",
    "content": "in the content of the message",
}

OUTCOMES: Final = {
    "ok": "delivered: the transport took it",
    "unknown": "not known: the process ended in the call; counted as delivered",
    "error": "not delivered: sending failed",
    "refused": "not delivered: refused by the agent (mode block)",
    "cancelled": "not delivered: the send was cancelled",
    "undelivered": "not delivered: nobody took it",
}

METHOD: Final = """\
The agent runs inside the audited service. At every message that leaves it compares whose connection
it is with whose data it is, as told by statements that were captured at different places. It writes
a violation to disk before the message goes on, and once a minute how many deliveries it judged.
This page is made from those records and nothing else.

Delivered means that the transport took the message, or that the process ended before it could say.
Whether a person looked at it is not known. Attempted counts every try, also those that failed or
were refused.

Violations with one cause (service, rule, function) are one incident until somebody acknowledges it
or it is silent for 24 hours. Past the first hundred of a pair, deliveries are recorded as sums, one
a second: counts, bytes, first and last stay exact, single records are no longer kept. No content of
any message is recorded. Times are the clocks of the hosts, in UTC."""

HASHES: Final = (
    "People appear as keyed hashes (BLAKE2b over tenant and user id, with a secret key). Nobody "
    "can tell a person from a hash without the key, but whoever has key and user list can: so the "
    "hashes, and this page, are personal data. The same person has the same hash everywhere the "
    "same key was used. Here they are shortened to as many digits as tell everybody here apart."
)
