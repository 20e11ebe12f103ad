# SPDX-License-Identifier: Apache-2.0
"""Whose an order is, where only who was told of it first says so: real server, real clients."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.real.world import Pair, Service, at_rest, claimed, get, leaks, serve
from ws_audit.tools.demo_cast import Cast
from ws_audit.tools.demo_stage import HOST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Running = Callable[..., Any]

NAMES = ("ann", "bob", "eve", "dan")
CAST = Cast({f"token-{name}": name for name in NAMES}, "k" * 32)
READERS = """
[[policy]]
kind = "share"
resource = "file_id"
membership = "counter:readers"
reason = "files have readers"
"""


class Shop:
    """The clients, and whose data each of them got."""

    def __init__(self, service: Service, stack: ExitStack) -> None:
        self.service = service
        self.sockets: dict[str, ClientConnection] = {
            name: stack.enter_context(connect(f"{service.url}?token=token-{name}"))
            for name in NAMES
        }
        self.saw: Counter[Pair] = Counter()
        self.frames = 0

    def do(self, who: str, what: str, **more: Any) -> dict[str, Any]:
        """One command, done; the last thing its sender was sent before."""
        self.sockets[who].send(json.dumps({"do": what, **more}))
        got: dict[str, Any] = {}
        while (frame := self.read(who))["type"] != "done":
            got = frame
        return got

    def read(self, who: str) -> dict[str, Any]:
        return self._saw(who, json.loads(self.sockets[who].recv(5)))

    def stream(self, who: str, number: int) -> None:
        """Read the events of an order to their end."""
        page = get(f"http://{HOST}:{self.service.port}/orders/{number}/events?token=token-{who}")
        for event in page.strip().split("\n\n"):
            self._saw(who, json.loads(event.removeprefix("data: ")))

    def _saw(self, who: str, frame: dict[str, Any]) -> dict[str, Any]:
        self.frames += 1
        if frame["of"] not in (who, "all"):
            self.saw[CAST.hash_of(frame["of"]), CAST.hash_of(who)] += 1
        return frame

    def found(self) -> tuple[dict[tuple[str, str], int], dict[Pair, int]]:
        """(rule, severity) -> events, and the pairs, once everybody has left."""
        for socket in self.sockets.values():
            socket.close()
        page = at_rest(self.service)
        self.service.stop()
        review = self.service.review()
        assert page.balanced() == self.frames == review["coverage"]["frames"]
        assert page.troubles() == {"dropped": {}, "errors": {}}
        told: Counter[tuple[str, str]] = Counter()
        for each in leaks(review):
            told[each["rule"], each["severity"]] += each["events"]
        return dict(told), claimed(review)


@pytest.fixture
def running(tmp_path: Path) -> Running:
    @contextmanager
    def run(config: str = '[payload]\nresources = ["order_id"]\n') -> Iterator[Shop]:
        settings = {"WS_AUDIT_INCLUDE": "counter"}
        with (
            serve(tmp_path, CAST, config=config, app="counter:app", settings=settings) as service,
            ExitStack() as stack,
        ):
            yield Shop(service, stack)

    return run


def pair(owner: str, recipient: str) -> Pair:
    return CAST.hash_of(owner), CAST.hash_of(recipient)


def test_what_somebody_else_is_shown(running: Running) -> None:
    with running() as shop:
        # Ann's order, which Eve looks at.
        number = shop.do("ann", "order")["order_id"]
        shop.do("bob", "order")
        for _ in range(2):
            shop.do("ann", "look", number=number)
        shop.do("eve", "look", number=number)
        # A stream of Ann's, which Bob reads.
        shop.stream("ann", 70)
        shop.stream("bob", 71)
        shop.stream("ann", 70)  # again: it is hers
        shop.stream("bob", 70)
        leaked = dict(shop.saw)
        # One that everybody looks at: the first is told, and then it is shared.
        number = shop.do("dan", "order")["order_id"]
        for name in ("eve", "bob", "ann", "bob", "dan", "eve"):
            shop.do(name, "look", number=number)
        # What goes round is nobody's, from the first message on.
        for number in (103, 104):
            shop.do("ann", "board", number=number)
            for name in ("bob", "eve", "dan"):
                shop.read(name)
                shop.read(name)
        for name in ("eve", "bob", "dan"):
            shop.stream(name, 103)
        told, pairs = shop.found()

    assert leaked == {pair("ann", "eve"): 1, pair("ann", "bob"): 3}
    assert pairs == {**leaked, pair("dan", "eve"): 1}
    assert told == {("resource_vs_connection", "suspected"): 5}


def test_a_reader_may_see_a_file_and_nobody_else(running: Running) -> None:
    with running('[payload]\nresources = ["file_id"]\n' + READERS) as shop:
        for name, document in (("ann", "a-1"), ("bob", "b-1"), ("ann", "a-1")):
            shop.do(name, "file", text=document)
        shop.do("eve", "file", text="b-1")
        # An order is nothing anybody has declared.
        number = shop.do("ann", "order")["order_id"]
        shop.do("eve", "look", number=number)
        told, pairs = shop.found()

    assert told == {("resource_vs_connection", "probable"): 1}
    assert pairs == {pair("bob", "eve"): 1}
