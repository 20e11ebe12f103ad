# SPDX-License-Identifier: Apache-2.0
"""Each kind of evidence alone, over real sockets: what only it can tell, and what it must not."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.real.world import Pair, Service, at_rest, claimed, leaks, serve, stored
from ws_audit.model import HYGIENE
from ws_audit.tools.demo_cast import Cast

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "cnry_5e0f6d1c88aa4b27"
NAMES = ("ann", "bob", "eve", "canary-1")
CAST = Cast({f"token-{name}": name for name in NAMES}, "k" * 32)
APP = {"app": "witnessed:app", "settings": {"WS_AUDIT_INCLUDE": "witnessed"}}
FLOOD = 20_000


class People:
    """The clients of a service: they do something, and keep whose data each of them got."""

    def __init__(self, service: Service, stack: ExitStack) -> None:
        self.service = service
        self.sockets: dict[str, ClientConnection] = {}
        for token, name in CAST.tokens.items():
            self.sockets[name] = stack.enter_context(connect(f"{service.url}?token={token}"))
        self.saw: Counter[Pair] = Counter()
        self.frames = 0

    def do(self, who: str, what: str, **more: Any) -> list[dict[str, Any]]:
        """One command, answered; what its sender was sent before the answer."""
        self.sockets[who].send(json.dumps({"do": what, **more}))
        got: list[dict[str, Any]] = []
        while what != "work":
            frame = self.read(who)
            if frame["type"] == "done":
                break
            got.append(frame)
        return got

    def read(self, who: str) -> dict[str, Any]:
        raw = self.sockets[who].recv(5)
        self.frames += 1
        if isinstance(raw, bytes):
            frame = {"type": "raw", "of": raw.rpartition(b"\x00")[2].decode()}
        else:
            frame = json.loads(raw)
        if frame["of"] not in (who, "all"):
            self.saw[CAST.hash_of(frame["of"]), CAST.hash_of(who)] += 1
        return frame


@pytest.fixture
def people(tmp_path: Path) -> Iterator[People]:
    tokens = tmp_path / "tokens.json"
    tokens.write_text(json.dumps({"canary-1": SECRET}))
    config = f'[canary]\ntokens_file = "{tokens}"\n[limits]\nresources = 1000\n'
    with serve(tmp_path, CAST, config=config, **APP) as service, ExitStack() as stack:  # type: ignore[arg-type]
        yield People(service, stack)


def told(people: People) -> dict[tuple[str, str], int]:
    """(rule, severity) -> events, once everybody has left; pairs and counts are the clients'."""
    for socket in people.sockets.values():
        socket.close()
    page = at_rest(people.service)
    people.service.stop()
    review = people.service.review()
    assert claimed(review) == dict(people.saw)
    assert page.balanced() == people.frames == review["coverage"]["frames"]
    assert page.troubles() == {"dropped": {}, "errors": {}}
    assert review["problems"] == []
    found: Counter[tuple[str, str]] = Counter()
    for each in leaks(review):
        found[each["rule"], each["severity"]] += each["events"]
    violations = page.by("ws_audit_violations_total", "severity", synthetic="false")
    assert {each: number for each, number in violations.items() if each != HYGIENE} == {
        each["severity"]: sum(n for (_, s), n in found.items() if s == each["severity"])
        for each in leaks(review)
    }
    assert SECRET not in people.service.said()
    for path in people.service.store.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path
    return dict(found)


def test_a_run_goes_on_at_somebody_elses(people: People) -> None:
    for _ in range(3):
        people.do("ann", "run")
    people.do("ann", "run", to="bob")
    people.read("bob")

    assert told(people) == {("resource_vs_connection", "probable"): 1}
    (span,) = [
        one for one in stored(people.service.store) if "security_rule.name" in one["attributes"]
    ]
    evidence = span["attributes"]
    assert evidence["ws_audit.evidence.resource.hash"] == CAST.hash_of("ann")
    assert evidence["ws_audit.evidence.resource.at"] == "call"
    assert evidence["ws_audit.evidence.resource.source"] == "run_id"
    assert evidence["ws_audit.evidence.context.hash"] == CAST.hash_of("ann")


def test_a_thread_somebody_else_asks_for(people: People) -> None:
    people.do("ann", "open", thread_id="t-1")
    people.do("bob", "open", thread_id="t-2")
    people.do("bob", "open", thread_id="t-1")

    assert told(people) == {("resource_vs_connection", "suspected"): 1}


def test_one_users_result_on_anothers_connection(people: People) -> None:
    for what in ("result", "work"):
        people.do("ann", what, to="bob")
        people.read("bob")

    assert told(people) == {("context_vs_connection", "suspected"): 2}


def test_content_that_can_only_be_one_users(people: People) -> None:
    people.do("canary-1", "remember", text=f"my secret is {SECRET}.")
    people.do("canary-1", "recall")
    people.do("ann", "recall")
    people.do("ann", "recall_raw")

    assert told(people) == {("canary", "confirmed"): 2}


def test_ordinary_traffic_says_nothing(people: People) -> None:
    for who, other in (("ann", "bob"), ("bob", "ann"), ("ann", "eve")) * 2:
        people.do(who, "run")
        people.do(who, "dm", to=other)
        people.read(other)
        people.do(who, "claim", conversation_id="c-1")
        people.do(who, "say", to=other)
        people.read(other)
        people.do(who, "all")
        for each in NAMES:
            if each != who:
                people.read(each)
    people.do("eve", "remember", text="nothing of anybody's")
    people.do("eve", "recall")

    assert told(people) == {}
    assert people.service.alarms() == []


def test_a_client_that_lies_floods_and_claims_runs_beforehand(people: People) -> None:
    """Eve knows what runs will be called. Nobody is paged, and it costs little."""
    guesses = [f"run-{n}" for n in range(1, 40)]
    for guess in guesses:
        people.do("eve", "claim", run_id=guess)
    people.do("eve", "echo", runs=guesses)
    for _ in range(5):
        people.do("ann", "run")
    before = resident(people.service)
    for number in range(0, FLOOD, 2):
        pair = (number, number + 1)
        frames = [{"do": "claim", "run_id": f"x-{n}", "user_id": "ann"} for n in pair]
        people.sockets["eve"].send(json.dumps(frames[0]))
        people.sockets["eve"].send(json.dumps(frames[1]))
        people.read("eve")
        people.read("eve")
    grown = resident(people.service) - before
    # What the server itself has said is still known after that.
    people.do("ann", "run", to="bob")
    people.read("bob")

    assert told(people) == {("resource_vs_connection", "probable"): 1}
    assert grown < 8_000_000


def resident(service: Service) -> int:
    """Bytes of memory the process holds."""
    pages = Path(f"/proc/{service.process.pid}/statm").read_text().split()[1]
    return int(pages) * 4096
