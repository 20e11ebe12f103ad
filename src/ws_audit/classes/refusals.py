# SPDX-License-Identifier: Apache-2.0
"""Why a class is left alone, in words for somebody who expected otherwise.

Why it exists: `doctor` owes an answer, and a way out, for each class that looks like a manager.
It must never hold logic.
"""

from __future__ import annotations

from typing import Final

_NAME_IT: Final = "name it in a [[manager]] table to have it taken all the same"
DOUBLE: Final = (
    "its name is that of a test double, a test or an interface (mock, fake, stub, dummy, Test,"
    f" Protocol); {_NAME_IT}"
)
INTERFACE: Final = (
    "it is a Protocol or an Enum, which delivers nothing; the classes that implement it are looked"
    " at themselves"
)
VALUE: Final = f"it is an exception or a tuple; {_NAME_IT}"
NO_SEND: Final = (
    "it defines no method that is called like a send (send, emit, publish, notify, push, deliver,"
    " broadcast, ...); if one of its methods sends, name class and method in a [[manager]] table"
)
NOT_REALTIME: Final = (
    "nothing in its module is real-time (a WebSocket, websockets, socketio, sse, ...) and none of"
    f" its methods handles a WebSocket; {_NAME_IT}"
)
ITS_A_CLIENT: Final = (
    f"it asks another server for its socket: a client, not who serves clients; {_NAME_IT}"
)
OTHER: Final = (
    "its name speaks of something else (mail, database, broker, metrics, tasks, ...) and none of"
    f" its methods handles a WebSocket; {_NAME_IT}"
)
NO_CONNECT: Final = (
    "it sends, but neither does its name speak of connections (ConnectionManager, ...Hub,"
    " ...Notifier, ...) nor has it a method that is called like a connect (connect, register,"
    f" add_client, ...); {_NAME_IT}"
)
