# SPDX-License-Identifier: Apache-2.0
"""Each kind of policy, mode block, the accessor, aliases and bind: a real server, real clients.

What is excused is what the clients saw of it, frame for frame; the mistake that looks most like it
is still a violation.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.real.world import Page, Service, eventually, get, leaks, serve, stored
from ws_audit.tools.demo_cast import Cast
from ws_audit.tools.demo_stage import HOST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Running = Callable[..., "contextlib.AbstractContextManager[Lounge]"]

BROADCAST = '[[policy]]\nkind = "broadcast"\nevents = ["presence.*"]\nreason = "public"\n'
ROOM = """
[[policy]]
kind = "room"
events = ["chat.message"]
membership = "lounge:members"
room = "room_id"
reason = "group chat"
"""
SHARE = """
[[policy]]
kind = "share"
resource = "document_id"
membership = "lounge:readers"
reason = "shared documents"
"""
SYSTEM = '[[policy]]\nkind = "system"\nprincipals = ["system"]\nreason = "notices"\n'
SUPPORT = '[[policy]]\nkind = "impersonation"\nactors = ["{support}"]\nreason = "console"\n'
ALL = BROADCAST + ROOM + SHARE + SYSTEM + SUPPORT


class Client:
    """One user's client; keeps every frame it got."""

    def __init__(self, socket: ClientConnection, user: str) -> None:
        self.user = user
        self._socket = socket
        self.got: list[dict[str, Any]] = []

    def ask(self, what: str, **more: Any) -> dict[str, Any]:
        """Send a command, and wait for what says that it is done."""
        self._socket.send(json.dumps({"do": what, "text": "", **more}))
        while True:
            frame = self.hear()
            if frame["type"] in ("done", "refused"):
                return frame

    def hear(self, seconds: float = 10) -> dict[str, Any]:
        frame: dict[str, Any] = json.loads(self._socket.recv(timeout=seconds))
        self.got.append(frame)
        return frame

    def rest(self) -> None:
        """Whatever has come so far: a message of one's own is the last of it."""
        self.ask("nothing")


class Lounge:
    """The running service and four connected users: two in the room, one outside, support."""

    def __init__(self, service: Service, clients: list[Client]) -> None:
        self.service = service
        self.ann, self.bob, self.eve, self.support = clients
        self.clients = clients

    def page(self) -> Page:
        """The metrics once every client has heard everything."""
        for client in self.clients:
            client.rest()
        page = self.service.metrics()
        page.balanced()
        assert page.total("ws_audit_frames_total") == sum(len(one.got) for one in self.clients)
        assert page.troubles() == {"dropped": {}, "errors": {}}
        return page

    def heard(self, text: str) -> Counter[str]:
        """Who got frames with this text in them, how many."""
        return Counter(
            client.user
            for client in self.clients
            for frame in client.got
            if text in json.dumps(frame)
        )


@pytest.fixture
def running(tmp_path: Path) -> Running:
    @contextlib.contextmanager
    def start(config: str, path: str = "/ws", **settings: str) -> Iterator[Lounge]:
        cast = Cast.of(4)
        users = list(cast.tokens.values())
        config = config.replace("{support}", users[3])
        told = {"WS_AUDIT_INCLUDE": "lounge.*", **settings}
        with contextlib.ExitStack() as held:
            service = held.enter_context(
                serve(tmp_path, cast, app="lounge:app", settings=told, config=config)
            )
            url = f"ws://{HOST}:{service.port}{path}?token="
            clients = [
                Client(held.enter_context(connect(url + token, proxy=None)), user)
                for token, user in cast.tokens.items()
            ]
            for client in clients:
                client.rest()  # the service has registered it
            yield Lounge(service, clients)

    return start


# What each policy is declared for, and who else than the sender gets it.
KINDS = {
    "broadcast": ("presence", ["bob", "eve", "support"]),
    "room": ("say", ["bob"]),
    "share": ("edit", ["bob"]),
    "system": ("notice", ["bob"]),
    "impersonation": ("tell", ["support"]),
}


def test_what_is_declared_is_excused_frame_for_frame(running: Running) -> None:
    with running(ALL) as lounge:
        lounge.ann.ask("watch")
        for kind, (what, _) in KINDS.items():
            for _ in range(3):
                lounge.ann.ask(what, text=f"SECRET of {kind}")
        page = lounge.page()
        for kind, (_, others) in KINDS.items():
            heard = lounge.heard(f"SECRET of {kind}")
            del heard[lounge.ann.user]
            assert heard == {getattr(lounge, other).user: 3 for other in others}
        excused = {kind: 3 * len(others) for kind, (_, others) in KINDS.items()}
        assert page.by("ws_audit_excused_total", "policy") == excused
        assert page.by("ws_audit_violations_total", "rule") == {}
        lounge.service.stop()
        review = lounge.service.review()
        assert leaks(review) == []
        assert review["coverage"]["excused"] == sum(excused.values())
        assert review["coverage"]["judged"] == review["coverage"]["frames"]


def test_without_it_the_same_is_a_violation(running: Running) -> None:
    with running("") as lounge:
        lounge.ann.ask("watch")
        for what in ("presence", "say", "edit", "notice", "tell"):
            lounge.ann.ask(what, text="SECRET-2")
        page = lounge.page()
        assert page.by("ws_audit_excused_total", "policy") == {}
        found = page.by("ws_audit_violations_total", "severity")
        # Presence to three, a chat, a document and a notice to one, and the support console.
        assert sum(found.values()) == 3 + 1 + 1 + 1 + 1


MISTAKES = {"say": "eve", "edit": "eve", "notice": "bob", "tell": "eve"}


def test_the_mistake_that_looks_like_it_is_a_leak(running: Running) -> None:
    with running(ALL) as lounge:
        lounge.ann.ask("watch", wrong=True)
        for what in MISTAKES:
            lounge.ann.ask(what, wrong=True, text=f"SECRET of {what}")
        page = lounge.page()
        assert page.total("ws_audit_violations_total") == len(MISTAKES)
        for what, other in MISTAKES.items():
            assert lounge.heard(f"SECRET of {what}")[getattr(lounge, other).user] == 1
        lounge.service.stop()
        told = Counter(
            (pair["recipient"], pair["owner"])
            for incident in leaks(lounge.service.review())
            for pair in incident["pairs"]
            for _ in range(pair["events"])
        )
        hash_of = lounge.service.cast.hash_of
        ann = hash_of(lounge.ann.user)
        assert told == Counter(
            (hash_of(getattr(lounge, other).user), ann) for other in MISTAKES.values()
        )


def test_a_leak_by_the_callers_word_is_one_beside_every_policy(running: Running) -> None:
    with running(ALL + BROADCAST.replace("presence.*", "*")) as lounge:
        lounge.ann.ask("leak", over=lounge.bob.user, text="SECRET-4")
        page = lounge.page()
        assert page.by("ws_audit_violations_total", "severity") == {"confirmed": 1}


def test_memberships_are_asked_only_where_a_verdict_hangs_on_them(running: Running) -> None:
    with running(ALL) as lounge:
        lounge.ann.ask("presence")
        lounge.ann.ask("tell")
        lounge.ann.ask("say")
        lounge.page()
        asked = json.loads(get(f"http://{HOST}:{lounge.service.port}/asked"))
        assert asked == ["members blue"]


def test_a_membership_that_fails_excuses_nothing_and_nobody_notices(running: Running) -> None:
    with running(ROOM.replace("lounge:members", "lounge:carry_out")) as lounge:
        lounge.ann.ask("say", text="SECRET-5")
        lounge.page()
        assert lounge.heard("SECRET-5") == {lounge.ann.user: 1, lounge.bob.user: 1}
        assert "lounge:carry_out" in lounge.service.said()
    assert lounge.service.said().count("ws-audit: membership") == 1


# --- mode block -----------------------------------------------------------------------------------


def test_in_mode_block_the_other_client_sees_nothing_of_it(running: Running) -> None:
    with running('mode = "block"\n' + ALL) as lounge:
        told = lounge.ann.ask("leak", over=lounge.bob.user, text="SECRET-6", caught=True)
        assert told["rule"] == "argument_vs_connection"
        lounge.ann.ask("presence", text="SECRET-7")  # what is declared goes out
        lounge.ann.ask("tell", text="SECRET-8")
        for client in lounge.clients:
            client.rest()
        assert lounge.heard("SECRET-6") == {}
        assert len(lounge.heard("SECRET-7")) == 4
        assert lounge.heard("SECRET-8") == {lounge.ann.user: 1}

        page = lounge.service.metrics()
        # Counted, as everything that was judged is, though it never left.
        frames = sum(len(client.got) for client in lounge.clients) + 1
        assert page.balanced() == frames
        assert page.by("ws_audit_violations_total", "severity") == {"confirmed": 1}
        assert page.by("ws_audit_events_sent_total", "outcome")["refused"] == 1
        lounge.service.stop()
        (incident,) = leaks(lounge.service.review())
        assert (incident["attempted"], incident["events"], incident["bytes"]) == (1, 0, 0)
        outcomes = [
            span["attributes"].get("ws_audit.outcome")
            for span in stored(lounge.service.store)
            if span["name"] == "ws_audit.violation"
        ]
        assert "refused" in outcomes
        assert lounge.service.alarms()


def test_a_refusal_that_nobody_catches_ends_the_connection_it_was_raised_in(
    running: Running,
) -> None:
    with running("", WS_AUDIT_MODE="block") as lounge:
        with pytest.raises(ConnectionClosed):
            lounge.ann.ask("leak", over=lounge.bob.user, text="SECRET-9")
        for client in (lounge.bob, lounge.eve):
            client.rest()
        assert lounge.heard("SECRET-9") == {}
        assert "IsolationViolation" in lounge.service.said()


def test_only_the_listed_rules_refuse(running: Running) -> None:
    config = 'mode = "block"\nblock = ["payload_vs_connection"]\n'
    with running(config) as lounge:
        lounge.ann.ask("leak", over=lounge.bob.user, text="SECRET-10")  # by the argument
        told = lounge.ann.ask("notice", wrong=True, text="SECRET-11", caught=True)
        assert told["rule"] == "payload_vs_connection"
        for client in lounge.clients:
            client.rest()
        assert lounge.heard("SECRET-10") == {lounge.bob.user: 1}
        assert lounge.heard("SECRET-11") == {}


# --- who somebody is ------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["socket", "scope"])
def test_bind_says_whose_connection_it_is(by: str, running: Running) -> None:
    with running("", "/late") as lounge:
        for client in lounge.clients:
            client.ask("bind", by=by)
        before = lounge.service.metrics().by("ws_audit_verdicts_total", "verdict")
        lounge.ann.ask("tell", text="SECRET-12")
        lounge.ann.ask("leak", over=lounge.bob.user, text="SECRET-12")
        page = lounge.page()
        after = page.by("ws_audit_verdicts_total", "verdict")
        assert set(before) == {"match", "unattributed"}  # before and after they were bound
        assert after["unattributed"] == before["unattributed"]
        assert after["violation"] == 1
        assert page.by("ws_audit_violations_total", "severity") == {"confirmed": 1}


def test_the_accessor_and_aliases_are_asked(running: Running) -> None:
    config = 'identity.accessor = "lounge:who"\nidentity.aliases = "lounge:aliases"\n'
    with running(config, "/late") as lounge:
        lounge.ann.ask("tell")
        lounge.ann.ask("second id")
        lounge.ann.ask("leak", over=lounge.bob.user)
        page = lounge.page()
        assert page.by("ws_audit_violations_total", "severity") == {"confirmed": 1}
        assert "unattributed" not in page.by("ws_audit_verdicts_total", "verdict")
        asked = json.loads(get(f"http://{HOST}:{lounge.service.port}/asked"))
        # Of each connection at the accept, when nobody is known yet, and at its first message.
        assert asked == ["who"] * 8


def test_a_setting_that_is_wrong_is_said_once_and_the_others_hold(running: Running) -> None:
    wrong = '[[policy]]\nkind = "room"\nreason = "x"\n'
    old = SYSTEM + "expires = 2020-01-31\n"
    with running(wrong + old + BROADCAST) as lounge:
        lounge.ann.ask("presence", text="SECRET-13")
        lounge.ann.ask("notice", text="SECRET-13")
        page = lounge.page()
        assert page.by("ws_audit_excused_total", "policy") == {"broadcast": 3}
        assert page.by("ws_audit_violations_total", "severity") == {"probable": 1}
        said = lounge.service.said()
        assert said.count("no membership in [[policy]] 1 of ") == 1
        assert said.count("[[policy]] 2 (system): expired on 2020-01-31") == 1
        eventually("the process lives", 1, lambda: lounge.service.process.poll() is None)
