# SPDX-License-Identifier: Apache-2.0
"""Declared functions and policies in a running agent: who is asked, when, and what comes of it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.harness import Agent, Socket, agent, module_of, told
from tests.unit import suspicious
from ws_audit.configuration.policy_tables import PolicyTable
from ws_audit.hooks.guard import asked
from ws_audit.messages.payloads import Places
from ws_audit.model import EXCUSED, MATCH, Delivery
from ws_audit.verdict.judge import judge
from ws_audit.verdict.policy import Policies, as_recorded

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOTICE = {"type": "chat.message", "user_id": "bob", "room": "r1", "text": "hi"}
PROBABLE = "payload_vs_connection:probable"
ROOM = PolicyTable(1, "room", "x", events=("chat.*",), membership="declared:members", where="room")


class Hub:
    def __init__(self) -> None:
        self.sockets: list[Socket] = []

    async def connect(self, websocket: Socket, user_id: Any) -> None:
        self.sockets.append(websocket)

    async def send_to_user(self, user_id: str, message: Any, over: Socket) -> None:
        await over.send_text(json.dumps(message))

    async def send_to_room(self, room_id: Any, message: Any, over: Socket) -> None:
        await over.send_text(json.dumps(message))

    async def broadcast(self, message: Any, over: list[Socket]) -> None:
        for one in over:
            await one.send_text(json.dumps(message))


class Asked:
    """A declared function: what it was asked, and what it answers."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.answer: Any = None

    def __call__(self, question: Any) -> Any:
        self.calls.append(question)
        if issubclass(type(self.answer), BaseException):
            raise self.answer
        return self.answer


@pytest.fixture
def function() -> Asked:
    made = Asked()
    module = module_of("declared", members=made, number=3)

    async def later(question: Any) -> list[str]:
        return ["alice"]

    vars(module)["later"] = later
    return made


def run(
    one: Agent, talk: Callable[[Hub, Socket], Any], *, user: object = "alice", **scope: Any
) -> Socket:
    """One connection of a user, on which a hub talks."""
    hub = Hub()
    socket = Socket({"id": user} if user is not None else None, **scope)

    async def handler(connected: Socket) -> None:
        await talk(hub, connected)

    one.serve(handler, socket)
    return socket


def again(delivery: Delivery, tables: tuple[PolicyTable, ...]) -> str:
    """The kind of the policy that excuses a record, by what stands in it."""
    assert delivery.inputs is not None
    rules = Policies(tables).excuse(
        judge(delivery.evidence, delivery.kind, delivery.note),
        delivery.evidence,
        delivery.inputs.event,
        delivery.time_ns,
        as_recorded(delivery.inputs),
    )
    return rules[0].kind if rules else ""


# --- memberships ----------------------------------------------------------------------------------


def plain(_: Hub, socket: Socket) -> Any:
    return socket.send_text(json.dumps(NOTICE))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (["alice", "bob"], "excused:room"),
        (("alice",), "excused:room"),
        ({"alice"}, "excused:room"),
        (frozenset(["alice"]), "excused:room"),
        ({"alice": object()}, "excused:room"),
        ({"alice": 1}.keys(), "excused:room"),
        ([{"id": "alice"}], "excused:room"),
        (["bob"], "payload_vs_connection:probable"),
        ([], "payload_vs_connection:probable"),
        (None, "payload_vs_connection:probable"),
        ("alice", "payload_vs_connection:probable"),
        (iter(["alice"]), "payload_vs_connection:probable"),
        (True, "payload_vs_connection:probable"),
        (KeyError("r1"), "payload_vs_connection:probable"),
        (asyncio.CancelledError(), "payload_vs_connection:probable"),
    ],
)
def test_the_answer_decides(function: Asked, answer: Any, expected: str) -> None:
    function.answer = answer
    with agent(policy=(ROOM,)) as one:
        run(one, plain)
        assert one.verdicts() == [expected]
        assert function.calls == ["r1"]
        (record,) = one.frames()
        assert record.inputs is not None
        assert record.inputs.event == "chat.message"
        assert record.inputs.answers == (
            ("declared:members", "room", expected.startswith("excused")),
        )
        assert again(record, (ROOM,)) == ("room" if expected.startswith("excused") else "")
        wrong = answer in (True, "alice") or isinstance(answer, BaseException)
        wrong = wrong or hasattr(answer, "__next__")
        assert one.counted("error")["declared",] == int(wrong)
        assert bool([line for line in one.said if "declared:members" in line]) == wrong


def test_an_error_is_told_once_and_counted_every_time(function: Asked) -> None:
    function.answer = ValueError("secret of alice")

    async def talk(hub: Hub, socket: Socket) -> None:
        for _ in range(3):
            await socket.send_text(json.dumps(NOTICE))

    with agent(policy=(ROOM,)) as one:
        socket = run(one, talk)
        assert len(socket.arrived) == 3
        assert one.counted("error")["declared",] == 3
        (line,) = (line for line in one.said if "declared" in line)
        assert line.startswith("membership = 'declared:members': it raised ValueError")
        assert "secret" not in line
        assert one.runtime.breaker._failed == {}  # it is no error of a step of ours


def test_what_a_signals_handler_raises_goes_on() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        asked(interrupted, lambda fault: None)()


@pytest.mark.parametrize("name", ["declared:missing", "no.such.module:members", "declared:number"])
def test_a_function_that_is_not_there_is_told_and_excuses_nothing(
    function: Asked, name: str
) -> None:
    with agent(policy=(ROOM._replace(membership=name),)) as one:
        run(one, plain)
        assert one.verdicts() == ["payload_vs_connection:probable"]
        (line,) = (line for line in one.said if name in line)
        assert "nothing is excused by it" in line


def test_a_module_that_ends_as_it_is_imported_ends_nothing_else(
    function: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ends_at_once.py").write_text("raise SystemExit(3)")
    monkeypatch.syspath_prepend(str(tmp_path))
    with agent(policy=(ROOM._replace(membership="ends_at_once:members"),)) as one:
        run(one, plain)
        assert one.verdicts() == [PROBABLE]
        assert any("there is none (SystemExit)" in line for line in one.said)


def test_a_coroutine_function_is_refused(function: Asked) -> None:
    with agent(policy=(ROOM._replace(membership="declared:later"),)) as one:
        run(one, plain)
        assert one.verdicts() == ["payload_vs_connection:probable"]
        assert any("a plain function" in line for line in one.said)


@pytest.mark.filterwarnings("error")
def test_a_coroutine_as_an_answer_is_closed(function: Asked) -> None:
    async def later() -> list[str]:
        return ["alice"]

    function.answer = later()
    with agent(policy=(ROOM,)) as one:
        run(one, plain)
        assert one.verdicts() == ["payload_vs_connection:probable"]
        assert one.counted("error")["declared",] == 1


def test_nobody_is_asked_of_what_is_right_anyway(function: Asked) -> None:
    async def talk(hub: Hub, socket: Socket) -> None:
        await hub.send_to_user("alice", {**NOTICE, "user_id": "alice"}, socket)
        await socket.send_text(json.dumps({**NOTICE, "user_id": "alice"}))
        await socket.send_text(json.dumps({**NOTICE, "type": "other"}))  # no policy's event
        await hub.send_to_user("bob", NOTICE, socket)  # no room excuses that

    with agent(policy=(ROOM,)) as one:
        one.patch(Hub)
        run(one, talk)
        assert one.verdicts() == [
            *("match", "match", "payload_vs_connection:suspected"),  # it names a room
            "argument_vs_connection:confirmed",
        ]
        assert function.calls == []
        assert one.frames()[0].inputs is None


def test_a_broadcast_asks_once_for_its_room(function: Asked) -> None:
    function.answer = ["alice"]

    async def talk(hub: Hub, socket: Socket) -> None:
        await hub.broadcast(NOTICE, [socket] * 5)
        await hub.broadcast(NOTICE, [socket] * 5)

    with agent(policy=(ROOM,)) as one:
        one.patch(Hub)
        run(one, talk)
        assert one.verdicts() == ["excused:room"] * 10
        assert function.calls == ["r1", "r1"]


def test_who_has_left_is_no_member(function: Asked) -> None:
    function.answer = ["alice"]

    async def talk(hub: Hub, socket: Socket) -> None:
        await hub.broadcast(NOTICE, [socket])
        function.answer = []
        await hub.broadcast(NOTICE, [socket])

    with agent(policy=(ROOM,)) as one:
        one.patch(Hub)
        run(one, talk)
        assert one.verdicts() == ["excused:room", "payload_vs_connection:suspected"]


@pytest.mark.parametrize(
    ("where", "room"),
    [("room", "r1"), ("data.room_id", 7), ("argument:room_id", "lobby"), ("", "lobby")],
)
def test_where_the_room_is_named(function: Asked, where: str, room: object) -> None:
    function.answer = ["alice"]
    message = {**NOTICE, "data": {"room_id": 7, "user_id": "bob"}}

    async def talk(hub: Hub, socket: Socket) -> None:
        await hub.send_to_room("lobby", message, socket)

    with agent(policy=(ROOM._replace(where=where),), payload_owner=("data.user_id",)) as one:
        one.patch(Hub)
        run(one, talk)
        assert function.calls == [room]


@pytest.mark.parametrize("room", [None, ["r1"], {"id": 1}, 1.5, True])
def test_a_room_that_is_no_identifier_is_none(function: Asked, room: object) -> None:
    function.answer = ["alice"]
    with agent(policy=(ROOM,)) as one:
        run(one, lambda _, socket: socket.send_text(json.dumps({**NOTICE, "room": room})))
        assert one.verdicts() == ["payload_vs_connection:probable"]
        assert function.calls == []


def test_a_framework_answers_for_its_rooms(function: Asked) -> None:
    asked_for: list[tuple[object, int]] = []

    def inside(room: object, cell: Any) -> bool:
        asked_for.append((room, cell.connection_id))
        return room == "r1"

    with agent(policy=(ROOM._replace(membership="socketio"),)) as one:
        run(one, plain)
        one.runtime.declarations.frameworks["socketio"] = inside
        socket = run(one, plain)
        assert one.verdicts() == ["payload_vs_connection:probable", "excused:room"]
        assert asked_for == [("r1", socket.cell.connection_id)]


def test_a_framework_that_fails_hides_no_violation(function: Asked) -> None:
    def inside(room: object, cell: Any) -> bool:
        raise RuntimeError

    with agent(policy=(ROOM._replace(membership="channels"),)) as one:
        one.runtime.declarations.frameworks["channels"] = inside
        run(one, plain)
        assert one.verdicts() == ["payload_vs_connection:probable"]
        assert one.counted("error")["policy",] == 1


def test_an_event_no_developer_wrote_is_matched_by_its_own_name(function: Asked) -> None:
    """The label of such an event is `other`; a pattern means the name."""
    table = PolicyTable(1, "broadcast", "x", events=("zz-*",))
    message = {"type": f"zz-{id(function)}", "user_id": "bob"}  # built at run time

    async def talk(hub: Hub, socket: Socket) -> None:
        await socket.send_text(json.dumps(message))
        await hub.broadcast(message, [socket])

    with agent(policy=(table,)) as one:
        one.patch(Hub)
        run(one, talk)
        assert one.verdicts() == ["excused:broadcast"] * 2
        assert {record.event for record in one.frames()} == {"other"}


def test_excused_is_judged_and_counted_by_policy(function: Asked) -> None:
    function.answer = ["alice"]
    system = PolicyTable(2, "system", "x", users=("robot",))

    async def talk(hub: Hub, socket: Socket) -> None:
        await socket.send_text(json.dumps(NOTICE))
        await socket.send_text(json.dumps({"user_id": "robot"}))
        await socket.send_text(json.dumps({"user_id": "robot"}))

    with agent(policy=(ROOM, system)) as one:
        run(one, talk)
        page = one.page()
        assert page["ws_audit_excused_total{room}"] == 1
        assert page["ws_audit_excused_total{system}"] == 2
        assert page["ws_audit_verdicts_total{none,excused}"] == 3
        assert page["ws_audit_frames_total{true,asgi}"] == 3
        assert one.counted("policy") == {("1",): 1, ("2",): 2}
        assert one.written.recorded == []


def test_an_expired_policy_is_told_once_and_excuses_nothing(function: Asked) -> None:
    old = PolicyTable(1, "broadcast", "x", expires="2020-01-31", events=("*",))
    with agent(policy=(old,)) as one:
        run(one, plain)
        run(one, plain)
        one.runtime.tick(0)
        assert one.verdicts() == ["payload_vs_connection:suspected"] * 2
        assert one.said == [
            "[[policy]] 1 (broadcast): expired on 2020-01-31; it excuses nothing any more"
        ]


def test_an_answer_without_an_end_is_none(function: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ws_audit.hooks.asking.MOST", 2)
    for answer, expected in ((["alice", "b"], "excused:room"), (["alice", "b", "c"], PROBABLE)):
        function.answer = answer
        with agent(policy=(ROOM,)) as one:
            run(one, plain)
            assert one.verdicts() == [expected]


def test_reading_an_answer_runs_nothing(function: Asked) -> None:
    suspicious.CALLED.clear()
    things = list(suspicious.objects())
    with agent(policy=(ROOM,), identity_aliases="declared:members") as one:
        for answer in (*things, things, tuple(things), {1: things}):
            function.answer = answer
            run(one, plain)
        assert len(one.verdicts()) == len(things) + 3
        assert not [key for key in one.counted("error") if key != ("declared",)]
    assert suspicious.CALLED == []


def test_a_field_that_a_policy_names_is_read_of_anything() -> None:
    suspicious.CALLED.clear()
    places = Places(["a.b"], 10_000)
    deep: Any = {"b": 1}
    for _ in range(5_000):
        deep = {"a": deep}
    cycle: dict[str, Any] = {}
    cycle["a"] = cycle
    strange = [*suspicious.objects(), None, 3, [], "", b"", "{", "[1]", b"\xff", cycle, "{" * 9_000]
    strange += [json.dumps({"a": 3}), json.dumps({"a": {"b": None}}), '{"a": NaN}']
    strange += ['{"a":' * 1_000 + "1" + "}" * 1_000, "x" * 20_000]
    for message in strange:
        assert places.read(message, "a.b") is None
    assert places.read(deep, "a.b") is None
    for message in ({"a": {"b": 1}}, '{"a": {"b": 1}}', b'{"a": {"b": 1}}'):
        assert places.read(message, "a.b") == 1
    assert suspicious.CALLED == []


# --- aliases --------------------------------------------------------------------------------------


def test_aliases_settle_what_could_not_be_compared(function: Asked) -> None:
    function.answer = [17, "al"]

    async def talk(_: Hub, socket: Socket) -> None:
        for owner in (17, "auth0|abc", "al", 18):
            await socket.send_text(json.dumps({"user_id": owner}))

    with agent(identity_aliases="declared:members") as one:
        run(one, talk, user="auth0|abc")
        assert one.verdicts() == [
            *("match", "match", "match"),
            "payload_vs_connection:probable",
        ]
        (asked_for,) = function.calls  # once for a connection
        assert asked_for.user == "auth0|abc"
        first = one.frames()[0]
        assert judge(first.evidence, first.kind, first.note).verdict == MATCH


def test_aliases_are_not_asked_for_what_matches(function: Asked) -> None:
    with agent(identity_aliases="declared:members") as one:
        run(one, lambda _, socket: socket.send_text('{"user_id": "alice"}'))
        assert function.calls == []


def test_one_alias_may_come_alone(function: Asked) -> None:
    function.answer = 17
    with agent(identity_aliases="declared:members") as one:
        run(one, lambda _, socket: socket.send_text('{"user_id": 17}'), user="auth0|abc")
        assert one.verdicts() == ["match"]


def test_a_connection_registered_under_an_alias_is_not_rebound(function: Asked) -> None:
    async def talk(hub: Hub, socket: Socket) -> None:
        await hub.connect(socket, "al")

    for answer, rebound in ((["al"], 0), ([], 1)):
        function.answer = answer
        with agent(identity_aliases="declared:members") as one:
            one.patch(Hub)
            run(one, talk)
            rules = [record.verdict.rule for record in one.deliveries()]
            assert rules == ["rebound_connection"] * rebound


# --- tenants --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"user_id": 17, "tenant_id": "acme"}, "match"),
        ({"user_id": 17, "tenant_id": "evil"}, "payload_vs_connection:probable"),
        ({"user_id": 17}, "match"),
        ({"user_id": 17, "tenant_id": None}, "match"),
        ({"user_id": 17, "tenant_id": 3}, "match"),  # a number says nothing of a word
        ({"user_id": 17, "tenant_id": ["evil"]}, "match"),
        ({"user_id": 17, "tenant": "Evil Inc."}, "match"),  # not the name of the settings
        ({"data": {"user_id": 17, "tenant_id": "evil"}}, "payload_vs_connection:probable"),
        ({"data": {"user_id": 17}, "tenant_id": "evil"}, "payload_vs_connection:probable"),
        (
            {"data": {"user_id": 17, "tenant_id": "acme"}, "tenant_id": "evil"},
            "match",  # the one beside the owner counts
        ),
        ({"user_id": 18, "tenant_id": "acme"}, "payload_vs_connection:probable"),
        ({"text": "x", "tenant_id": "evil"}, "unattributed:no_evidence"),
    ],
)
def test_the_same_id_in_another_tenant_is_another_person(
    message: dict[str, Any], expected: str
) -> None:
    user = {"id": 17, "tenant_id": "acme"}
    for held, verdict in ((user, expected), ({"id": 17}, None)):
        with agent(identity_tenant=("scope.user.tenant_id",)) as one:
            socket = Socket(held)

            async def handler(connected: Socket) -> None:
                await connected.send_text(json.dumps(message))

            one.serve(handler, socket)
            if verdict is not None:
                assert one.verdicts() == [verdict]
            elif message.get("user_id") == 17 or "data" in message:
                assert one.verdicts() == ["match"]  # (no tenant, u) against (t, u) compares u


def test_tenants_in_messages_are_read_only_if_the_settings_say_where() -> None:
    with agent() as one:

        async def handler(connected: Socket) -> None:
            await connected.send_text('{"user_id": 17, "tenant_id": "evil"}')

        one.serve(handler, Socket({"id": 17, "tenant_id": "acme"}))
        assert one.verdicts() == ["match"]


# --- the accessor ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (("alice", None), "match"),
        (("alice", "acme"), "match"),
        ("alice", "match"),
        ({"id": "alice", "tenant_id": 3}, "match"),
        (("bob", None), "payload_vs_connection:probable"),
        (None, "unattributed:no_principal"),
        (ValueError(), "unattributed:no_principal"),
    ],
)
def test_the_accessor_says_whose_connection_it_is(
    function: Asked, answer: Any, expected: str
) -> None:
    function.answer = answer
    with agent(identity_accessor="declared:members") as one:
        socket = run(one, lambda _, socket: socket.send_text('{"user_id": "alice"}'), user=None)
        assert one.verdicts() == [expected]
        assert function.calls == [socket.scope]


def test_the_accessor_outranks_the_scope_and_is_asked_once(function: Asked) -> None:
    function.answer = ("alice", "acme")

    async def talk(hub: Hub, socket: Socket) -> None:
        for _ in range(3):
            await socket.send_text('{"user_id": "alice"}')
        socket.scope["user"] = {"id": "carol"}
        await socket.send_text('{"user_id": "alice"}')

    with agent(identity_accessor="declared:members") as one:
        run(one, talk, user="bob")
        assert [told(record) for record in one.deliveries()] == ["match"] * 4
        assert len(function.calls) == 1
        assert one.frames()[0].evidence[0].principal.tenant == "acme"


def test_an_accessor_that_knows_nobody_is_asked_less_and_less(function: Asked) -> None:
    async def talk(hub: Hub, socket: Socket) -> None:
        for _ in range(40):
            await socket.send_text("{}")
        function.answer = "alice"
        for _ in range(8):
            await socket.send_text('{"user_id": "alice"}')

    with agent(identity_accessor="declared:members") as one:
        run(one, talk, user=None)
        assert len(function.calls) == 8 + 4 + 1
        assert one.verdicts()[-1] == "match"


def test_what_the_settings_do_not_name_costs_nothing(function: Asked) -> None:
    with agent() as one:
        run(one, plain)
        assert one.frames()[0].inputs is None
        assert EXCUSED not in one.verdicts()[0]
        assert function.calls == []


# --- evidence of other kinds ----------------------------------------------------------------------

EVERYTHING = (
    PolicyTable(1, "broadcast", "x", events=("*",)),
    PolicyTable(2, "impersonation", "x", users=("alice",)),
    PolicyTable(3, "system", "x", users=("bob",)),
)


def test_a_canary_on_somebody_elses_connection_is_excused_by_nothing(tmp_path: Path) -> None:
    token = "an-unguessable-token-of-bob-0123456789"
    tokens = tmp_path / "tokens.json"
    tokens.write_text(json.dumps({"bob": token}))
    with agent(policy=EVERYTHING, canary_tokens_file=str(tokens)) as one:

        async def talk(_: Hub, socket: Socket) -> None:
            for message in ({"text": token}, {"text": token, "user_id": "bob"}):
                await socket.send_text(json.dumps(message))

        run(one, talk)
        assert one.verdicts() == ["canary:confirmed"] * 2


def test_a_shared_run_is_excused_and_another_is_not(function: Asked) -> None:
    """Who owns a run was learned at a call; who may read it is declared."""
    share = PolicyTable(1, "share", "x", membership="declared:members", where="run_id")
    function.answer = ["alice"]
    update = {"type": "progress", "run_id": "run-1"}

    async def talk(hub: Hub, socket: Socket) -> None:
        if socket.scope["user"]["id"] == "bob":
            await hub.send_to_user("bob", update, socket)
            return
        await socket.send_text(json.dumps(update))
        function.answer = ["carol"]
        await socket.send_text(json.dumps(update))

    with agent(policy=(share,)) as one:
        one.patch(Hub)
        run(one, talk, user="bob")
        run(one, talk)
        assert one.verdicts() == ["match", "excused:share", "resource_vs_connection:probable"]
        assert function.calls == ["run-1", "run-1"]
