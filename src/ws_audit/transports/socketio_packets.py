# SPDX-License-Identifier: Apache-2.0
"""What a Socket.IO packet is: an event that an application sent, or the protocol's own talk.

Why it exists: pings, handshakes and acknowledgements are no deliveries, and an event's binary
parts are packets of their own. It must never raise, and never decode more than an event's name
and where its first object stands.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

import msgspec

_EVENT, _BINARY_EVENT = "2", "5"
_HEAD: Final = re.compile(r"([256])(?:(\d{1,9})-)?(?:(/[^,\[]*),)?\d*(?=\[)")
_decode: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Event(NamedTuple):
    """An event: what the reader is given of it, its size, name and namespace."""

    content: Any
    size: int
    name: str = ""
    namespace: str = "/"


class Packets:
    """One connection's packets in their order."""

    __slots__ = ("_attachments", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._attachments = 0  # packets to come that are parts of the last one

    def event(self, data: object) -> Event | None:
        """The event a packet is; None if it is none, or a part of one."""
        if type(data) is bytes:
            if self._attachments:
                self._attachments -= 1
                return None
            return self._packed(data)
        match = _HEAD.match(data) if type(data) is str else None
        if match is None:
            return None
        text: Any = data
        kind, attachments, namespace = match.groups()
        self._attachments = int(attachments or 0)
        if kind not in (_EVENT, _BINARY_EVENT):
            return None
        size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        if size > self._limit:
            return Event(text, size, "", namespace or "/")
        body = text[match.end() :]
        try:
            parts = [bytes(part) for part in _decode(body)]
            name = msgspec.json.decode(parts[0])
        except (msgspec.MsgspecError, UnicodeError, IndexError):
            return Event(body, size, "", namespace or "/")
        return Event(_first(parts, b"{"), size, _text(name), namespace or "/")

    def _packed(self, data: bytes) -> Event | None:
        """The same of an application that packs its messages with msgpack."""
        if len(data) > self._limit:
            return Event(data, len(data))
        try:
            packet = msgspec.msgpack.decode(data)
            if packet["type"] != int(_EVENT):
                return None
            name, *arguments = packet["data"]
            content = next((one for one in arguments if type(one) is dict), b"")
            return Event(content, len(data), _text(name), _text(packet.get("nsp")) or "/")
        except (msgspec.MsgspecError, UnicodeError, LookupError, TypeError, ValueError):
            return Event(data, len(data))


def _first(parts: list[bytes], begins: bytes) -> bytes:
    """The first argument that is an object, else the first one."""
    found = next((part for part in parts[1:] if part[:1] == begins), None)
    return found if found is not None else b"".join(parts[1:2])


def _text(value: object) -> str:
    return value if type(value) is str else ""
