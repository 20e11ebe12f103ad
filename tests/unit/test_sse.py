# SPDX-License-Identifier: Apache-2.0
"""Server-sent events: put together from chunks as the standard says, and nothing else touched."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ws_audit
from tests.faults.harness import Agent, agent, told
from ws_audit.model import LIMIT
from ws_audit.principals.identity import CELL_KEY
from ws_audit.transports.sse import Events

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMITED = 200


@pytest.fixture
def audited() -> Iterator[Agent]:
    with agent(limits_payload_bytes=LIMITED) as made:
        yield made


def fed(*chunks: bytes, limit: int = 1_000) -> list[tuple[bytes, str]]:
    events = Events(limit)
    return [(one.data, one.name) for chunk in chunks for one in events.feed(chunk)]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: one\n\n", [(b"one", "")]),
        (b"data:one\n\ndata: two\n\n", [(b"one", ""), (b"two", "")]),
        (b"data:  one\n\n", [(b" one", "")]),  # only the first space goes
        (b"event: greet\r\ndata: one\r\n\r\n", [(b"one", "greet")]),
        (b"data: one\revent: greet\r\r", [(b"one", "greet")]),
        (b"data: one\ndata: two\n\n", [(b"one\ntwo", "")]),
        (b"data\n\n", [(b"", "")]),
        (b"data\ndata\n\n", [(b"\n", "")]),
        (b": ping\n\n: ping\n\n", []),
        (b"event: nothing\n\ndata: one\n\n", [(b"one", "")]),  # the name goes with its event
        (b"id: 7\nretry: 100\n\n", []),
        (b"id: 7\ndata: one\nretry: 100\nunknown: x\n\n", [(b"one", "")]),
        (b"\xef\xbb\xbfdata: one\n\n", [(b"one", "")]),
        (b"datax: one\n\n", []),
        (b"data: half", []),
        (b"data: half\n", []),  # no empty line: a browser drops it as well
        (b"\n\n\n", []),
        ("event: grüße\ndata: ü\n\n".encode(), [("ü".encode(), "grüße")]),
    ],
)
def test_a_stream_is_read_as_the_standard_says(
    stream: bytes, events: list[tuple[bytes, str]]
) -> None:
    assert fed(stream) == events
    one_by_one = [stream[at : at + 1] for at in range(len(stream))]
    if not stream.startswith(b"\xef"):
        assert fed(*one_by_one) == events


PIECES = [b"data", b"event", b":", b" ", b"x", b"\n", b"\r", b"\r\n", b"id", b"data: y\n\n", b"e\n"]


@given(st.lists(st.sampled_from(PIECES), max_size=30), st.lists(st.integers(0, 60), max_size=8))
def test_it_does_not_matter_where_the_chunks_end(pieces: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(pieces)
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    chunks = [stream[one:other] for one, other in pairwise(places)]
    assert fed(*chunks) == fed(stream) == reference(stream)


def reference(stream: bytes) -> list[tuple[bytes, str]]:
    """The algorithm of the standard, over the whole stream at once."""
    found: list[tuple[bytes, str]] = []
    data, name = "", ""
    text = stream.decode().replace("\r\n", "\n").replace("\r", "\n")
    for line in text.split("\n")[:-1]:
        if line == "":
            if data:
                found.append((data.removesuffix("\n").encode(), name))
            data, name = "", ""
        elif not line.startswith(":"):
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "data":
                data += value + "\n"
            elif field == "event":
                name = value
    return found


@pytest.mark.parametrize("step", [1, 7, 5_000])
def test_what_is_kept_of_an_event_is_bounded(step: int) -> None:
    limit, huge = 100, 4_000
    events = Events(limit)
    stream = b"data: " + b"x" * huge + b"\ndata: y\n\ndata: z\n\n"
    found = []
    for at in range(0, len(stream), step):
        found += events.feed(stream[at : at + step])
        assert len(events._line) + len(events._data) <= 3 * limit
    assert [(len(one.data), one.size) for one in found] == [(limit + 1, huge + 2), (1, 1)]


# --- through the agent ---------------------------------------------------------------------------


class Response:
    """One HTTP response from the server's side, and what the client got of it."""

    def __init__(self, user: object = "alice", kind: bytes = b"text/event-stream") -> None:
        self.scope: dict[str, Any] = {"type": "http", "path": "/", "user": user}
        self.headers: Any = [(b"Content-Type", kind)]
        self.chunks: list[Any] = []
        self.fails: BaseException | None = None

    async def receive(self) -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        if self.fails is not None and message["type"] == "http.response.body":
            raise self.fails
        if message["type"] == "http.response.body":
            self.chunks.append(message["body"])

    def serve(self, audited: Agent, *chunks: Any, before: Any = None) -> Response:
        async def application(scope: Any, receive: Any, send: Any) -> None:
            assert receive == self.receive  # nothing is looked at that comes in
            if before is not None:
                before(scope)
            await send({"type": "http.response.start", "status": 200, "headers": self.headers})
            for chunk in chunks:
                if callable(chunk):
                    chunk()
                    continue
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})

        asyncio.run(audited.runtime.take(application)(self.scope, self.receive, self.send))  # type: ignore[arg-type]
        return self


def event(owner: str, name: str = "") -> bytes:
    line = f"event: {name}\n" if name else ""
    return f"{line}data: {json.dumps({'user_id': owner})}\n\n".encode()


def test_each_event_is_a_delivery_and_pings_are_none(audited: Agent) -> None:
    one, other = event("alice"), event("bob", "agent_started")
    stream = Response().serve(audited, b": ping\n\n", one + other, one[:9], one[9:], b": ping\n\n")
    assert b"".join(stream.chunks).count(b"data") == 3
    assert audited.verdicts() == ["match", "payload_vs_connection:probable", "match"]
    frames = audited.frames()
    assert {one.transport for one in frames} == {"sse"}
    assert [one.event for one in frames] == ["none", "agent_started", "none"]
    assert [one.size for one in frames] == [len('{"user_id": "alice"}')] * 1 + [18, 20]
    assert audited.counted("opened") == audited.counted("closed") == {("sse",): 1}


def test_memory_views_and_tuples_of_headers_are_read_as_well(audited: Agent) -> None:
    stream = Response(kind=b"Text/Event-Stream; charset=utf-8")
    stream.headers = tuple(stream.headers)
    stream.serve(audited, memoryview(event("bob")))
    assert audited.verdicts() == ["payload_vs_connection:probable"]


@pytest.mark.parametrize("kind", [b"text/html", b"application/json", b"text/event"])
def test_other_responses_are_none_of_ours(audited: Agent, kind: bytes) -> None:
    stream = Response(kind=kind).serve(audited, event("bob"))
    assert stream.chunks == [event("bob"), b""]
    assert audited.frames() == []
    assert audited.counted("opened") == audited.counted("closed") == {}


def test_headers_that_can_be_read_once_are_the_servers(audited: Agent) -> None:
    stream = Response()
    stream.headers = iter(stream.headers)
    stream.serve(audited, event("bob"))
    assert list(stream.headers) == [(b"Content-Type", b"text/event-stream")]
    assert audited.frames() == []
    assert audited.said == []


def test_what_is_compressed_is_counted_and_opaque(audited: Agent) -> None:
    stream = Response()
    stream.headers.append((b"content-encoding", b"gzip"))
    stream.serve(audited, b"\x1f\x8b\x08...", b"...")
    assert audited.verdicts() == ["unattributed:opaque_payload"] * 2


def test_a_long_event_is_a_delivery_of_its_size(audited: Agent) -> None:
    Response().serve(audited, b"data: {", b"x" * LIMITED, b"}\n\n")
    (one,) = audited.frames()
    assert (told(one), one.size) == (f"unattributed:{LIMIT}", LIMITED + 2)


def test_a_refused_chunk_is_counted_with_its_outcome(audited: Agent) -> None:
    stream = Response()
    stream.fails = OSError("gone")
    with pytest.raises(OSError, match="gone"):
        stream.serve(audited, event("bob"))
    assert [one.outcome for one in audited.frames()] == ["error"]
    assert audited.counted("closed") == {("sse",): 1}


def test_a_refused_event_takes_those_with_it_that_leave_in_the_same_chunk() -> None:
    with agent(mode="block") as audited:
        with pytest.raises(ws_audit.IsolationViolation):
            Response().serve(audited, event("alice") + event("bob"))
        assert {one.size: one.outcome for one in audited.frames()} == {20: "error", 18: "refused"}
        assert audited.counted("closed") == {("sse",): 1}


class Feed:
    """Registers users without naming their request, as one that hands out queues does."""

    def connect(self, user_id: str) -> list[Any]:
        return []

    def subscribe(self, user_id: str) -> list[Any]:
        return []

    def subscribe_to(self, user_id: str, channel: str) -> list[Any]:
        return []

    def join(self, user_id: str) -> list[Any]:
        return []

    async def send_to_user(self, user_id: str, message: Any) -> None:
        """Into the queue."""


def test_a_manager_registers_the_user_of_the_request_that_calls_it(audited: Agent) -> None:
    audited.patch(Feed, connect="bind")
    feed = Feed()
    stream = Response(user=None)
    stream.serve(audited, event("bob"), before=lambda scope: feed.connect("alice"))
    assert audited.verdicts() == ["payload_vs_connection:probable"]


@pytest.mark.parametrize(("method", "taken"), [("subscribe", True), ("join", False)])
def test_who_subscribes_by_its_name(audited: Agent, method: str, taken: bool) -> None:
    audited.patch(Feed)
    stream = Response(user=None)
    stream.serve(audited, event("bob"), before=lambda _: getattr(Feed(), method)("alice"))
    verdict = "payload_vs_connection:probable" if taken else "unattributed:no_principal"
    assert audited.verdicts() == [verdict]


def test_a_channel_is_no_user(audited: Agent) -> None:
    audited.patch(Feed)
    stream = Response(user=None)
    stream.serve(audited, event("bob"), before=lambda _: Feed().subscribe_to("alice", "news"))
    assert audited.verdicts() == ["unattributed:no_principal"]


def test_a_registration_never_speaks_against_what_is_known(audited: Agent) -> None:
    audited.patch(Feed, connect="bind")
    feed = Feed()

    def topic() -> None:
        feed.connect("bob")  # one of several, not who is connected

    Response().serve(audited, event("alice"), topic, event("alice"))
    assert audited.verdicts() == ["match", "match"]
    assert audited.counted("violation") == {}


def test_a_request_that_is_no_stream_makes_no_event_of_two_users(audited: Agent) -> None:
    def before(scope: Any) -> None:
        cell = scope[CELL_KEY]
        audited.runtime.sink.dependency(cell, scope, "current_user", {"id": 1})
        audited.runtime.sink.dependency(cell, scope, "user", {"id": 2})

    Response(user=None, kind=b"text/html").serve(audited, b"", before=before)
    assert audited.counted("violation") == {}
    Response(user=None).serve(audited, event("2"), before=before)
    assert audited.verdicts() == ["payload_vs_connection:probable"]


def test_the_next_request_is_not_taken_for_the_last_one(audited: Agent) -> None:
    """Servers let what one request has set shine into the next one's context."""
    audited.patch(Feed, connect="bind")
    feed = Feed()
    seen: list[Any] = []

    async def both() -> None:
        for user in ("alice", "bob"):

            async def application(scope: Any, receive: Any, send: Any, user: str = user) -> None:
                feed.connect(user)
                seen.append(scope[CELL_KEY].held.principal.user)

            await audited.runtime.take(application)({"type": "http"}, None, None)  # type: ignore[arg-type]

    asyncio.run(both())
    assert seen == ["alice", "bob"]
