# SPDX-License-Identifier: Apache-2.0
"""Server-sent events: a response of type text/event-stream, each complete event a delivery.

Why it exists: half of all live push goes this way, and what leaves are chunks of bytes that
may hold half an event, or three. They are put together here as a browser does it.

It must never hold back a chunk, keep more of an event than is ever looked at, or touch what
any other response does: of those only the content type is read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from ws_audit.hooks.terms import Message, Scope
    from ws_audit.model import Delivery
    from ws_audit.principals.identity import Cell
    from ws_audit.sink import Sink

TRANSPORT: Final = "sse"
_MEDIA_TYPE: Final = b"text/event-stream"
_MARK: Final = b"\xef\xbb\xbf"  # may stand at the beginning of a stream
_FIELD: Final = 64  # more than the longest name of a field: one too long is seen to be


class Event(NamedTuple):
    """One event: what it carries, as far as it is looked at, how long that is, and its name."""

    data: bytes
    size: int
    name: str


class Events:
    """Puts the events of one stream together; keeps about `limit` bytes of each at most."""

    __slots__ = ("_begun", "_data", "_limit", "_line", "_longer", "_name", "_return", "_size")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._begun = False
        self._line = bytearray()  # of a line whose end has not come
        self._longer = 0  # how many bytes of it were not kept
        self._return = False  # the last byte ended a line: a line feed belongs to it
        self._data = bytearray()
        self._size = -1  # of the data so far: none at all
        self._name = b""

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that are complete with this chunk."""
        if self._return and chunk[:1] == b"\n":
            chunk = chunk[1:]
            self._return = False
        if not chunk:
            return []
        if not self._begun:
            self._begun = True
            chunk = chunk.removeprefix(_MARK)
        self._return = chunk[-1:] == b"\r"
        lines = chunk.splitlines()
        rest = b"" if self._return or chunk[-1:] == b"\n" or not lines else lines.pop()
        found: list[Event] = []
        for line in lines:
            whole, longer = line, 0
            if self._line:
                self._keep(line)
                whole, longer = bytes(self._line), self._longer
                self._line.clear()
                self._longer = 0
            self._take(whole, longer, found)
        if rest:
            self._keep(rest)
        return found

    def _keep(self, part: bytes) -> None:
        room = max(0, self._limit + _FIELD - len(self._line))
        self._line += part[:room]
        self._longer += max(0, len(part) - room)

    def _take(self, line: bytes, longer: int, found: list[Event]) -> None:
        if not line:
            if self._size >= 0:
                name = self._name.decode("utf-8", "replace")
                found.append(Event(bytes(self._data), self._size, name))
            self._data.clear()
            self._size = -1
            self._name = b""
            return
        field, _, value = line.partition(b":")
        if value[:1] == b" ":
            value = value[1:]
        if field == b"data":
            if self._size >= 0:
                value = b"\n" + value
            self._size = max(self._size, 0) + len(value) + longer
            # One byte more than is looked at: then the reader says that it is too long.
            self._data += value[: max(0, self._limit + 1 - len(self._data))]
        elif field == b"event":
            self._name = value[:_FIELD]


class Stream:
    """One HTTP response, told to the sink if it is a stream of events."""

    __slots__ = ("_cell", "_events", "_opaque", "_scope", "_sink")

    hears = False

    def __init__(self, sink: Sink, cell: Cell, scope: Scope) -> None:
        self._sink = sink
        self._cell = cell
        self._scope = scope
        self._events: Events | None = None
        self._opaque = False  # compressed by the application: nobody sees where an event ends

    def outbound(self, message: Message) -> list[Delivery] | None:
        """A message to the server: the events that are complete with it, judged."""
        if self._events is None:
            if message["type"] == "http.response.start":
                self._begin(message.get("headers"))
            return None
        body = message.get("body")
        if not body or message["type"] != "http.response.body":
            return None
        chunk = body if type(body) is bytes else bytes(body)
        found = [Event(chunk, len(chunk), "")] if self._opaque else self._events.feed(chunk)
        cell, scope = self._cell, self._cell.scope or self._scope
        judged: list[Delivery] = []
        try:
            judged.extend(
                self._sink.outbound(cell, scope, one.data, one.size, one.name, body)
                for one in found
            )
        except Exception as refusal:  # of one is of all that leave with it
            self.delivered(judged, refusal)
            raise
        return judged

    def _begin(self, headers: object) -> None:
        # Anything else may be an iterator, which would be empty afterwards.
        if type(headers) is not list and type(headers) is not tuple:
            return
        kind = encoding = b""
        for name, value in headers:
            if len(name) == 12 and name.lower() == b"content-type":
                kind = value
            elif len(name) == 16 and name.lower() == b"content-encoding":
                encoding = value
        if kind[: len(_MEDIA_TYPE)].lower() == _MEDIA_TYPE:
            self._events = Events(self._sink.payload_bytes)
            self._opaque = encoding.lower() not in (b"", b"identity")
            self._sink.opened(self._cell)

    def delivered(self, state: list[Delivery], error: BaseException | None) -> None:
        """The server took the chunk, or raised."""
        for delivery in state:
            self._sink.delivered(delivery, error)

    def inbound(self, message: Message) -> None:
        """Nothing: a stream has no way back."""

    def closed(self) -> None:
        """The application is done with the request."""
        self._sink.close(self._cell)
        self._cell.scope = None
